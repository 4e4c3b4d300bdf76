//! The bus of nodes that share a server: it numbers and keeps events, and each node hands them to its own viewers.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{
    Deliver, Gap, News, Opened, Since,
    history::Bounds,
    lock,
    relay::{Arrival, Content, Need, Relay},
    scripts, wire,
};
use crate::{
    live::redis::{Away, Redis},
    model::{
        clock::{Clock, Timestamp},
        event::{Draft, Event},
        topic::{Position, Topic},
    },
};

/// How often an epoch is begun in a row while this node goes on publishing.
const BEGIN_TRIES: usize = 8;

/// Topics of the server's. Cheap to clone.
#[derive(Clone)]
pub(in crate::live) struct Shared(Arc<Inner>);

struct Inner {
    clock: Clock,
    redis: Redis,
    bounds: Bounds,
    deliver: Deliver,
    /// Topics that have viewers here, or had events that the server does not know of.
    relays: Mutex<HashMap<Topic, Arc<Entry>>>,
    /// Topics that the link is to look after; each once.
    wanted: Mutex<HashSet<Topic>>,
    wakes: Notify,
}

struct Entry {
    relay: Mutex<Relay>,
    settled: Notify,
}

/// What the link is to do for a topic.
#[derive(Clone, Copy, Debug)]
pub(in crate::live) struct Wish {
    /// Whether its channel is to be heard.
    pub(in crate::live) is_heard: bool,
    /// Whether it is to be settled then.
    pub(in crate::live) is_unsettled: bool,
}

impl Shared {
    pub(super) fn new(clock: Clock, redis: Redis, bounds: Bounds, deliver: Deliver) -> Self {
        let (relays, wanted, wakes) = Default::default();
        Self(Arc::new(Inner { clock, redis, bounds, deliver, relays, wanted, wakes }))
    }

    pub(super) async fn publish(&self, topic: Topic, draft: Draft) -> Position {
        let (id, at) = (Uuid::now_v7(), self.0.clock.now());
        let is_apart = self.find(&topic).is_some_and(|entry| lock(&entry.relay).is_apart());
        if !is_apart && let Ok(position) = self.publish_shared(&topic, id, at, &draft).await {
            // Found anew: it may have got its first viewer meanwhile.
            if let Some(entry) = self.find(&topic) {
                let event = Event::named(id, topic.clone(), position.offset, at, draft);
                let needs_care = lock(&entry.relay).hear_own(event, position, &self.0.deliver);
                if needs_care {
                    self.want(&topic);
                }
            }
            return position;
        }
        let entry = self.entry(&topic);
        let mut relay = lock(&entry.relay);
        let event = Event::named(id, topic.clone(), relay.position().offset + 1, at, draft);
        if relay.publish_apart(event, &self.0.deliver) {
            self.want(&topic);
        }
        relay.position()
    }

    /// To this node's viewers at once, to the others over the channel.
    pub(super) async fn whisper(&self, topic: Topic, draft: Draft) {
        let event = Event::new(topic, 0, self.0.clock.now(), draft);
        (self.0.deliver)(News::Whisper(&event));
        let (redis, topic) = (&self.0.redis, &event.topic);
        match wire::whisper(redis.node(), event.id, event.at, &event.draft) {
            // When the server is away, what is of the moment is over when it is back.
            Ok(payload) => drop(scripts::tell(redis, topic, &payload).await),
            Err(error) => tracing::error!(topic.name = %topic, %error, "an event cannot be written"),
        }
    }

    pub(super) fn open(&self, topic: &Topic) {
        lock(&self.entry(topic).relay).open(self.0.redis.is_up());
        self.want(topic);
    }

