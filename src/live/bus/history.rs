//! The recent events of one topic, bounded by number, weight and age; only the oldest fall out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::model::{clock::Timestamp, event::Event};

/// What a topic's history holds at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How long each is kept.
    pub age: Duration,
}

/// Events whose offsets follow each other.
#[derive(Debug)]
pub(super) struct History {
    bounds: Bounds,
    events: VecDeque<Arc<Event>>,
    weight: usize,
}

impl History {
    /// Nothing yet.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, events: VecDeque::new(), weight: 0 }
    }

    /// What it holds at most.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Keeps the event after the last one.
    pub(super) fn keep(&mut self, event: Arc<Event>) {
        self.weight += event.weight();
        self.events.push_back(event);
        while self.events.len() > self.bounds.events || self.weight > self.bounds.bytes {
            self.forget_oldest();
        }
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.events.front().is_some_and(|event| now.since(event.at) > self.bounds.age) {
            self.forget_oldest();
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bounds);
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
