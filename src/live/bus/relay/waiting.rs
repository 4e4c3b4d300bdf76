//! What a relay has heard and cannot hand on yet.

use std::sync::Arc;

use crate::model::{event::Event, topic::Position};

/// A message of the topic's channel, or the answer to a publication.
#[derive(Clone, Debug)]
pub(in crate::live::bus) struct Arrival {
    /// Its place.
    pub(in crate::live::bus) position: Position,
    /// What it brings.
    pub(in crate::live::bus) content: Content,
}

/// What an arrival brings.
#[derive(Clone, Debug)]
pub(in crate::live::bus) enum Content {
    /// An event.
    Event(Arc<Event>),
    /// An event that this node cannot read.
    Unreadable,
    /// The word that an epoch began there.
    Begun,
}

/// Arrivals in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Arrival>);

impl Waiting {
    /// Keeps an arrival; false when everything before had to be forgotten for it, there being `most` already.
    pub(super) fn push(&mut self, arrival: Arrival, most: usize) -> bool {
        let has_room = self.0.len() < most;
        if !has_room {
            self.0.clear();
        }
        self.0.push(arrival);
        has_room
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes everything, in the order of the offsets.
    pub(super) fn take(&mut self) -> Vec<Arrival> {
        let mut arrivals = std::mem::take(&mut self.0);
        arrivals.sort_by_key(|arrival| arrival.position.offset);
        arrivals
    }
}