    pub(super) async fn catch_up(&self, topic: &Topic, since: Since) -> Opened {
        let entry = self.entry(topic);
        self.settled(&entry).await;
        let (opened, is_shared) = {
            let mut relay = lock(&entry.relay);
            relay.expire(self.0.clock.now());
            (Opened::answer(relay.position(), relay.history(), since), relay.is_shared())
        };
        let Some((_, offset)) = since.filter(|_| is_shared) else { return opened };
        let found = match opened.gap {
            Some(Gap::HistoryLost) => self.older(topic, offset, opened.position).await,
            Some(Gap::OffsetUnknown) => self.ahead(topic, Position { offset, ..opened.position }).await,
            Some(Gap::EpochChanged) | None => None,
        };
        found.unwrap_or(opened)
    }

    pub(super) fn close(&self, topic: &Topic) {
        lock(&self.entry(topic).relay).close();
        self.want(topic);
    }

    /// Drops what nobody needs, and tells how many topics are left.
    pub(super) fn sweep(&self) -> usize {
        let now = self.0.clock.now();
        let mut relays = lock(&self.0.relays);
        relays.retain(|_, entry| {
            // Somebody else holds the topic: it is in use.
            let Some(entry) = Arc::get_mut(entry) else { return true };
            let relay = entry.relay.get_mut().unwrap_or_else(PoisonError::into_inner);
            relay.expire(now);
            relay.has_viewers() || relay.is_apart()
        });
        relays.len()
    }

    /// Takes a message of a topic's channel.
    pub(in crate::live) fn hear(&self, topic: &Topic, payload: &str) {
        let Some(entry) = self.find(topic) else { return };
        if let Some((node, body)) = wire::whispered(payload) {
            // What this node says itself is with its viewers already.
            if let Some(event) = wire::event(topic, 0, body).filter(|_| node != self.0.redis.node()) {
                (self.0.deliver)(News::Whisper(&event));
            }
            return;
        }
        let Some((position, body)) = wire::message(payload) else {
            tracing::warn!(topic.name = %topic, "a message of another node cannot be read");
            return;
        };
        let content = if body.is_empty() {
            Content::Begun
        } else {
            // What this node published is here already, as a rule.
            if lock(&entry.relay).is_past(position) {
                return;
            }
            wire::event(topic, position.offset, body).map_or(Content::Unreadable, Content::Event)
        };
        if lock(&entry.relay).hear(Arrival { position, content }, &self.0.deliver) {
            self.want(topic);
        }
    }

    /// The server was found: looks after all topics anew.
    pub(in crate::live) fn rejoin(&self) {
        for (topic, entry) in self.entries() {
            lock(&entry.relay).attend();
            self.want(&topic);
        }
    }

    /// The server was lost: nobody waits for it any longer.
    pub(in crate::live) fn fall_back(&self) {
        for (_, entry) in self.entries() {
            lock(&entry.relay).fall_back(&self.0.deliver);
            entry.settled.notify_waiters();
        }
    }

    /// The topics to look after, as soon as there are any.
    pub(in crate::live) async fn wanted(&self) -> HashSet<Topic> {
        loop {
            let wanted = std::mem::take(&mut *lock(&self.0.wanted));
            if !wanted.is_empty() {
                return wanted;
            }
            self.0.wakes.notified().await;
        }
    }

    /// What is to be done for a topic.
    pub(in crate::live) fn wish(&self, topic: &Topic) -> Wish {
        let Some(entry) = self.find(topic) else { return Wish { is_heard: false, is_unsettled: false } };
        let mut relay = lock(&entry.relay);
        relay.attend();
        if !relay.has_viewers() {
            relay.rest();
        }
        Wish { is_heard: relay.has_viewers(), is_unsettled: relay.need() != Need::Nothing }
    }

    /// Finds out where a topic's log stands, and what its viewers missed. Its channel is heard already.
    pub(in crate::live) async fn settle(&self, topic: &Topic) -> Result<(), Away> {
        let Some(entry) = self.find(topic) else { return Ok(()) };
        let (need, round) = {
            let relay = lock(&entry.relay);
            (relay.need(), relay.round())
        };
        let is_to_go_on = match need {
            Need::Nothing => false,
            Need::Read(from) => {
                let kept = scripts::read(&self.0.redis, topic, from).await?;
                let mut relay = lock(&entry.relay);
                // The last viewer left and another came meanwhile: the channel was not heard all the time.
                relay.round() != round || relay.settle(from, &kept, &self.0.deliver)
            }
            Need::Begin => self.begin(topic, &entry).await?,
        };
        entry.settled.notify_waiters();
        if is_to_go_on {
            self.want(topic);
        }
        Ok(())
    }

