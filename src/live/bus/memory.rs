//! The bus of one process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Deliver, News, Opened, Since,
    history::{Bounds, History},
    lock,
};
use crate::model::{
    clock::{Clock, Timestamp},
    event::{Draft, Event},
    topic::{Epoch, Position, Topic},
};

/// Topics in this process's memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct Memory(Arc<Inner>);

struct Inner {
    clock: Clock,
    bounds: Bounds,
    deliver: Deliver,
    logs: Mutex<HashMap<Topic, Arc<Mutex<Log>>>>,
}

/// One topic's log. Offsets are contiguous.
struct Log {
    position: Position,
    history: History,
    used_at: Timestamp,
    viewers: usize,
}

impl Memory {
    pub(super) fn new(clock: Clock, bounds: Bounds, deliver: Deliver) -> Self {
        Self(Arc::new(Inner { clock, bounds, deliver, logs: Mutex::default() }))
    }

    pub(super) fn publish(&self, topic: Topic, draft: Draft) -> Position {
        let now = self.0.clock.now();
        let log = self.log(&topic);
        let mut log = lock(&log);
        log.position.offset += 1;
        let event = Event::new(topic, log.position.offset, now, draft);
        log.used_at = now;
        log.history.keep(event.clone());
        // Within the lock: viewers get a topic's events in the order of their offsets.
        (self.0.deliver)(News::Event(&event));
        log.position
    }

    pub(super) fn whisper(&self, topic: Topic, draft: Draft) {
        (self.0.deliver)(News::Whisper(&Event::new(topic, 0, self.0.clock.now(), draft)));
    }

    pub(super) fn open(&self, topic: &Topic) {
        lock(&self.log(topic)).viewers += 1;
    }

    pub(super) fn catch_up(&self, topic: &Topic, since: Since) -> Opened {
        let log = self.log(topic);
        let mut log = lock(&log);
        log.history.expire(self.0.clock.now());
        Opened::answer(log.position, &log.history, since)
    }

    pub(super) fn close(&self, topic: &Topic) {
        let log = self.log(topic);
        let mut log = lock(&log);
        log.viewers = log.viewers.saturating_sub(1);
    }

    /// Drops what is too old, and tells how many topics are left.
    pub(super) fn sweep(&self) -> usize {
        let now = self.0.clock.now();
        let mut logs = lock(&self.0.logs);
        logs.retain(|_, log| {
            // Somebody else holds the log: it is in use.
            let Some(log) = Arc::get_mut(log) else { return true };
            let log = log.get_mut().unwrap_or_else(PoisonError::into_inner);
            log.history.expire(now);
            log.viewers > 0 || now.since(log.used_at) < self.0.bounds.age
        });
        logs.len()
    }

    fn log(&self, topic: &Topic) -> Arc<Mutex<Log>> {
        let mut logs = lock(&self.0.logs);
        if let Some(log) = logs.get(topic) {
            return log.clone();
        }
        let log = Arc::new(Mutex::new(Log {
            position: Position { epoch: Epoch(rand::random()), offset: 0 },
            history: History::new(self.0.bounds),
            used_at: self.0.clock.now(),
            viewers: 0,
        }));
        logs.insert(topic.clone(), log.clone());
        log
    }
}
