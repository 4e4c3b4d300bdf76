//! One topic of the shared log, as this node's viewers see it: every event once, in order, whoever brings it first.

mod apart;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use self::waiting::Waiting;
pub(super) use self::waiting::{Arrival, Content};
use super::{
    Deliver, News,
    history::{Bounds, History},
    scripts::Kept,
    wire,
};
use crate::model::{
    clock::Timestamp,
    event::Event,
    topic::{Epoch, Position, Topic},
};

/// A topic with its viewers on this node. Pure state: no method waits for anything.
#[derive(Debug)]
pub(super) struct Relay {
    topic: Topic,
    /// Where the viewers are: everything up to here was handed to them.
    position: Position,
    standing: Standing,
    hearing: Hearing,
    history: History,
    /// What came too early, or while nobody knew yet where the log stands.
    waiting: Waiting,
    viewers: usize,
    /// Counts the times that the topic was let go: what was asked before says nothing about what is heard since.
    round: u64,
    /// Whether viewers may have missed something that the positions will not tell.
    is_unsure: bool,
    /// Whether an epoch is being begun here.
    is_beginning: bool,
}

/// What the position is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing yet.
    Unknown,
    /// It is a place of the shared log.
    Shared,
    /// This node published without the others: the position is its own, and the shared log was left at this place.
    Apart(Option<Position>),
}

/// Whether the topic's channel is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    /// It is not.
    No,
    /// It is, or will be at once; what comes waits until it is known where the log stands.
    Soon,
    /// What comes is handed on.
    Yes,
}

/// What is to be done about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Reading what came after the position, if any is known.
    Read(Option<Position>),
    /// Beginning an epoch at the position.
    Begin,
}

impl Relay {
    /// A topic that nobody views and of which nothing is known.
    pub(super) fn new(topic: Topic, bounds: Bounds) -> Self {
        Self {
            topic,
            position: Position { epoch: Epoch(rand::random()), offset: 0 },
            standing: Standing::Unknown,
            hearing: Hearing::No,
            history: History::new(bounds),
            waiting: Waiting::default(),
            viewers: 0,
            round: 0,
            is_unsure: false,
            is_beginning: false,
        }
    }

    /// Where the viewers are.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Whether the viewers are at a place or past it.
    pub(super) fn is_past(&self, place: Position) -> bool {
        place.epoch == self.position.epoch && place.offset <= self.position.offset
    }

