//! A relay between a server that forgets, a channel that loses and answers that come late: whatever happens in which
//! order, its viewer sees each event once, in order, or is told that it missed some.

use std::collections::{HashSet, VecDeque};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::*;
use crate::model::{
    clock::Clock,
    event::{Draft, Happening},
    ids::ConversationId,
};

/// What a viewer learned.
#[derive(Clone, Debug, PartialEq)]
enum Learned {
    Event(u64, Uuid),
    Missed,
}

/// An answer of the server that is under way.
enum Answer {
    Published(Arc<Event>, Position),
    Read(Option<Position>, Kept),
    Begun(Position, Option<Position>),
}

struct World {
    random: StdRng,
    relay: Relay,
    deliver: Deliver,
    learned: Arc<std::sync::Mutex<Vec<Learned>>>,
    is_up: bool,
    server: Option<(Position, Vec<String>)>,
    channel: VecDeque<Arrival>,
    answers: Vec<Answer>,
    own: Vec<Uuid>,
}

const BOUNDS: Bounds = Bounds { events: 1000, bytes: 1 << 20, age: std::time::Duration::from_secs(3600) };

impl World {
    fn new(seed: u64) -> Self {
        let learned = Arc::new(std::sync::Mutex::new(Vec::new()));
        let viewer = learned.clone();
        let deliver: Deliver = Box::new(move |news| {
            viewer.lock().unwrap().push(match news {
                News::Event(event) | News::Whisper(event) => Learned::Event(event.offset, event.id),
                News::Missed(_) => Learned::Missed,
            });
        });
        let relay = Relay::new(Topic::System, BOUNDS);
        let (channel, answers, own) = Default::default();
        let random = StdRng::seed_from_u64(seed);
        let mut world = Self { random, relay, deliver, learned, is_up: true, server: None, channel, answers, own };
        world.relay.open(true);
        world
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..20 if self.server.is_some() || self.is_up => drop(self.append(draft().0)),
            20..45 => self.publish(),
            45..70 => self.hear(),
            70..85 => self.answer(),
            85..95 => self.ask(),
            95 => self.lose(),
            96 => {
                self.lose();
                self.server = None;
            }
            97..100 => self.find(),
            _ => {}
        }
    }

    /// The server gives a body the next place, and tells whoever hears.
    fn append(&mut self, body: String) -> Position {
        let fresh = Position { epoch: Epoch(self.random.random()), offset: 0 };
        let (position, bodies) = self.server.get_or_insert((fresh, Vec::new()));
        position.offset += 1;
        bodies.push(body);
        if bodies.len() > 8 {
            bodies.remove(0);
        }
        let (position, body) = (*position, bodies.last().unwrap().clone());
        let event = wire::event(&Topic::System, position.offset, &body).unwrap();
        self.tell(Arrival { position, content: Content::Event(event) });
        position
    }

    fn tell(&mut self, arrival: Arrival) {
        if self.is_up {
            self.channel.push_back(arrival);
        }
    }

    fn publish(&mut self) {
        let (body, id) = draft();
        self.own.push(id);
        if self.is_up && !self.relay.is_apart() {
            let position = self.append(body.clone());
            let event = wire::event(&Topic::System, position.offset, &body).unwrap();
            self.answers.push(Answer::Published(event, position));
        } else {
            self.publish_apart(&body);
        }
    }

    fn publish_apart(&mut self, body: &str) {
        let event = wire::event(&Topic::System, self.relay.position().offset + 1, body).unwrap();
        self.relay.publish_apart(event, &self.deliver);
    }

    fn hear(&mut self) {
        if let Some(arrival) = self.channel.pop_front() {
            self.relay.hear(arrival, &self.deliver);
        }
    }

    /// The server does what the relay needs; the answer comes later.
    fn ask(&mut self) {
        let is_asking = self.answers.iter().any(|answer| !matches!(answer, Answer::Published(..)));
        if !self.is_up || is_asking {
            return;
        }
        let fresh = Position { epoch: Epoch(self.random.random()), offset: 0 };
        match self.relay.need() {
            Need::Nothing => {}
            Need::Read(known) => {
                let (position, bodies) = self.server.get_or_insert((fresh, Vec::new()));
                let after =
                    known.filter(|known| known.epoch == position.epoch).map_or(position.offset, |known| known.offset);
                let missed = usize::try_from(position.offset.saturating_sub(after)).unwrap();
                let bodies = bodies[bodies.len() - missed.min(bodies.len())..].to_vec();
                self.answers.push(Answer::Read(known, Kept { position: *position, bodies }));
            }
            Need::Begin => {
                let at = self.relay.begin().unwrap();
                let before = self.server.replace((at, Vec::new()));
                self.answers.push(Answer::Begun(at, before.map(|(position, _)| position)));
                self.tell(Arrival { position: at, content: Content::Begun });
            }
        }
    }

    /// One of the answers under way arrives.
    fn answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let nth = self.random.random_range(0..self.answers.len());
        match self.answers.remove(nth) {
            Answer::Published(event, position) => drop(self.relay.hear_own(event, position, &self.deliver)),
            Answer::Read(from, kept) => drop(self.relay.settle(from, &kept, &self.deliver)),
            Answer::Begun(at, before) => drop(self.relay.begun(at, before, &self.deliver)),
        }
    }

    /// The link breaks: what was under way is lost, whether or not the server did it.
    fn lose(&mut self) {
        if !std::mem::take(&mut self.is_up) {
            return;
        }
        self.channel.clear();
        let mut late = Vec::new();
        for answer in std::mem::take(&mut self.answers) {
            match answer {
                Answer::Published(event, _) if self.random.random() => {
                    self.publish_apart(&wire::body(event.id, event.at, &event.draft).unwrap());
                }
                Answer::Published(..) => late.push(answer),
                Answer::Read(..) | Answer::Begun(..) => {}
            }
        }
        self.answers = late;
        self.relay.fall_back(&self.deliver);
    }

    fn find(&mut self) {
        if !std::mem::replace(&mut self.is_up, true) {
            self.relay.attend();
        }
    }

    /// Everything that is under way comes to its end.
    fn rest(&mut self) {
        self.find();
        for _ in 0..100 {
            while !self.channel.is_empty() {
                self.hear();
            }
            while !self.answers.is_empty() {
                self.answer();
            }
            self.ask();
        }
        assert_eq!(self.relay.need(), Need::Nothing);
    }

    /// The viewer was told of every break, and saw everything else once, in order.
    fn check(&self) {
        let learned = self.learned.lock().unwrap();
        let (mut last, mut seen, mut told) = (None, HashSet::new(), HashSet::new());
        for news in learned.iter() {
            match news {
                Learned::Event(offset, id) => {
                    assert!(last.is_none_or(|last| *offset == last + 1), "{offset} after {last:?} in {learned:?}");
                    assert!(seen.insert(*id), "twice: {id} in {learned:?}");
                    told.insert(*id);
                    last = Some(*offset);
                }
                Learned::Missed => {
                    last = None;
                    seen.clear();
                }
            }
        }
        let was_told = learned.contains(&Learned::Missed);
        assert!(was_told || self.own.iter().all(|id| told.contains(id)), "own events are missing: {learned:?}");
        if let Some((position, _)) = &self.server {
            assert_eq!(self.relay.position(), *position);
        }
    }
}

fn draft() -> (String, Uuid) {
    let (id, at) = (Uuid::now_v7(), Clock::default().now());
    let happening = Happening::Token { content: id.to_string(), index: 0 };
    let draft = Draft::within(ConversationId::generate(), None, happening);
    (wire::body(id, at, &draft).unwrap(), id)
}

#[test]
fn a_viewer_sees_everything_once_in_order_or_is_told() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        // What is said before it is known where the log stands is the viewer's past.
        world.rest();
        for _ in 0..200 {
            world.step();
        }
        world.rest();
        world.check();
    }
}

#[test]
fn nothing_is_missed_while_nothing_is_lost() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.rest();
        for _ in 0..200 {
            match world.random.random_range(0..4) {
                0 => world.publish(),
                1 => drop(world.append(draft().0)),
                2 => world.hear(),
                _ => world.answer(),
            }
            // The server keeps the last eight only: the relay must not fall further behind.
            if world.channel.len() > 4 {
                world.hear();
            }
        }
        world.rest();
        world.check();
        assert!(!world.learned.lock().unwrap().contains(&Learned::Missed));
    }
}
