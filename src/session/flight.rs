//! The flight recorder: what passed on a connection lately, for whoever looks into it afterwards; never what was said.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    analytics::TYPES,
    command::{Answer, Outgoing},
    connection::Frame,
    sessions::Sessions,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        event::Happening,
        ids::{ConnectionId, UserId},
        topic::Topic,
    },
};

/// Frames of a connection that are remembered.
const FRAMES: usize = 100;
/// Frames for which there is room at first: as many as a connection has that joins as it opens and stays idle.
const FIRST_FRAMES: usize = 2;
/// Ended connections that are remembered: about a megabyte at most.
const ENDED: usize = 100;
/// Characters of a viewer's id that are remembered: as many as a UUID has.
const ID: usize = 36;
/// The codes of the contract, in order.
pub const CODES: [&str; 22] = [
    "ALREADY_EXISTS",
    "CONNECTION_LIMIT_EXCEEDED",
    "CONTENT_REJECTED",
    "CONVERSATION_BUSY",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERRUPTED",
    "INVALID_JSON",
    "INVALID_MESSAGE",
    "INVALID_MESSAGE_TYPE",
    "MESSAGE_TOO_LARGE",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "PROCESSING_ERROR",
    "PROVIDER_PROTOCOL",
    "PROVIDER_REJECTED",
    "PROVIDER_TIMEOUT",
    "PROVIDER_UNAVAILABLE",
    "QUOTA_EXCEEDED",
    "RATE_LIMIT_EXCEEDED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
];

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the viewer.
    In,
    /// To the viewer.
    Out,
}

/// What a frame has to do with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Nothing.
    Alone,
    /// The frame to which the viewer gave this id: itself, or the one that it answers.
    Frame(Box<str>),
    /// A topic, and its own place there; 0 when it has none.
    Place(Topic, u64),
}

/// A frame that passed, as it is remembered: 48 bytes, and the viewer's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When it did.
    pub at: Timestamp,
    /// Its bytes on the session's stream, as protobuf.
    pub bytes: u32,
    /// Which way it went.
    pub direction: Direction,
    /// What it has to do with others.
    pub about: About,
    /// Where its type is among [`TYPES`]; one that could not be read has none.
    frame_type: u8,
    /// Where its code is among [`CODES`]; most have none.
    code: u8,
}

impl Passage {
    /// A frame of the viewer's has come.
    pub(super) fn taken(at: Timestamp, frame: &Frame) -> Self {
        let (name, code) = match &frame.command {
            Ok(command) => (command.name(), ""),
            Err(error) => ("", error.reason()),
        };
        Self::new(at, Direction::In, (name, code), named(Some(&frame.id))).weighing(frame.bytes)
    }

    /// A frame is about to leave: how many bytes it has shows when it is written.
    pub(super) fn handed(at: Timestamp, outgoing: &Outgoing) -> Self {
        let (says, about) = match outgoing {
            Outgoing::Event(event) => (told(&event.draft.happening), About::Place(event.topic.clone(), event.offset)),
            Outgoing::Draft(draft) => (told(&draft.happening), About::Alone),
            Outgoing::Answer(reply_to, answer) => {
                let code = if let Answer::Refused(error) = answer { error.reason() } else { "" };
                ((answer.name(), code), named(reply_to.as_deref()))
            }
        };
        Self::new(at, Direction::Out, says, about)
    }

    fn new(at: Timestamp, direction: Direction, (name, code): (&str, &str), about: About) -> Self {
        Self { at, bytes: 0, direction, about, frame_type: place(&TYPES, name), code: place(&CODES, code) }
    }

    /// The same, of so many bytes.
    pub(super) fn weighing(self, bytes: usize) -> Self {
        Self { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), ..self }
    }

    /// Its type, as the contract names it; empty when it could not be read.
    pub fn frame_type(&self) -> &'static str {
        TYPES.get(usize::from(self.frame_type)).copied().unwrap_or_default()
    }

    /// The code of the error that it tells, or with which it was refused; empty when there is none.
    pub fn code(&self) -> &'static str {
        CODES.get(usize::from(self.code)).copied().unwrap_or_default()
    }
}

/// The type of what happened, and its code when it is a failure.
fn told(happening: &Happening) -> (&str, &str) {
    let code = if let Happening::Failed { code, .. } = happening { code.as_str() } else { "" };
    (happening.name(), code)
}

/// The viewer's id of a frame, of which no more is remembered than a UUID has.
fn named(id: Option<&str>) -> About {
    let id: Box<str> = id.unwrap_or_default().chars().take(ID).collect();
    if id.is_empty() { About::Alone } else { About::Frame(id) }
}

