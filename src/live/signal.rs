//! Signals: what live connections must learn at once, on every node, and nobody has to keep.

use tokio::sync::broadcast;

use crate::model::ids::{ConversationId, SessionId, UserId};

/// Signals that may wait for a listener; one that falls behind further misses some.
const BACKLOG: usize = 1024;

/// Something that ends what live connections may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A signed-in session is over.
    SessionEnded(SessionId),
    /// An account may no longer be used: it was deleted or deactivated.
    UserEnded(UserId),
    /// A user is no longer a member of a conversation.
    MembershipEnded(ConversationId, UserId),
    /// A conversation is gone.
    ConversationEnded(ConversationId),
}

/// Sends and hears signals. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signals(broadcast::Sender<Signal>);

impl Default for Signals {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Signals {
    /// Tells every listener.
    pub fn send(&self, signal: Signal) {
        // Nobody listens: nobody is connected.
        let _ = self.0.send(signal);
    }

    /// Hears every signal from now on.
    pub fn listen(&self) -> broadcast::Receiver<Signal> {
        self.0.subscribe()
    }
}
