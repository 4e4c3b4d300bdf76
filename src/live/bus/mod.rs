//! The bus: topics as ordered logs with a bounded history, and their events handed to this node's viewers.

mod history;
mod memory;
mod relay;
mod scripts;
mod shared;
mod wire;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use self::history::Bounds;
pub(super) use self::shared::{Shared, Wish};
use self::{history::History, memory::Memory};
use super::redis::Redis;
use crate::model::{
    clock::Clock,
    event::{Draft, Event},
    topic::{Epoch, Position, Topic},
};

/// What the viewers of a topic are to learn.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// Something happened; each event of a topic comes once, in order.
    Event(&'a Arc<Event>),
    /// Something of the moment happened: it has no place, and is not missed by whom it does not reach.
    Whisper(&'a Arc<Event>),
    /// Some of the topic's events did not reach this node and will not: what follows has nothing to do with the offsets
    /// before, and what was missed is in the store.
    Missed(&'a Topic),
}

/// Takes what viewers are to learn; must not block.
pub type Deliver = Box<dyn Fn(News<'_>) + Send + Sync>;

/// The place that a viewer knows: an offset, and its epoch unless the viewer does not tell.
pub type Since = Option<(Option<Epoch>, u64)>;

/// Publishes events and keeps their recent history. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Kind);

#[derive(Clone)]
enum Kind {
    Memory(Memory),
    Shared(Shared),
}

/// What a new viewer of a topic finds.
#[derive(Debug)]
pub struct Opened {
    /// The place of the latest event; everything later is delivered.
    pub position: Position,
    /// What came after the place that the viewer knew, in order, up to [`Opened::reached`].
    pub missed: Vec<Arc<Event>>,
    /// The `seq` of each message that came, or came again in a new version, after that place; of those that are not in `missed`
    /// any more, too.
    pub messages: BTreeSet<i64>,
    /// The offset up to which the viewer has everything once it has `missed`; less than that of `position` where more was
    /// missed than was asked for at once.
    pub reached: u64,
    /// Why the viewer cannot have everything; then nothing of it is in `missed`.
    pub gap: Option<Gap>,
}

/// Why a viewer cannot be brought up to date from history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The offset belongs to a history that is gone.
    EpochChanged,
    /// The history no longer reaches back to the offset.
    HistoryLost,
    /// The offset is ahead of the log.
    OffsetUnknown,
}

impl Gap {
    /// As the contract names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::HistoryLost => "history_lost",
            Self::OffsetUnknown => "offset_unknown",
        }
    }
}

impl Bus {
    /// A bus of all nodes that share the server, or of this process alone; each topic's history keeps to the bounds.
    pub fn new(clock: Clock, redis: Option<Redis>, bounds: Bounds, deliver: Deliver) -> Self {
        Self(match redis {
            None => Kind::Memory(Memory::new(clock, bounds, deliver)),
            Some(redis) => Kind::Shared(Shared::new(clock, redis, bounds, deliver)),
        })
    }

    /// Publishes an event on a topic: gives it its place, keeps it, hands it to the viewers.
    pub async fn publish(&self, topic: Topic, draft: Draft) -> Position {
        metrics::counter!("colloquy_bus_events_total").increment(1);
        match &self.0 {
            Kind::Memory(memory) => memory.publish(topic, draft),
            Kind::Shared(shared) => shared.publish(topic, draft).await,
        }
    }

    /// Hands an event to whoever views its topic right now, on every node, without a place in its log.
    pub async fn whisper(&self, topic: Topic, draft: Draft) {
        metrics::counter!("colloquy_bus_whispers_total").increment(1);
        match &self.0 {
            Kind::Memory(memory) => memory.whisper(topic, draft),
            Kind::Shared(shared) => shared.whisper(topic, draft).await,
        }
    }

    /// Opens a topic for a viewer that registered for its events beforehand. Each opening is closed once.
    pub fn open(&self, topic: &Topic) {
        match &self.0 {
            Kind::Memory(memory) => memory.open(topic),
            Kind::Shared(shared) => shared.open(topic),
        }
    }

    /// Brings the viewer of an open topic up to date, or nearer to it by about so many bytes: events up to the offset
    /// reached are the viewer's to skip when they are delivered.
    pub async fn catch_up(&self, topic: &Topic, since: Since, bytes: usize) -> Opened {
        let opened = match &self.0 {
            Kind::Memory(memory) => memory.catch_up(topic, since),
            Kind::Shared(shared) => shared.catch_up(topic, since).await,
        };
        opened.cut(since, bytes)
    }

    /// Ends an opening.
    pub fn close(&self, topic: &Topic) {
        match &self.0 {
            Kind::Memory(memory) => memory.close(topic),
            Kind::Shared(shared) => shared.close(topic),
        }
    }

    /// Drops what is too old to be kept. To be called now and then.
    pub fn sweep(&self) {
        let topics = match &self.0 {
            Kind::Memory(memory) => memory.sweep(),
            Kind::Shared(shared) => shared.sweep(),
        };
        metrics::gauge!("colloquy_bus_topics").set(topics as f64);
    }

    /// The part that a link to the server serves, where there is a server.
    pub(super) fn shared(&self) -> Option<&Shared> {
        match &self.0 {
            Kind::Memory(_) => None,
            Kind::Shared(shared) => Some(shared),
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &self.0 {
            Kind::Memory(_) => "Bus::Memory",
            Kind::Shared(_) => "Bus::Shared",
        })
    }
}

impl Opened {
    /// What a log that stands at `position` answers to somebody who knows the place `since`.
    fn answer(position: Position, history: &History, since: Since) -> Self {
        let opened = |missed, gap| Self { gap, ..Self::at(position, missed) };
        match since {
            None => opened(Vec::new(), None),
            Some((Some(epoch), _)) if epoch != position.epoch => opened(Vec::new(), Some(Gap::EpochChanged)),
            Some((_, offset)) if offset > position.offset => opened(Vec::new(), Some(Gap::OffsetUnknown)),
            Some((_, offset)) => match history.after(offset, position.offset) {
                Some(missed) => opened(missed, None),
                None => opened(Vec::new(), Some(Gap::HistoryLost)),
            },
        }
    }

    /// A log stands there, and the viewer misses this.
    fn at(position: Position, missed: Vec<Arc<Event>>) -> Self {
        let messages = missed.iter().filter_map(|event| event.draft.happening.message()).map(|message| message.seq);
        Self { position, messages: messages.collect(), missed, reached: position.offset, gap: None }
    }

    /// The first page of it: events of about so many bytes together.
    fn cut(mut self, since: Since, bytes: usize) -> Self {
        let mut left = bytes;
        let page = self.missed.iter().take_while(|event| {
            let has_room = left > 0;
            left = left.saturating_sub(event.weight());
            has_room
        });
        let page = page.count();
        if page < self.missed.len() {
            self.missed.truncate(page);
            let before = since.map_or(0, |(_, offset)| offset);
            self.reached = self.missed.last().map_or(before, |event| event.offset);
        }
        self
    }
}

/// A panic elsewhere leaves these locks consistent: each is held for moves that cannot fail in between.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