    /// Brings back to the shared log what was published on this node alone; true when that is not done yet.
    async fn begin(&self, topic: &Topic, entry: &Entry) -> Result<bool, Away> {
        for _ in 0..BEGIN_TRIES {
            let Some(at) = lock(&entry.relay).begin() else { return Ok(true) };
            let before = scripts::begin(&self.0.redis, topic, at).await?;
            let mut relay = lock(&entry.relay);
            let is_to_go_on = relay.begun(at, before, &self.0.deliver);
            if !relay.is_apart() {
                return Ok(is_to_go_on);
            }
        }
        Ok(true)
    }

    async fn publish_shared(&self, topic: &Topic, id: Uuid, at: Timestamp, draft: &Draft) -> Result<Position, Away> {
        match wire::body(id, at, draft) {
            Ok(body) => scripts::publish(&self.0.redis, self.0.bounds, topic, &body).await,
            Err(error) => {
                tracing::error!(topic.name = %topic, %error, "an event cannot be written");
                Err(Away)
            }
        }
    }

    /// For a viewer who knows more than this node: another node was quicker. `None` when the server does not know of it.
    async fn ahead(&self, topic: &Topic, known: Position) -> Option<Opened> {
        let kept = scripts::read(&self.0.redis, topic, Some(known)).await.ok()?;
        let is_known = kept.position.epoch == known.epoch && kept.position.offset >= known.offset;
        is_known.then(|| Opened::at(known, Vec::new()))
    }

    /// Events after an offset, up to a position, from the server's history; `None` when it does not reach back so far.
    async fn older(&self, topic: &Topic, after: u64, until: Position) -> Option<Opened> {
        let known = Position { offset: after, ..until };
        let kept = scripts::read(&self.0.redis, topic, Some(known)).await.ok()?;
        if kept.position.epoch != until.epoch || kept.first() > after + 1 {
            return None;
        }
        let places = (kept.first()..=until.offset).zip(&kept.bodies).filter(|(at, _)| *at > after);
        let missed = places.filter_map(|(at, body)| wire::event(topic, at, body)).collect();
        Some(Opened::at(until, missed))
    }

    /// Completes when it is known where the topic's log stands, or will not be known soon: its channel has to be asked for,
    /// and the log to be read.
    async fn settled(&self, entry: &Entry) {
        let deadline = Instant::now() + 2 * self.0.redis.timeout();
        loop {
            let mut settled = pin!(entry.settled.notified());
            settled.as_mut().enable();
            if !lock(&entry.relay).is_settling() {
                return;
            }
            if !self.0.redis.is_up() || timeout_at(deadline, settled).await.is_err() {
                lock(&entry.relay).doubt();
                return;
            }
        }
    }

    fn want(&self, topic: &Topic) {
        lock(&self.0.wanted).insert(topic.clone());
        self.0.wakes.notify_one();
    }

    fn find(&self, topic: &Topic) -> Option<Arc<Entry>> {
        lock(&self.0.relays).get(topic).cloned()
    }

    fn entry(&self, topic: &Topic) -> Arc<Entry> {
        let mut relays = lock(&self.0.relays);
        if let Some(entry) = relays.get(topic) {
            return entry.clone();
        }
        let relay = Mutex::new(Relay::new(topic.clone(), self.0.bounds));
        let entry = Arc::new(Entry { relay, settled: Notify::new() });
        relays.insert(topic.clone(), entry.clone());
        entry
    }

    fn entries(&self) -> Vec<(Topic, Arc<Entry>)> {
        lock(&self.0.relays).iter().map(|(topic, entry)| (topic.clone(), entry.clone())).collect()
    }
}
