//! A wanderer: somebody who loses the link again and again, on any node and by any transport, and comes back after what was
//! seen last; held to a model that knows what each place shows. What is done follows from a seed, which a failure tells.

use colloquy::proto::{ResumeChatRequest, ResumeChatResponse, TopicPosition};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;
use tonic::Streaming;

use crate::harness::{
    Actor, Carrier, Events, Frame, Happened, RedisServer, Server, Session, Shown, soon,
    upstream::{Script, Upstream, piece},
};

const LINKS: usize = 200;
const PIECES: usize = 300;
const MESSAGES: usize = 500;
/// Names a seed to repeat.
const SEED: &str = "COLLOQUY_TEST_SEED";

/// What carries a link.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A session, with all that happens in the conversation.
    Session(Carrier),
    /// The answer alone, as server-sent events.
    Events,
    /// The answer alone, over gRPC.
    Stream,
}

const WAYS: [Way; 5] = [
    Way::Session(Carrier::Json),
    Way::Session(Carrier::Proto),
    Way::Session(Carrier::Native),
    Way::Events,
    Way::Stream,
];

/// How far things are: bytes of the answer, and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Extent {
    text: usize,
    messages: usize,
}

/// What stands at a place in the conversation's topic, and how far things are behind it.
#[derive(Debug, PartialEq)]
struct Entry {
    shown: Shown,
    extent: Extent,
}

/// Somebody who has seen the topic up to a place.
struct Wanderer {
    topic: String,
    answer: String,
    /// The whole answer, of which only a beginning may be shown.
    whole: String,
    /// What was seen at each offset, from 1 on: it must be the same whenever it comes again.
    log: Vec<Entry>,
    /// The last offset seen.
    place: usize,
    epoch: Option<String>,
    /// Bytes seen of the answer alone.
    read: usize,
}

impl Wanderer {
    fn extent(&self) -> Extent {
        self.place.checked_sub(1).map_or(Extent::default(), |last| self.log[last].extent)
    }

    fn has(&self, until: Extent) -> bool {
        let seen = self.extent();
        seen.text >= until.text && seen.messages >= until.messages
    }

    /// Takes a frame: the next one of its topic, and what it must be.
    fn see(&mut self, frame: Frame) {
        let Some((topic, offset)) = frame.place else {
            let is_aside = matches!(&frame.shown, Shown::Other(kind) if !["reconnect", "snapshot"].contains(&&**kind));
            assert!(is_aside, "not expected of a place that can be recovered: {:?}", frame.shown);
            return;
        };
        assert_eq!((&topic, offset), (&self.topic, self.place + 1), "a hole or a double: {:?}", frame.shown);
        let mut extent = self.extent();
        match &frame.shown {
            Shown::Token { answer, index, content } => {
                assert_eq!((answer, *index), (&self.answer, extent.text));
                assert!(self.whole[extent.text..].starts_with(content), "{content:?} at {index}");
                extent.text += content.len();
            }
            Shown::Started { answer } => assert_eq!(answer, &self.answer),
            Shown::Ended { length, .. } => assert_eq!((*length, extent.text), (self.whole.len(), self.whole.len())),
            Shown::Message { id, content, .. } if *id == self.answer => assert_eq!(content, &self.whole),
            Shown::Message { .. } => extent.messages += 1,
            other => panic!("not expected at a place: {other:?}"),
        }
        let entry = Entry { shown: frame.shown, extent };
        match self.log.get(self.place) {
            Some(seen) => assert_eq!(seen, &entry, "offset {offset} was something else before"),
            None => self.log.push(entry),
        }
        self.place = offset;
    }

    /// Opens a session from the place on; sometimes a client does not remember the epoch.
    async fn enter(&mut self, actor: &Actor, carrier: Carrier, knows_epoch: bool) -> Session {
        let mut session = Session::open(actor, carrier).await;
        let position = TopicPosition {
            topic: self.topic.clone(),
            offset: Some(self.place as i64),
            epoch: self.epoch.clone().filter(|_| knows_epoch),
        };
        session.subscribe(position).await;
        loop {
            let frame = session.next().await.expect("the session stays");
            if let Shown::Confirmed { epoch, recovered } = frame.shown {
                assert!(recovered, "{} is in the history", self.place);
                let before = self.epoch.replace(epoch);
                assert!(before.is_none() || before == self.epoch, "the epoch is another");
                return session;
            }
            self.see(frame);
        }
    }

