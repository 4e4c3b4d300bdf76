//! A viewer's mailbox: what is published for it waits here, in lanes, until the viewer takes it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::lanes::{Bounds, Lane, Lanes};
use crate::model::{
    event::{Event, Happening},
    ids::{ConversationId, MessageId},
    presence::StatusChange,
    publication::Priority,
    topic::Topic,
    user::Role,
};

/// What a viewer takes out of its mailbox.
#[derive(Clone, Debug)]
pub enum Letter {
    /// Something happened.
    Event(Arc<Event>),
    /// Somebody who shares a conversation with the viewer is there, or no longer.
    Status(StatusChange),
    /// The viewer may no longer see a conversation.
    Barred(ConversationId),
    /// The viewer may do something else from now on.
    Role(Role),
    /// An admin ends the viewer's connection.
    Closed,
    /// The viewer's credential is no longer good.
    SignedOut,
    /// Events of a topic did not reach this node: they are to be looked up, and offsets start anew.
    Missed(Arc<Topic>),
    /// The viewer was too slow: events were dropped.
    Overflow,
}

impl Letter {
    /// How much it matters.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Barred(_) | Self::Role(_) | Self::Closed | Self::SignedOut | Self::Missed(_) | Self::Overflow => {
                Lane::Critical
            }
            Self::Status(_) => Lane::Low,
            Self::Event(event) if !event.is_kept() => Lane::Low,
            Self::Event(event)
                if event.draft.happening.publication().is_some_and(|it| it.priority == Priority::High) =>
            {
                Lane::High
            }
            Self::Event(event) => match event.topic {
                Topic::Conversation(_) | Topic::User(_) => Lane::High,
                Topic::System | Topic::Event(_) => Lane::Medium,
            },
        }
    }

    /// Roughly what it costs in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        if let Self::Event(event) = self { event.weight() } else { 0 }
    }

    /// Whether an earlier one need not be taken any more.
    pub(super) fn says_more_than(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Event(newer), Self::Event(earlier)) => newer.says_more_than(earlier),
            (Self::Status(newer), Self::Status(earlier)) => newer.user_id == earlier.user_id,
            (Self::Role(_), Self::Role(_)) | (Self::Closed, Self::Closed) => true,
            _ => false,
        }
    }

    /// The answer that it is a piece of, and the piece's bytes.
    pub(super) fn piece(&self) -> Option<(MessageId, usize)> {
        let Self::Event(event) = self else { return None };
        match &event.draft.happening {
            Happening::Token { content, .. } => event.draft.message_id.map(|message| (message, content.len())),
            _ => None,
        }
    }
}

/// A bounded queue with one reader.
#[derive(Debug)]
pub struct Mailbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    lanes: Lanes,
    /// Nothing is put in after [`Letter::SignedOut`].
    is_signed_out: bool,
    /// Only what ends a right or the connection is put in.
    is_held: bool,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new(bounds: Bounds) -> Self {
        let state = State { lanes: Lanes::new(bounds), is_signed_out: false, is_held: false };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }

    /// Puts an event in.
    pub fn push(&self, event: &Arc<Event>) {
        self.put(|state| (!state.is_held).then(|| Letter::Event(event.clone())));
    }

    /// Puts in what somebody is now, in place of what waits of the same one.
    pub fn tell_status(&self, change: StatusChange) {
        self.put(|state| (!state.is_held).then_some(Letter::Status(change)));
    }

    /// Puts in a letter that is never dropped, unless it waits already.
    pub fn tell(&self, letter: Letter) {
        self.put(|state| {
            if let Letter::Barred(id) = letter
                && state.lanes.has(|waiting| matches!(waiting, Letter::Barred(other) if *other == id))
            {
                return None;
            }
            if matches!(letter, Letter::SignedOut) {
                // What waits is not for this viewer any more.
                state.lanes.drop_events();
                state.is_signed_out = true;
            }
            Some(letter)
        });
    }

    /// Puts in the word that events of a topic were missed, unless it waits already.
    pub fn miss(&self, topic: &Arc<Topic>) {
        self.put(|state| {
            let waits = state.lanes.has(|letter| matches!(letter, Letter::Missed(other) if other == topic));
            (!waits).then(|| Letter::Missed(topic.clone()))
        });
    }

    /// Whether the viewer's credential is no longer good.
    pub fn is_signed_out(&self) -> bool {
        self.state().is_signed_out
    }

    /// Drops the events that wait, and takes none until it is let go on.
    pub fn hold(&self) {
        let mut state = self.state();
        state.is_held = true;
        state.lanes.drop_events();
    }

    /// Takes events again.
    pub fn go_on(&self) {
        self.state().is_held = false;
    }

    /// How many letters wait in each lane, the most important first.
    pub fn lengths(&self) -> [usize; 4] {
        self.state().lanes.lengths()
    }

    /// Takes the next letter that matters at least so much, waiting for it. Cancelling the wait loses nothing.
    pub async fn take(&self, least: Lane) -> Letter {
        loop {
            let letter = self.state().lanes.pop(least);
            if let Some(letter) = letter {
                return letter;
            }
            self.arrived.notified().await;
        }
    }

    fn put(&self, letter: impl FnOnce(&mut State) -> Option<Letter>) {
        let mut state = self.state();
        if state.is_signed_out {
            return;
        }
        let Some(letter) = letter(&mut state) else { return };
        state.lanes.push(letter);
        drop(state);
        self.arrived.notify_one();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves the queue as it was before or after a whole move.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn of_two_roles_that_wait_the_latest_is_told() {
        let mailbox = Mailbox::new(Bounds { frames: 10, bytes: 1 << 10, ttl: Duration::from_secs(60) });
        for letter in [Letter::Role(Role::Admin), Letter::Closed, Letter::Role(Role::User), Letter::Closed] {
            mailbox.tell(letter);
        }
        assert_eq!(mailbox.lengths(), [2, 0, 0, 0]);
        assert!(matches!(mailbox.take(Lane::Critical).await, Letter::Role(Role::User)));
        assert!(matches!(mailbox.take(Lane::Critical).await, Letter::Closed));
    }
}
