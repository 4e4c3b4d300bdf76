//! What may be lost, held to the same tests in memory and on Redis. Nodes of one ground share what nodes share: on Redis
//! they are several, in memory they are one.

mod answers;
mod away;
mod bus;
mod limit;
mod places;
mod presence;
mod signals;
mod throttle;
mod tickets;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use colloquy::{
    lifecycle::Lifecycle,
    live::{
        Redis,
        bus::{Bounds, Bus, News},
        link,
        node::Nodes,
        presence::{Presence, Told},
        signal::Signals,
        throttle::{Throttle, ThrottleLimits},
        ticket::Tickets,
    },
    model::{
        clock::Clock,
        event::{Draft, Event, Happening},
        ids::ConversationId,
        topic::Topic,
    },
};
use tokio::sync::{Notify, mpsc};

use crate::harness::{PATIENCE, RedisServer, soon};

/// Runs each test in memory and on Redis.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::live::Ground::Memory(Default::default())).await;
            })*
        }

        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::live::Ground::redis().await).await;
            })*
        }
    };
}
use on_both;

/// Within how long a node notices that another is gone.
const NODE_TTL: Duration = Duration::from_secs(6);
/// How long Redis may take: a machine that stands still for a moment is no server that is away.
const REDIS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long somebody is there without being idle: longer than any test.
const IDLE: Duration = Duration::from_secs(600);

const LIMITS: ThrottleLimits = ThrottleLimits { per_account: 2, per_address: 3, window: Duration::from_secs(60) };

const HISTORY: Bounds = Bounds { events: 1000, bytes: 1 << 20, age: Duration::from_secs(3600) };

/// Where nodes come from.
pub(crate) enum Ground {
    Memory(tokio::sync::OnceCell<Node>),
    Redis(RedisServer),
}

/// What one node has of what may be lost, and what its viewers learned.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) bus: Bus,
    pub(crate) signals: Signals,
    pub(crate) redis: Option<Redis>,
    pub(crate) presence: Presence,
    pub(crate) nodes: Nodes,
    throttle: Throttle,
    seen: Arc<Seen>,
    /// Ends the node's tasks with its last handle.
    life: Arc<Life>,
}

#[derive(Default)]
struct Seen {
    events: Mutex<Vec<Arc<Event>>>,
    misses: Mutex<Vec<Topic>>,
    told: Mutex<Vec<Told>>,
    more: Notify,
}

struct Life(Lifecycle);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.stopped().cancel();
    }
}

async fn open(server: &RedisServer) -> Redis {
    Redis::open(&server.url(), "test:", REDIS_TIMEOUT).await.unwrap()
}

impl Ground {
    pub(crate) async fn redis() -> Self {
        Self::Redis(RedisServer::start().await)
    }

    /// A node; in memory always the same one.
    pub(crate) async fn node(&self) -> Node {
        match self {
            Self::Memory(node) => node.get_or_init(async || Node::new(None, true)).await.clone(),
            Self::Redis(server) => Node::new(Some(open(server).await), true),
        }
    }

    /// A node that speaks and does not hear what others say.
    pub(crate) async fn deaf_node(&self) -> Node {
        match self {
            Self::Redis(server) => Node::new(Some(open(server).await), false),
            Self::Memory(_) => self.node().await,
        }
    }

    /// The server, where there is one.
    pub(crate) fn server(&mut self) -> &mut RedisServer {
        match self {
            Self::Redis(server) => server,
            Self::Memory(_) => panic!("memory has no server"),
        }
    }
}

impl Node {
    fn new(redis: Option<Redis>, hears: bool) -> Self {
        let (clock, lifecycle) = (Clock::default(), Lifecycle::default());
        let seen = Arc::new(Seen::default());
        let viewers = seen.clone();
        let bus = Bus::new(clock, redis.clone(), HISTORY, Box::new(move |news| viewers.learn(news)));
        let signals = Signals::new(redis.as_ref());
        let nodes = Nodes::new(redis.clone(), NODE_TTL);
        let presence = Presence::new(clock, redis.clone(), nodes.clone(), IDLE);
        if let Some(redis) = redis.as_ref().filter(|_| hears) {
            let link = link::keep(redis.clone(), bus.clone(), signals.clone(), presence.clone());
            lifecycle.spawn_helper(lifecycle.stopped().clone().run_until_cancelled_owned(link));
        }
        if hears {
            let (stopped, learner) = (lifecycle.stopped().clone(), seen.clone());
            let (kept, register) = (presence.clone(), nodes.clone());
            let live = async move {
                let (told, mut news) = mpsc::channel(16);
                let learn = async {
                    while let Some(told) = news.recv().await {
                        learner.told.lock().unwrap().push(told);
                        learner.more.notify_waiters();
                    }
                };
                tokio::join!(register.keep(), kept.keep(&told), learn);
            };
            lifecycle.spawn_helper(async move { stopped.run_until_cancelled(live).await });
        }
        let throttle = Throttle::new(clock, redis.clone(), LIMITS);
        Self { bus, signals, redis, presence, nodes, throttle, seen, life: Arc::new(Life(lifecycle)) }
    }