    /// Follows a session for so many frames, or as far as things are.
    async fn follow(&mut self, session: &mut Session, frames: usize, until: Extent) {
        for _ in 0..frames {
            if self.has(until) {
                return;
            }
            self.see(session.next().await.expect("the session stays"));
        }
    }

    /// Follows the answer alone after so many bytes, for so many events or as far as it is.
    async fn listen(&mut self, actor: &Actor, way: Way, after: usize, events: usize, until: usize) {
        let mut answer = Answer::resume(actor, way, &self.answer, after).await;
        let mut text = self.whole[..after].to_owned();
        for _ in 0..events {
            if text.len() >= until {
                break;
            }
            let event = answer.next().await;
            assert!(["start", "token"].contains(&&*event.kind), "while it is being made: {event:?}");
            event.apply(&mut text);
            assert!(self.whole.starts_with(&text), "{text:?}");
        }
        self.read = self.read.max(text.len());
    }
}

/// A stream of the answer alone.
enum Answer {
    Events(Box<Events>),
    Stream(Box<Streaming<ResumeChatResponse>>),
}

impl Answer {
    async fn resume(actor: &Actor, way: Way, id: &str, after: usize) -> Self {
        if matches!(way, Way::Events) {
            return Self::Events(Box::new(actor.resume_chat(id, after as u64).await));
        }
        let request = ResumeChatRequest { message_id: id.to_owned(), after: after as i64 };
        Self::Stream(Box::new(actor.chat().resume_chat(request).await.unwrap().into_inner()))
    }

    async fn next(&mut self) -> Happened {
        match self {
            Self::Events(events) => events.next().await.expect("the answer goes on"),
            Self::Stream(stream) => soon("an event", stream.message()).await.unwrap().unwrap().event.unwrap().into(),
        }
    }
}

/// Says pieces of the answer and messages by turns, and returns each message with its `seq`.
async fn feed(
    upstream: &Upstream,
    pieces: usize,
    conversation: &str,
    messages: &[(Actor, String)],
) -> Vec<(i64, String)> {
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let mut posted = Vec::new();
    for turn in 0..pieces.max(messages.len()) {
        if turn < pieces {
            upstream.release(1);
        }
        if let Some((actor, content)) = messages.get(turn) {
            let (status, body) = actor.post(&path, json!({ "content": content, "reply": false })).await;
            assert_eq!(status, 200, "{body}");
            posted.push((body["message"]["seq"].as_i64().unwrap(), content.clone()));
        }
    }
    posted
}

/// A conversation, those who talk in it, and the wanderer.
struct World {
    random: StdRng,
    nodes: Vec<Server>,
    upstream: Upstream,
    talkers: [Actor; 2],
    /// Whom the wanderer calls as.
    bob: Actor,
    conversation: String,
    wanderer: Wanderer,
    /// How long the answer is behind each of its pieces.
    ends: Vec<usize>,
    /// What was sent, each with its `seq`.
    posted: Vec<(i64, String)>,
}

impl World {
    async fn new(nodes: Vec<Server>, upstream: Upstream, seed: u64) -> Self {
        let (alice, bob, carol) =
            (nodes[0].register("alice").await, nodes[0].register("bob").await, nodes[0].register("carol").await);
        let conversation = alice.conversation().await;
        for member in [&bob, &carol] {
            alice.add(&conversation, member, "member").await;
        }
        let (_, answer) = alice.send(&conversation, "tell me everything").await;
        let wanderer = Wanderer {
            topic: format!("conversation:{conversation}"),
            answer,
            whole: (1..=PIECES).map(piece).collect(),
            log: Vec::new(),
            place: 0,
            epoch: None,
            read: 0,
        };
        let ends = (0..=PIECES).map(|count| (1..=count).map(|number| piece(number).len()).sum()).collect();
        let (random, talkers) = (StdRng::seed_from_u64(seed), [alice, carol]);
        Self { random, nodes, upstream, talkers, bob, conversation, wanderer, ends, posted: Vec::new() }
    }

    /// Somebody at one of the nodes.
    fn somewhere(&mut self, actor: &Actor) -> Actor {
        actor.at(self.nodes.choose(&mut self.random).unwrap())
    }

