//! The bus: topics as ordered logs with a bounded history, and their events handed to this node's viewers.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::model::{
    clock::{Clock, Timestamp},
    event::{Draft, Event},
    topic::{Epoch, Position, Topic},
};

/// Events that a topic's history holds at most.
const HISTORY_EVENTS: usize = 1000;
/// Bytes that a topic's history holds at most.
const HISTORY_BYTES: usize = 1 << 20;
/// How long a topic's history is kept.
const HISTORY_AGE: Duration = Duration::from_secs(3600);

/// Takes every published event, in the order of its topic; must not block.
pub type Deliver = Box<dyn Fn(&Arc<Event>) + Send + Sync>;

/// Publishes events and keeps their recent history. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    clock: Clock,
    deliver: Deliver,
    logs: Mutex<HashMap<Topic, Arc<Mutex<Log>>>>,
}

/// One topic's log. Offsets are contiguous; only the oldest events fall out.
struct Log {
    epoch: Epoch,
    last: u64,
    history: VecDeque<Arc<Event>>,
    weight: usize,
    used_at: Timestamp,
    viewers: usize,
}

/// What a new viewer of a topic finds.
#[derive(Debug)]
pub struct Opened {
    /// The place of the latest event; everything later is delivered.
    pub position: Position,
    /// What came after the place that the viewer knew, in order.
    pub missed: Vec<Arc<Event>>,
    /// Why `missed` is not everything.
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
    /// A bus of this process alone.
    pub fn in_memory(clock: Clock, deliver: Deliver) -> Self {
        Self(Arc::new(Inner { clock, deliver, logs: Mutex::default() }))
    }

    /// Publishes an event on a topic: gives it its place, keeps it, hands it to the viewers.
    #[expect(clippy::unused_async, reason = "a shared bus waits for the network")]
    pub async fn publish(&self, topic: Topic, draft: Draft) -> Position {
        let now = self.0.clock.now();
        let log = self.log(&topic);
        let mut log = lock(&log);
        log.last += 1;
        let event = Event::new(topic, log.last, now, draft);
        log.keep(event.clone(), now);
        // Within the lock: viewers get a topic's events in the order of their offsets.
        (self.0.deliver)(&event);
        metrics::counter!("colloquy_bus_events_total").increment(1);
        Position { epoch: log.epoch, offset: log.last }
    }

    /// Opens a topic for a viewer that registered for its events beforehand: events up to the position returned are the
    /// viewer's to skip when they are delivered. Each opening is closed once.
    #[expect(clippy::unused_async, reason = "a shared bus waits for the network")]
    pub async fn open(&self, topic: &Topic, since: Option<(Option<Epoch>, u64)>) -> Opened {
        let now = self.0.clock.now();
        let log = self.log(topic);
        let mut log = lock(&log);
        log.viewers += 1;
        log.expire(now);
        let position = Position { epoch: log.epoch, offset: log.last };
        let opened = |missed, gap| Opened { position, missed, gap };
        match since {
            None => opened(Vec::new(), None),
            Some((Some(epoch), _)) if epoch != log.epoch => opened(Vec::new(), Some(Gap::EpochChanged)),
            Some((_, offset)) if offset > log.last => opened(Vec::new(), Some(Gap::OffsetUnknown)),
            Some((_, offset)) if offset + (log.history.len() as u64) < log.last => {
                opened(Vec::new(), Some(Gap::HistoryLost))
            }
            Some((_, offset)) => {
                opened(log.history.iter().filter(|event| event.offset > offset).cloned().collect(), None)
            }
        }
    }

    /// Ends an opening.
    pub fn close(&self, topic: &Topic) {
        let log = self.log(topic);
        let mut log = lock(&log);
        log.viewers = log.viewers.saturating_sub(1);
    }

    /// Drops what is too old to be kept. To be called now and then.
    pub fn sweep(&self) {
        let now = self.0.clock.now();
        let mut logs = lock(&self.0.logs);
        logs.retain(|_, log| {
            // Somebody else holds the log: it is in use.
            let Some(log) = Arc::get_mut(log) else { return true };
            let log = log.get_mut().unwrap_or_else(PoisonError::into_inner);
            log.expire(now);
            log.viewers > 0 || now.since(log.used_at) < HISTORY_AGE
        });
        metrics::gauge!("colloquy_bus_topics").set(logs.len() as f64);
    }

    fn log(&self, topic: &Topic) -> Arc<Mutex<Log>> {
        let mut logs = lock(&self.0.logs);
        if let Some(log) = logs.get(topic) {
            return log.clone();
        }
        let log = Arc::new(Mutex::new(Log {
            epoch: Epoch(rand::random()),
            last: 0,
            history: VecDeque::new(),
            weight: 0,
            used_at: self.0.clock.now(),
            viewers: 0,
        }));
        logs.insert(topic.clone(), log.clone());
        log
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bus").field("topics", &lock(&self.0.logs).len()).finish()
    }
}

impl Log {
    fn keep(&mut self, event: Arc<Event>, now: Timestamp) {
        self.used_at = now;
        self.weight += event.weight();
        self.history.push_back(event);
        while self.history.len() > HISTORY_EVENTS || self.weight > HISTORY_BYTES {
            self.forget_oldest();
        }
    }

    fn expire(&mut self, now: Timestamp) {
        while self.history.front().is_some_and(|event| now.since(event.at) > HISTORY_AGE) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.history.pop_front() {
            self.weight -= event.weight();
        }
    }
}

/// A panic elsewhere leaves these locks consistent: each is held for moves that cannot fail in between.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
