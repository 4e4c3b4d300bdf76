//! The recent events of one topic, bounded by number, weight and age; only the oldest fall out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::model::{clock::Timestamp, event::Event};

/// Events that a topic's history holds at most.
pub(super) const MAX_EVENTS: usize = 1000;
/// Bytes that a topic's history holds at most.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// How long a topic's history is kept.
pub(super) const MAX_AGE: Duration = Duration::from_secs(3600);

/// Events whose offsets follow each other.
#[derive(Debug, Default)]
pub(super) struct History {
    events: VecDeque<Arc<Event>>,
    weight: usize,
}

impl History {
    /// Keeps the event after the last one.
    pub(super) fn keep(&mut self, event: Arc<Event>) {
        self.weight += event.weight();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.weight > MAX_BYTES {
            self.forget_oldest();
        }
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.events.front().is_some_and(|event| now.since(event.at) > MAX_AGE) {
            self.forget_oldest();
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What came after an offset in a log that stands at `last`; `None` when the history does not reach back so far.
    pub(super) fn after(&self, offset: u64, last: u64) -> Option<Vec<Arc<Event>>> {
        if offset + (self.events.len() as u64) < last {
            return None;
        }
        Some(self.events.iter().filter(|event| event.offset > offset).cloned().collect())
    }

    /// Whether an event is kept.
    pub(super) fn has(&self, id: Uuid) -> bool {
        self.events.iter().rev().any(|event| event.id == id)
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.weight -= event.weight();
        }
    }
}