    fn tickets(&self, ttl: Duration) -> Tickets {
        Tickets::new(Clock::default(), self.redis.clone(), ttl)
    }

    /// Publishes a token; its content is what it is known by.
    pub(crate) async fn say(&self, topic: &Topic, content: impl Into<String>) -> colloquy::model::topic::Position {
        let happening = Happening::Token { content: content.into(), index: 0 };
        let draft = Draft::within(ConversationId::generate(), None, happening);
        self.bus.publish(topic.clone(), draft).await
    }

    /// Opens a topic from now on.
    pub(crate) async fn watch(&self, topic: &Topic) -> colloquy::model::topic::Position {
        self.bus.open(topic);
        self.bus.catch_up(topic, None, usize::MAX).await.position
    }

    /// What the viewers saw of a topic once it is so many events: offset and content.
    pub(crate) async fn saw(&self, topic: &Topic, count: usize) -> Vec<(u64, String)> {
        let enough = self.seen.until(|seen| {
            let found = seen.of(topic);
            Some(found).filter(|found| found.len() >= count)
        });
        soon("events", enough).await
    }

    /// What the viewers saw of a topic until now.
    pub(crate) fn seen(&self, topic: &Topic) -> Vec<(u64, String)> {
        self.seen.of(topic)
    }

    /// How often the viewers of a topic were told that they missed something.
    pub(crate) fn misses(&self, topic: &Topic) -> usize {
        self.seen.misses.lock().unwrap().iter().filter(|missed| *missed == topic).count()
    }

    /// Waits until the viewers of a topic were told so many times that they missed something.
    pub(crate) async fn missed(&self, topic: &Topic, times: usize) {
        let told = self.seen.until(|_| (self.misses(topic) >= times).then_some(()));
        soon("the word that something was missed", told).await;
    }

    /// Whispers a token; its content is what it is known by.
    pub(crate) async fn whisper(&self, topic: &Topic, content: &str) {
        let happening = Happening::Token { content: content.into(), index: 0 };
        let draft = Draft::within(ConversationId::generate(), None, happening);
        self.bus.whisper(topic.clone(), draft).await;
    }

    /// Ends the node's tasks, as the end of a process does.
    pub(crate) async fn halt(&self) {
        self.life.0.stop(Duration::ZERO, PATIENCE).await;
    }

    /// What this node had to tell of presence, as soon as it includes something.
    pub(crate) async fn told(&self, wanted: impl Fn(&Told) -> bool) -> Vec<Told> {
        let told = self.seen.until(|seen| {
            let told = seen.told.lock().unwrap().clone();
            told.iter().any(&wanted).then_some(told)
        });
        soon("news of presence", told).await
    }

    /// Waits until the server is there, or is not.
    pub(crate) async fn until_up(&self, is_up: bool) {
        let mut changes = self.redis.as_ref().unwrap().changes();
        soon("the link changes", changes.wait_for(|up| *up == is_up)).await.unwrap();
    }
}

impl Seen {
    fn learn(&self, news: News<'_>) {
        match news {
            News::Event(event) | News::Whisper(event) => self.events.lock().unwrap().push(event.clone()),
            News::Missed(topic) => self.misses.lock().unwrap().push(topic.clone()),
        }
        self.more.notify_waiters();
    }

    fn of(&self, topic: &Topic) -> Vec<(u64, String)> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event.topic == *topic).map(|event| (event.offset, content(event))).collect()
    }

    async fn until<T>(&self, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        loop {
            let more = self.more.notified();
            let mut more = std::pin::pin!(more);
            more.as_mut().enable();
            if let Some(found) = found(self) {
                return found;
            }
            more.await;
        }
    }
}

fn topic() -> Topic {
    Topic::Conversation(ConversationId::generate())
}

fn content(event: &Event) -> String {
    match &event.draft.happening {
        Happening::Token { content, .. } => content.clone(),
        other => panic!("not a token: {other:?}"),
    }
}
