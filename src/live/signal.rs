//! Signals: what must be learned at once, on every node, and is in the store for those who miss it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use super::redis::{Away, Redis};
use crate::model::{
    ids::{ConnectionId, ConversationId, MessageId, NodeId, SessionId, UserId},
    user::Role,
};

/// Signals that may wait for a listener; one that falls behind further misses some.
const BACKLOG: usize = 1024;
/// Signals that wait for other nodes at most while the server is away; one more drops the oldest.
const OUTBOX: usize = 10_000;

/// Something that ends, or changes what live connections may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// A signed-in session is over.
    SessionEnded(SessionId),
    /// An account may no longer be used: it was deleted or deactivated.
    UserEnded(UserId),
    /// An account may do something else from now on.
    RoleChanged(UserId, Role),
    /// An admin ends a live connection.
    ConnectionClosed(ConnectionId),
    /// A user is no longer a member of a conversation.
    MembershipEnded(ConversationId, UserId),
    /// A conversation is gone.
    ConversationEnded(ConversationId),
    /// A run is to stop: word of it is in the store.
    RunStopping(MessageId),
    /// Signals of other nodes may have been missed: whatever they would have said is to be looked up.
    Doubtful,
}

/// Sends and hears signals. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signals {
    heard: broadcast::Sender<Signal>,
    /// What other nodes have not been told yet.
    outbox: Option<Arc<Outbox>>,
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: Mutex<VecDeque<Signal>>,
    filled: Notify,
}

impl Signals {
    /// Signals to all nodes that share the server, or in this process alone.
    pub fn new(redis: Option<&Redis>) -> Self {
        Self { heard: broadcast::Sender::new(BACKLOG), outbox: redis.map(|_| Arc::default()) }
    }

    /// Tells every listener: those of this process at once, those of other nodes as soon as the link can.
    pub fn send(&self, signal: Signal) {
        self.tell(signal);
        if let Some(outbox) = &self.outbox {
            outbox.push(signal);
        }
    }

    /// Hears every signal from now on.
    pub fn listen(&self) -> broadcast::Receiver<Signal> {
        self.heard.subscribe()
    }

    /// Passes on what waits, until the server is lost; what could not be told waits on.
    pub(super) async fn pass_on(&self, redis: &Redis) -> Away {
        let Some(outbox) = &self.outbox else { return std::future::pending().await };
        loop {
            let Some(signal) = outbox.first() else {
                outbox.filled.notified().await;
                continue;
            };
            if let Ok(text) = serde_json::to_string(&(redis.node(), signal)) {
                let tell = redis::Cmd::new().arg("PUBLISH").arg(redis.keys().signals()).arg(text).to_owned();
                if let Err(away) = redis.command::<i64>("signal", &tell).await {
                    return away;
                }
            }
            outbox.told(signal);
        }
    }

    /// Takes what a node says; what this node says itself was heard already.
    pub(super) fn hear(&self, this: NodeId, text: &str) {
        match serde_json::from_str::<(NodeId, Signal)>(text) {
            Ok((node, signal)) if node != this => self.tell(signal),
            Ok(_) => {}
            // A newer node may know of more: looking everything up cannot be wrong.
            Err(error) => {
                tracing::warn!(%error, "a signal of another node cannot be read");
                self.doubt();
            }
        }
    }

    /// Tells this process that signals of others may have been missed.
    pub(super) fn doubt(&self) {
        self.tell(Signal::Doubtful);
    }

    fn tell(&self, signal: Signal) {
        // Nobody listens: nobody is connected.
        let _ = self.heard.send(signal);
    }
}

impl Outbox {
    fn push(&self, signal: Signal) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= OUTBOX {
            waiting.pop_front();
            metrics::counter!("colloquy_signals_dropped_total").increment(1);
        }
        waiting.push_back(signal);
        self.filled.notify_one();
    }

    fn first(&self) -> Option<Signal> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }

    fn told(&self, signal: Signal) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.front() == Some(&signal) {
            waiting.pop_front();
        }
    }
}