/// Where a name is in a list that is in order; beyond its end for one that is not there.
fn place(names: &[&str], name: &str) -> u8 {
    names.binary_search(&name).ok().and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

/// Notes what passes on one connection.
#[derive(Debug)]
pub(super) struct Recorder {
    since: Timestamp,
    count: u64,
    frames: VecDeque<Passage>,
}

impl Recorder {
    /// Begins with a connection.
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, count: 0, frames: VecDeque::new() }
    }

    /// Notes a frame, in place of the oldest when there is no room.
    pub(super) fn note(&mut self, passage: Passage) {
        let held = self.frames.len();
        if held == FRAMES {
            self.frames.pop_front();
        } else if held == self.frames.capacity() {
            self.frames.reserve_exact(held.max(FIRST_FRAMES).min(FRAMES - held));
        }
        self.frames.push_back(passage);
        self.count += 1;
    }

    /// What is remembered.
    fn flight(&self, connection_id: ConnectionId, user_id: UserId) -> Flight {
        let frames = self.frames.iter().cloned().collect();
        Flight { connection_id, user_id, since: self.since, ended_at: None, count: self.count, frames }
    }
}

/// What is remembered of a connection.
#[derive(Clone, Debug)]
pub struct Flight {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many frames have passed.
    pub count: u64,
    /// The latest of them, the oldest first.
    pub frames: Vec<Passage>,
}

/// The connections that ended on this node lately, the latest last. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Flights(Arc<Mutex<VecDeque<Flight>>>);

impl Flights {
    /// Remembers a connection that ends now.
    pub(super) fn keep(&self, (id, user): (ConnectionId, UserId), at: Timestamp, recorder: &Mutex<Recorder>) {
        let flight = Flight { ended_at: Some(at), ..lock(recorder).flight(id, user) };
        let mut ended = lock(&self.0);
        if ended.len() == ENDED {
            ended.pop_front();
        }
        ended.push_back(flight);
    }

    fn find(&self, id: ConnectionId) -> Option<Flight> {
        lock(&self.0).iter().find(|flight| flight.connection_id == id).cloned()
    }
}

impl Sessions {
    /// What passed lately on a connection of this node, or on one that ended here not long ago.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] for a live connection of another node, [`Error::NotFound`] for one that nobody remembers.
    pub async fn flight(&self, id: ConnectionId) -> Result<Flight> {
        let live = self.hub.live(id).map(|(user, live)| lock(&live.recorder).flight(id, user));
        // Remembered before it leaves the hub: it is in one of the two.
        match live.or_else(|| self.flights.find(id)) {
            Some(flight) => Ok(flight),
            None if self.connection_elsewhere(id).await.is_some() => {
                Err(Error::FailedPrecondition("another node has the connection and knows its frames: ask that one"))
            }
            None => Err(Error::NotFound("connection")),
        }
    }
}

/// A panic elsewhere leaves what was noted whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(bytes: usize) -> Passage {
        Passage::new(Timestamp::from_micros(0), Direction::In, ("ping", ""), named(Some("p1"))).weighing(bytes)
    }

    #[test]
    fn the_latest_frames_are_remembered_and_no_more_memory_is_held_than_they_need() {
        let mut recorder = Recorder::new(Timestamp::from_micros(0));
        assert_eq!((size_of::<Passage>(), recorder.frames.capacity()), (48, 0));
        let mut held = Vec::new();
        for bytes in 0..1000 {
            recorder.note(passage(bytes));
            held.push(recorder.frames.capacity());
        }
        held.dedup();
        assert_eq!(held, [2, 4, 8, 16, 32, 64, 100]);
        let flight = recorder.flight(ConnectionId::generate(), UserId::generate());
        assert_eq!(flight.count, 1000);
        assert_eq!(flight.frames.iter().map(|it| it.bytes).collect::<Vec<_>>(), (900..1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_name_of_the_contract_is_not_remembered() {
        let unknown = Passage::new(Timestamp::from_micros(0), Direction::Out, ("what", "WHY"), named(Some("")));
        assert_eq!((unknown.frame_type(), unknown.code(), unknown.about), ("", "", About::Alone));
        let known = Passage::new(Timestamp::from_micros(0), Direction::Out, ("error", "NOT_FOUND"), About::Alone);
        assert_eq!((known.frame_type(), known.code()), ("error", "NOT_FOUND"));
        let About::Frame(id) = named(Some(&"x".repeat(100))) else { panic!("it has an id") };
        assert_eq!(id.len(), ID);
    }

    #[test]
    fn of_ended_connections_the_latest_are_remembered() {
        let (flights, recorder) = (Flights::default(), Mutex::new(Recorder::new(Timestamp::from_micros(0))));
        let user = UserId::generate();
        let ids: Vec<_> = (0..=ENDED).map(|_| ConnectionId::generate()).collect();
        ids.iter().for_each(|id| flights.keep((*id, user), Timestamp::from_micros(1), &recorder));
        assert!(flights.find(ids[0]).is_none());
        assert!(ids[1..].iter().all(|id| flights.find(*id).is_some_and(|flight| flight.ended_at.is_some())));
    }
}