    /// What the viewers saw last, as far as it is kept here.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Drops what is too old to be kept.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.history.expire(now);
    }

    /// Whether anybody views the topic here.
    pub(super) fn has_viewers(&self) -> bool {
        self.viewers > 0
    }

    /// Whether this node published without the others.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.standing, Standing::Apart(_))
    }

    /// Whether older events may be asked for at the server.
    pub(super) fn is_shared(&self) -> bool {
        self.standing == Standing::Shared
    }

    /// Whether a viewer has to wait until it is known where the log stands.
    pub(super) fn is_settling(&self) -> bool {
        self.hearing == Hearing::Soon && !self.is_apart()
    }

    /// One more viewer. Without the server it is answered with what this node has.
    pub(super) fn open(&mut self, is_up: bool) {
        self.viewers += 1;
        match self.hearing {
            _ if !is_up => self.is_unsure = true,
            Hearing::No => self.hearing = Hearing::Soon,
            Hearing::Soon | Hearing::Yes => {}
        }
    }

    /// One viewer less.
    pub(super) fn close(&mut self) {
        self.viewers = self.viewers.saturating_sub(1);
    }

    /// A viewer was answered before it was known where the log stands.
    pub(super) fn doubt(&mut self) {
        self.is_unsure = true;
    }

    /// Takes what came over the channel; true when the log must be read.
    pub(super) fn hear(&mut self, arrival: Arrival, deliver: &Deliver) -> bool {
        match self.hearing {
            Hearing::No => false,
            Hearing::Soon => {
                self.wait(arrival);
                false
            }
            Hearing::Yes if arrival.position.epoch != self.position.epoch => {
                self.hearing = Hearing::Soon;
                self.wait(arrival);
                true
            }
            Hearing::Yes => {
                self.wait(arrival);
                self.drain(deliver) || !self.waiting.is_empty()
            }
        }
    }

    /// Takes an event of this node's own that the server gave a place; true when something needs to be done. Whatever
    /// happened meanwhile, this node's viewers get it.
    pub(super) fn hear_own(&mut self, event: Arc<Event>, position: Position, deliver: &Deliver) -> bool {
        // The channel may have been faster, and the answer late.
        let is_of_here = position.epoch == self.position.epoch;
        if self.is_past(position) || !is_of_here && self.history.has(event.id) {
            return false;
        }
        let follows = is_of_here && position.offset == self.position.offset + 1;
        match (self.standing, self.hearing) {
            (Standing::Apart(_), _) => self.append(event, deliver),
            (Standing::Shared, Hearing::No) if self.has_viewers() && follows => self.accept(event, deliver),
            (_, Hearing::No) if self.has_viewers() => {
                self.part(deliver);
                self.append(event, deliver);
                return true;
            }
            (Standing::Unknown | Standing::Shared, _) => {
                return self.hear(Arrival { position, content: Content::Event(event) }, deliver);
            }
        }
        false
    }

    /// The channel is about to be heard for the viewers, if there are any: what comes waits until it is known where the
    /// log stands.
    pub(super) fn attend(&mut self) {
        if self.has_viewers() && self.hearing == Hearing::No {
            self.hearing = Hearing::Soon;
        }
    }

    /// The server was lost: nothing is heard any more.
    pub(super) fn fall_back(&mut self, deliver: &Deliver) {
        self.hearing = Hearing::No;
        if std::mem::take(&mut self.is_beginning) {
            // Perhaps it has begun, and others have gone on from there.
            self.position.epoch = Epoch(rand::random());
        }
        if !self.waiting.is_empty() {
            self.miss(deliver);
        }
    }

    /// Nobody views the topic any more; what happens on it is no longer followed.
    pub(super) fn rest(&mut self) {
        self.round += 1;
        self.hearing = Hearing::No;
        self.waiting = Waiting::default();
        if !self.is_apart() {
            self.standing = Standing::Unknown;
            self.is_unsure = false;
            self.history.clear();
        }
    }

    /// The round in which a question is asked; its answer is taken in the same round only.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// What is to be done about the topic.
    pub(super) fn need(&self) -> Need {
        match (self.standing, self.hearing) {
            (Standing::Apart(_), _) => Need::Begin,
            (_, Hearing::No) => Need::Nothing,
            (Standing::Unknown, _) => Need::Read(None),
            (Standing::Shared, Hearing::Yes) if self.waiting.is_empty() => Need::Nothing,
            (Standing::Shared, _) => Need::Read(Some(self.position)),
        }
    }

    /// Takes what was read after `from`; true when that was not enough.
    pub(super) fn settle(&mut self, from: Option<Position>, kept: &Kept, deliver: &Deliver) -> bool {
        if self.hearing == Hearing::No || self.is_apart() {
            return self.is_apart();
        }
        let Position { epoch, offset } = kept.position;
        let first = kept.first();
        match (self.standing, from) {
            (Standing::Shared, Some(from)) if from.epoch == epoch && offset < from.offset => {
                // The server came back with an older log: its offsets would be given twice.
                self.part(deliver);
                self.is_unsure = true;
                return true;
            }
            (Standing::Shared, Some(from))
                if from.epoch == epoch && first <= self.position.offset + 1 && !self.is_unsure =>
            {
                for (at, body) in (first..).zip(&kept.bodies) {
                    if at <= self.position.offset {
                        continue;
                    }
                    match wire::event(&self.topic, at, body) {
                        Some(event) => self.accept(event, deliver),
                        None => self.skip(),
                    }
                }
            }
            (Standing::Unknown, _) if !self.is_unsure => self.position = kept.position,
            _ => {
                self.miss_only(deliver);
                self.position = kept.position;
            }
        }
        self.standing = Standing::Shared;
        self.hearing = Hearing::Yes;
        self.is_unsure = false;
        self.drain(deliver) || !self.waiting.is_empty()
    }

    /// Hands on the event after the position.
    fn accept(&mut self, event: Arc<Event>, deliver: &Deliver) {
        self.position.offset = event.offset;
        deliver(News::Event(&event));
        self.history.keep(event);
    }

    /// Passes over the event after the position.
    fn skip(&mut self) {
        self.position.offset += 1;
        self.history.clear();
    }

    fn wait(&mut self, arrival: Arrival) {
        self.is_unsure |= !self.waiting.push(arrival, self.history.bounds().events);
    }

    /// Hands on what waits, as far as it follows the position. True when something came from another epoch: only the
    /// server can tell which one is the later.
    fn drain(&mut self, deliver: &Deliver) -> bool {
        let mut is_strange = false;
        for arrival in self.waiting.take() {
            let Position { epoch, offset } = arrival.position;
            if epoch != self.position.epoch {
                is_strange = true;
            } else if offset == self.position.offset + 1 {
                match arrival.content {
                    Content::Event(event) => self.accept(event, deliver),
                    Content::Unreadable => self.skip(),
                    Content::Begun => {}
                }
            } else if offset > self.position.offset {
                self.wait(arrival);
            }
        }
        if is_strange {
            self.hearing = Hearing::Soon;
        }
        is_strange
    }

    /// Tells the viewers that they missed something, and forgets what waits.
    fn miss(&mut self, deliver: &Deliver) {
        self.waiting = Waiting::default();
        self.miss_only(deliver);
    }

    fn miss_only(&mut self, deliver: &Deliver) {
        self.history.clear();
        if self.has_viewers() {
            metrics::counter!("colloquy_bus_missed_total").increment(1);
            tracing::warn!(topic.name = %self.topic, "events of this topic were missed, its viewers recover from the store");
            deliver(News::Missed(&self.topic));
        }
    }
}