    /// One link, while more is said: it ends after some frames, or when all was seen.
    async fn link(&mut self, number: usize) {
        let (pieces, already) = (PIECES * number / LINKS, PIECES * (number - 1) / LINKS);
        let mut messages = Vec::new();
        for message in self.posted.len()..MESSAGES * number / LINKS {
            let talker = self.talkers.choose(&mut self.random).unwrap().clone();
            messages.push((self.somewhere(&talker), format!("message {message}")));
        }
        // The question is a message as well.
        let until = Extent { text: self.ends[pieces], messages: self.posted.len() + messages.len() + 1 };

        let bob = self.bob.clone();
        let bob = self.somewhere(&bob);
        let way = *WAYS.choose(&mut self.random).unwrap();
        let frames = if self.random.random_ratio(1, 4) { usize::MAX } else { self.random.random_range(0..16) };
        let back = if self.random.random_ratio(1, 6) { self.random.random_range(1..60) } else { 0 };
        let (knows_epoch, is_orderly) = (self.random.random_ratio(4, 5), self.random.random_ratio(1, 3));
        let (wanderer, ends) = (&mut self.wanderer, &self.ends);
        let following = async {
            match way {
                Way::Session(carrier) => {
                    wanderer.place -= back.min(wanderer.place);
                    let mut session = wanderer.enter(&bob, carrier, knows_epoch).await;
                    wanderer.follow(&mut session, frames, until).await;
                    if is_orderly { session.leave().await } else { session.cut() }
                }
                Way::Events | Way::Stream => {
                    let seen = wanderer.log.last().map_or(0, |last| last.extent.text).max(wanderer.read);
                    let after = ends[ends.partition_point(|end| *end <= seen).saturating_sub(1 + back)];
                    wanderer.listen(&bob, way, after, frames, until.text).await;
                }
            }
        };
        let feeding = feed(&self.upstream, pieces - already, &self.conversation, &messages);
        let (posted, ()) = tokio::join!(feeding, following);
        self.posted.extend(posted);
    }

    /// Sees the end, and finds that it has everything.
    async fn end(&mut self) {
        let Self { wanderer, bob, upstream, conversation, posted, .. } = self;
        upstream.release(1);
        let mut session = wanderer.enter(bob, Carrier::Json, true).await;
        // The answer ends, and is a message then.
        let last = |entry: &Entry| match &entry.shown {
            Shown::Ended { .. } => true,
            Shown::Message { content, .. } => content.len() == entry.extent.text,
            _ => false,
        };
        while wanderer.log.iter().filter(|entry| last(entry)).count() < 2 {
            wanderer.see(session.next().await.expect("the session stays"));
        }
        for carrier in [Carrier::Json, Carrier::Proto, Carrier::Native] {
            wanderer.place = 0;
            let mut session = wanderer.enter(bob, carrier, true).await;
            wanderer.follow(&mut session, wanderer.log.len(), Extent { text: usize::MAX, messages: usize::MAX }).await;
            assert_eq!(wanderer.place, wanderer.log.len());
        }
        assert_eq!(wanderer.extent().text, wanderer.whole.len());
        let messages = wanderer.log.iter().filter_map(|entry| match &entry.shown {
            Shown::Message { id, seq, content } if *id != wanderer.answer => Some((*seq, content.clone())),
            _ => None,
        });
        let messages: Vec<_> = messages.skip(1).collect();
        assert_eq!(messages.len(), MESSAGES);
        assert_eq!(&messages, posted);
        for way in [Way::Events, Way::Stream] {
            let mut answer = Answer::resume(bob, way, &wanderer.answer, wanderer.read).await;
            let mut text = wanderer.whole[..wanderer.read].to_owned();
            loop {
                let event = answer.next().await;
                event.apply(&mut text);
                if event.is_last() {
                    break;
                }
            }
            assert_eq!(text, wanderer.whole);
        }
        assert_eq!(bob.message(conversation, &wanderer.answer).await["content"], wanderer.whole);
    }
}

/// Tries one seed, which is told when it fails.
async fn wander(nodes: Vec<Server>, upstream: Upstream) {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let wandering = tokio::spawn(async move {
        let mut world = World::new(nodes, upstream, seed).await;
        for number in 1..=LINKS {
            world.link(number).await;
        }
        world.end().await;
    });
    wandering.await.unwrap_or_else(|error| panic!("{SEED}={seed} repeats it: {error}"));
}

fn script() -> Script {
    Script::anthropic().stepped().pieces(PIECES).pause().end()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_a_node_time_and_again_sees_everything_once() {
    let upstream = Upstream::start(script()).await;
    let node = Server::asking(&upstream, &[]).await;
    wander(vec![node], upstream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_either_of_two_nodes_sees_everything_once() {
    let (redis, upstream) = (RedisServer::start().await, Upstream::start(script()).await);
    let (redis_url, url) = (redis.url(), upstream.url());
    let settings = [&[("redis_url", redis_url.as_str())], &upstream.settings(&url)[..]].concat();
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    wander(vec![here, there], upstream).await;
}
