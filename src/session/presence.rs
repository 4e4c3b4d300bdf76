//! Presence as live connections make it and see it.

use std::collections::HashSet;

use async_stream::try_stream;
use futures_util::Stream;
use tokio::time::Instant;

use super::{lanes::Lane, mailbox::Letter, sessions::Sessions};
use crate::{
    error::{Error, Result},
    live::presence::{Presence, typing::Typing},
    model::{
        caller::Caller,
        event::Draft,
        ids::{ConversationId, UserId},
        presence::StatusChange,
        topic::Topic,
    },
};

/// Changed statuses whose viewers are looked up at once.
const BATCH: usize = 64;

/// What one connection adds to its user's presence; taken back when it is dropped.
#[derive(Debug)]
pub(super) struct Attendance {
    user: UserId,
    presence: Presence,
    typing: Typing,
    views: HashSet<ConversationId>,
    /// Where the user was said to be typing by this connection.
    written: HashSet<ConversationId>,
}

impl Attendance {
    /// The caller is there.
    pub(super) fn begin(sessions: &Sessions, caller: &Caller) -> Self {
        let (presence, typing) = (sessions.presence.clone(), sessions.typing.clone());
        presence.connect(caller.user_id, &caller.username);
        Self { user: caller.user_id, presence, typing, views: HashSet::new(), written: HashSet::new() }
    }

    /// The user does something.
    pub(super) fn act(&self) {
        self.presence.act(self.user);
    }

    /// The connection views a conversation.
    pub(super) fn enter(&mut self, conversation: ConversationId) {
        if self.views.insert(conversation) {
            self.presence.enter(conversation, self.user);
        }
    }

    /// The connection no longer views a conversation.
    pub(super) fn exit(&mut self, conversation: ConversationId) {
        if self.views.remove(&conversation) {
            self.presence.exit(conversation, self.user);
        }
        if self.written.remove(&conversation) {
            self.typing.stop(conversation, self.user);
        }
    }

    /// The connection says whether the user is typing.
    pub(super) fn write(&mut self, conversation: ConversationId, is_typing: bool) {
        if is_typing {
            self.written.insert(conversation);
        } else {
            self.written.remove(&conversation);
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.written.iter().for_each(|conversation| self.typing.stop(*conversation, self.user));
        self.views.iter().for_each(|conversation| self.presence.exit(*conversation, self.user));
        self.presence.disconnect(self.user);
    }
}

/// What somebody who watches presence gets.
#[derive(Clone, Debug)]
pub enum Watched {
    /// The watch has begun: nothing that happens from now on is missed.
    Begun,
    /// Something happened in the conversation.
    Happening(Draft),
    /// Somebody is something else now.
    Status(StatusChange),
}

/// Watches who comes to a conversation, who goes and who types, and what its members are; or, without one, what everybody
/// is who shares a conversation with the caller. The watch does not count as a connection of the caller's.
pub fn watch(
    sessions: Sessions,
    caller: Caller,
    conversation: Option<ConversationId>,
) -> impl Stream<Item = Result<Watched>> + Send {
    try_stream! {
        let mut seat = sessions.seat(&caller);
        if let Some(id) = conversation {
            seat.join(&Topic::Conversation(id), None, 0).await;
        }
        let expiry = Instant::now() + caller.expires_at.since(sessions.clock.now());
        yield Watched::Begun;
        loop {
            let letter = tokio::select! {
                letter = seat.next(Lane::Low) => Ok(letter),
                () = tokio::time::sleep_until(expiry) => Err(Error::Unauthenticated("the access token has expired")),
                () = sessions.lifecycle.stopping().cancelled() => {
                    Err(Error::Unavailable { part: "server", source: anyhow::anyhow!("shutting down") })
                }
            };
            match letter? {
                Letter::Event(event) => {
                    if event.draft.happening.present().is_some_and(|user| user != caller.user_id) {
                        yield Watched::Happening(event.draft.clone());
                    }
                }
                Letter::Status(change) => {
                    let concerns = match conversation {
                        Some(id) => {
                            let access = sessions.access.clone();
                            let pair = [(id, change.user_id)];
                            sessions.run(async move { access.strangers(&pair).await }).await?.is_empty()
                        }
                        None => true,
                    };
                    if concerns {
                        yield Watched::Status(change);
                    }
                }
                Letter::Barred(id) if Some(id) == conversation => Err(Error::NotFound("conversation"))?,
                Letter::SignedOut => Err(Error::Unauthenticated("the session has ended"))?,
                // What was missed of presence is over.
                Letter::Barred(_) | Letter::Role(_) | Letter::Closed | Letter::Missed(_) | Letter::Overflow => {}
            }
        }
    }
}

/// Hands changed statuses to those of this node whom they concern, until the hard stop.
pub async fn pass(sessions: Sessions) {
    let stopped = sessions.lifecycle.stopped().clone();
    while let Some(changes) = stopped.run_until_cancelled(sessions.presence.heard()).await {
        for changes in changes.chunks(BATCH) {
            match sessions.presences.concerned(changes.to_vec()).await {
                Ok(concerned) => sessions.hub.tell_statuses(&concerned),
                Err(error) => {
                    tracing::warn!(error = format!("{error:?}"), "cannot look up whom changed statuses concern");
                }
            }
        }
    }
}
