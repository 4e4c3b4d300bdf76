//! A node that publishes without the others: how it leaves the shared log, goes on alone and comes back to it.

use std::sync::Arc;

use super::{Hearing, Relay, Standing};
use crate::{
    live::bus::Deliver,
    model::{
        event::Event,
        topic::{Epoch, Position},
    },
};

impl Relay {
    /// Publishes an event on this node alone; true when the topic was shared until now.
    pub(in crate::live::bus) fn publish_apart(&mut self, event: Arc<Event>, deliver: &Deliver) -> bool {
        // The server may have taken it and the answer have been lost.
        if self.history.has(event.id) {
            return false;
        }
        let was_shared = !self.is_apart();
        if was_shared {
            self.part(deliver);
        }
        self.append(event, deliver);
        was_shared
    }

    /// Leaves the shared log: from now on the position is this node's own.
    pub(super) fn part(&mut self, deliver: &Deliver) {
        if !self.waiting.is_empty() {
            self.miss(deliver);
        }
        let left = Some(self.position).filter(|_| self.is_shared());
        self.standing = Standing::Apart(left);
        self.position.epoch = Epoch(rand::random());
    }

    /// Hands on an event at this node's own next offset.
    pub(super) fn append(&mut self, event: Arc<Event>, deliver: &Deliver) {
        let next = self.position.offset + 1;
        let event = if event.offset == next {
            event
        } else {
            Event::named(event.id, self.topic.clone(), next, event.at, event.draft.clone())
        };
        self.accept(event, deliver);
    }

    /// Where an epoch is to begin: at the position of a node that published without the others.
    pub(in crate::live::bus) fn begin(&mut self) -> Option<Position> {
        self.is_beginning = self.is_apart();
        Some(self.position).filter(|_| self.is_beginning)
    }

    /// Takes the word that an epoch has begun at this node's position, `before` being where the log stood; true when it
    /// must begin once more, for this node has published meanwhile.
    pub(in crate::live::bus) fn begun(&mut self, at: Position, before: Option<Position>, deliver: &Deliver) -> bool {
        let Standing::Apart(left) = self.standing else { return false };
        self.is_beginning = false;
        self.is_unsure |= left != before;
        if self.position != at {
            self.standing = Standing::Apart(Some(at));
            // Other nodes may have published after `at`: these offsets are not to be given twice.
            self.position.epoch = Epoch(rand::random());
            return true;
        }
        self.standing = Standing::Shared;
        if self.is_unsure {
            self.miss_only(deliver);
        }
        self.is_unsure = false;
        if !self.has_viewers() {
            self.rest();
            return false;
        }
        if self.hearing == Hearing::No {
            // Somebody came meanwhile, and the channel is not heard yet.
            self.hearing = Hearing::Soon;
            return true;
        }
        self.hearing = Hearing::Yes;
        self.drain(deliver) || !self.waiting.is_empty()
    }
}
