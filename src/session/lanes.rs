//! Lanes: what waits for one viewer, by how much it matters; bounded, and dropped in a fixed order when it is too much.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{joining::joined, mailbox::Letter};
use crate::model::topic::Topic;

/// What may wait for one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Frames.
    pub frames: usize,
    /// Their bytes; one frame alone may have more.
    pub bytes: usize,
    /// How long each may wait.
    pub ttl: Duration,
}

/// How much a letter matters. What matters more overtakes what matters less; of a topic whose events have places, all of
/// them wait in one lane, so that their order stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The end of a right or of the connection.
    Critical,
    /// Conversations and what concerns the user.
    High,
    /// Published events of other topics.
    Medium,
    /// What is of the moment: typing, presence.
    Low,
}

impl Lane {
    /// All, the most important first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// As operators and analytics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// Four queues. When more waits than may, pieces of answers are joined first, then what is of the moment is dropped; when
/// that is not enough, everything is, for one [`Letter::Overflow`].
#[derive(Debug)]
pub(super) struct Lanes {
    bounds: Bounds,
    queues: [VecDeque<Waiting>; 4],
    bytes: usize,
    /// Nothing more is taken until the reader knows.
    has_overflowed: bool,
}

/// A letter, and since when it waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) letter: Letter,
    pub(super) since: Instant,
}

impl Lanes {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, queues: Default::default(), bytes: 0, has_overflowed: false }
    }

    /// Puts a letter in its lane, in place of one that it replaces.
    pub(super) fn push(&mut self, letter: Letter) {
        let lane = letter.lane();
        if self.has_overflowed && lane != Lane::Critical {
            return;
        }
        match lane {
            Lane::Critical | Lane::Low => self.forget_replaced(lane, &letter),
            Lane::High => self.bring_forward(&letter),
            Lane::Medium => {}
        }
        self.bytes += letter.weight();
        self.queue(lane).push_back(Waiting { letter, since: Instant::now() });
        if self.is_full() {
            self.join_pieces();
        }
        if self.is_full() {
            self.clear(Lane::Low);
        }
        if self.is_full() {
            self.overflow();
        }
    }

    /// Takes the first letter of the most important lane, if that matters at least so much.
    pub(super) fn pop(&mut self, least: Lane) -> Option<Letter> {
        let now = Instant::now();
        for lane in Lane::ALL.into_iter().filter(|lane| *lane <= least) {
            while let Some(Waiting { letter, since }) = self.queue(lane).pop_front() {
                self.bytes = self.bytes.saturating_sub(letter.weight());
                // An idle connection holds no memory.
                if self.queue(lane).is_empty() {
                    *self.queue(lane) = VecDeque::new();
                }
                let is_stale = now - since > self.bounds.ttl;
                match lane {
                    Lane::Low if is_stale => {}
                    // It has a place, and may not be left out.
                    Lane::High | Lane::Medium if is_stale => self.overflow(),
                    _ => {
                        self.has_overflowed &= !matches!(letter, Letter::Overflow);
                        return Some(letter);
                    }
                }
                if self.has_overflowed {
                    return self.pop(least);
                }
            }
        }
        None
    }

    /// Drops all that waits, but for what ends a right or the connection.
    pub(super) fn drop_events(&mut self) {
        [Lane::High, Lane::Medium, Lane::Low].into_iter().for_each(|lane| self.clear(lane));
    }

    /// Whether a letter like this one waits.
    pub(super) fn has(&self, is_meant: impl Fn(&Letter) -> bool) -> bool {
        self.queues.iter().flatten().any(|waiting| is_meant(&waiting.letter))
    }

    /// How many letters wait in each lane.
    pub(super) fn lengths(&self) -> [usize; 4] {
        self.queues.each_ref().map(VecDeque::len)
    }

    fn is_full(&self) -> bool {
        let frames: usize = self.lengths().iter().sum();
        frames > self.bounds.frames || (self.bytes > self.bounds.bytes && frames > 1)
    }

    fn overflow(&mut self) {
        self.drop_events();
        if std::mem::replace(&mut self.has_overflowed, true) {
            return;
        }
        self.queue(Lane::Critical).push_back(Waiting { letter: Letter::Overflow, since: Instant::now() });
        metrics::counter!("colloquy_mailbox_overflows_total").increment(1);
    }

    fn clear(&mut self, lane: Lane) {
        let dropped = std::mem::take(self.queue(lane));
        self.bytes = self.bytes.saturating_sub(weight(&dropped));
        metrics::counter!("colloquy_frames_dropped_total", "lane" => lane.name()).increment(dropped.len() as u64);
    }

    /// Drops the one letter that a newer one says more than.
    fn forget_replaced(&mut self, lane: Lane, newer: &Letter) {
        let queue = self.queue(lane);
        if let Some(at) = queue.iter().rposition(|waiting| newer.says_more_than(&waiting.letter))
            && let Some(Waiting { letter, .. }) = queue.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(letter.weight());
        }
    }

    /// Takes what waits of a published event's topic along, before it: a topic keeps its order.
    fn bring_forward(&mut self, letter: &Letter) {
        let Letter::Event(event) = letter else { return };
        if !matches!(event.topic, Topic::System | Topic::Event(_)) {
            return;
        }
        let is_of_topic = |waiting: &Waiting| matches!(&waiting.letter, Letter::Event(it) if it.topic == event.topic);
        let medium = std::mem::take(self.queue(Lane::Medium));
        let (along, rest): (VecDeque<_>, VecDeque<_>) = medium.into_iter().partition(is_of_topic);
        *self.queue(Lane::Medium) = rest;
        self.queue(Lane::High).extend(along);
    }

    fn join_pieces(&mut self) {
        let queue = std::mem::take(self.queue(Lane::High));
        let before = weight(&queue);
        let joined = joined(queue);
        self.bytes = (self.bytes + weight(&joined)).saturating_sub(before);
        *self.queue(Lane::High) = joined;
    }

    fn queue(&mut self, lane: Lane) -> &mut VecDeque<Waiting> {
        &mut self.queues[lane as usize]
    }
}

fn weight(queue: &VecDeque<Waiting>) -> usize {
    queue.iter().map(|waiting| waiting.letter.weight()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        clock::Clock,
        event::{Draft, Event, Happening},
        ids::{ConversationId, EventId, MessageId, UserId},
        presence::{Status, StatusChange},
        publication::{Priority, Publication},
        topic::Topic,
    };

    const BOUNDS: Bounds = Bounds { frames: 1000, bytes: 1 << 20, ttl: Duration::from_secs(3600) };

    fn event(topic: Topic, offset: u64, message_id: Option<MessageId>, happening: Happening) -> Letter {
        let draft = Draft::within(ConversationId::generate(), message_id, happening);
        Letter::Event(Event::new(topic, offset, Clock::default().now(), draft))
    }

    fn token(message: MessageId, offset: u64, index: u64, content: &str) -> Letter {
        token_in(Topic::Conversation(ConversationId::generate()), message, offset, index, content)
    }

    fn token_in(topic: Topic, message: MessageId, offset: u64, index: u64, content: &str) -> Letter {
        event(topic, offset, Some(message), Happening::Token { content: content.into(), index })
    }

    fn typing(conversation_id: ConversationId, user_id: UserId, is_typing: bool) -> Letter {
        let happening = Happening::Typing { user_id, username: "alice".into(), is_typing };
        event(Topic::Conversation(conversation_id), 0, None, happening)
    }

    fn published(topic: &str, offset: u64, priority: Priority) -> Letter {
        let (id, event_type, data) = (EventId::generate(), topic.to_owned(), Default::default());
        let publication = Publication { id, event_type, data, size: 2, priority, expires_at: None };
        event(Topic::Event(topic.to_owned()), offset, None, Happening::Published(Box::new(publication)))
    }

    fn status(user_id: UserId, status: Status) -> Letter {
        Letter::Status(StatusChange { user_id, status, last_seen: None })
    }

    fn offset(letter: Option<Letter>) -> Option<u64> {
        letter.map(|letter| if let Letter::Event(event) = letter { event.offset } else { panic!("not an event") })
    }

    #[tokio::test]
    async fn a_slow_reader_gets_joined_pieces_and_loses_no_byte() {
        let mut lanes = Lanes::new(BOUNDS);
        let answers = [MessageId::generate(), MessageId::generate()];
        let topics = [(); 2].map(|()| Topic::Conversation(ConversationId::generate()));
        let mut sent = [String::new(), String::new()];
        for n in 0..5000_u64 {
            let which = (n % 2) as usize;
            let content = format!("{n} ");
            let index = sent[which].len() as u64;
            lanes.push(token_in(topics[which].clone(), answers[which], n / 2 + 1, index, &content));
            sent[which] += &content;
        }
        let mut got = [String::new(), String::new()];
        let mut letters = 0;
        while let Some(Letter::Event(event)) = lanes.pop(Lane::Low) {
            let which = usize::from(event.draft.message_id == Some(answers[1]));
            let Happening::Token { content, index } = &event.draft.happening else { panic!("not a token") };
            assert_eq!(*index, got[which].len() as u64);
            got[which] += content;
            letters += 1;
        }
        assert_eq!(got, sent);
        assert!(letters <= BOUNDS.frames, "{letters}");
        assert_eq!(lanes.bytes, 0);
    }

    #[tokio::test]
    async fn what_matters_more_goes_first_and_each_lane_keeps_its_order() {
        let mut lanes = Lanes::new(BOUNDS);
        let conversation = ConversationId::generate();
        lanes.push(status(UserId::generate(), Status::Away));
        for offset in 1..=2 {
            lanes.push(event(Topic::System, offset, None, Happening::MessageDeleted));
        }
        for offset in 3..=4 {
            lanes.push(token(MessageId::generate(), offset, 0, "x"));
        }
        lanes.push(Letter::Barred(conversation));
        assert_eq!(lanes.lengths(), [1, 2, 2, 1]);
        assert!(matches!(lanes.pop(Lane::Low), Some(Letter::Barred(id)) if id == conversation));
        for expected in [3, 4, 1, 2] {
            assert_eq!(offset(lanes.pop(Lane::Low)), Some(expected));
        }
        assert!(matches!(lanes.pop(Lane::Low), Some(Letter::Status(_))));
        assert!(lanes.pop(Lane::Low).is_none());
    }

    #[tokio::test]
    async fn of_presence_the_latest_waits_and_it_is_dropped_for_what_lasts() {
        let mut lanes = Lanes::new(BOUNDS);
        let (conversation, alice) = (ConversationId::generate(), UserId::generate());
        for number in 0..5000 {
            lanes.push(typing(conversation, alice, number % 2 == 0));
            lanes.push(status(alice, if number % 2 == 0 { Status::Online } else { Status::Away }));
        }
        assert_eq!(lanes.lengths(), [0, 0, 0, 2]);
        for _ in 0..2 * BOUNDS.frames {
            lanes.push(status(UserId::generate(), Status::Online));
            lanes.push(typing(conversation, UserId::generate(), true));
        }
        assert!(lanes.lengths()[3] <= BOUNDS.frames);
        for number in 0..BOUNDS.frames as u64 {
            lanes.push(token(MessageId::generate(), number + 1, 0, "x"));
        }
        assert_eq!(lanes.lengths(), [0, BOUNDS.frames, 0, 0]);
        for number in 0..BOUNDS.frames as u64 {
            assert_eq!(offset(lanes.pop(Lane::Low)), Some(number + 1));
        }
        assert!(lanes.pop(Lane::Low).is_none());
    }

    #[tokio::test]
    async fn what_matters_more_overtakes_other_topics_and_not_its_own() {
        let mut lanes = Lanes::new(BOUNDS);
        for (topic, offset) in [("a", 1), ("b", 1), ("a", 2)] {
            lanes.push(published(topic, offset, Priority::Normal));
        }
        lanes.push(published("a", 3, Priority::High));
        lanes.push(published("a", 4, Priority::Normal));
        let mut order = Vec::new();
        while let Some(Letter::Event(event)) = lanes.pop(Lane::Low) {
            order.push(format!("{} {}", event.topic, event.offset));
        }
        assert_eq!(order, ["event:a 1", "event:a 2", "event:a 3", "event:b 1", "event:a 4"]);
    }

    #[tokio::test]
    async fn a_reader_beyond_the_bound_is_told_once_and_then_starts_anew() {
        let mut lanes = Lanes::new(BOUNDS);
        for n in 0..3000_u64 {
            lanes.push(token(MessageId::generate(), n + 1, 0, "x"));
        }
        assert!(matches!(lanes.pop(Lane::Low), Some(Letter::Overflow)));
        lanes.push(token(MessageId::generate(), 1, 0, "y"));
        assert_eq!(offset(lanes.pop(Lane::Low)), Some(1));
        assert_eq!(lanes.bytes, 0);
    }

    #[tokio::test]
    async fn one_event_may_be_larger_than_all_that_may_wait() {
        let mut lanes = Lanes::new(Bounds { bytes: 1000, ..BOUNDS });
        lanes.push(token(MessageId::generate(), 1, 0, &"x".repeat(5000)));
        assert_eq!(offset(lanes.pop(Lane::Low)), Some(1));
        lanes.push(token(MessageId::generate(), 2, 0, &"x".repeat(5000)));
        lanes.push(token(MessageId::generate(), 3, 0, &"x".repeat(5000)));
        assert!(matches!(lanes.pop(Lane::Low), Some(Letter::Overflow)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_too_long_is_dropped_or_when_it_has_a_place_told_of() {
        let mut lanes = Lanes::new(BOUNDS);
        lanes.push(status(UserId::generate(), Status::Online));
        tokio::time::advance(BOUNDS.ttl + Duration::from_secs(1)).await;
        assert!(lanes.pop(Lane::Low).is_none());
        lanes.push(token(MessageId::generate(), 1, 0, "x"));
        tokio::time::advance(BOUNDS.ttl + Duration::from_secs(1)).await;
        lanes.push(token(MessageId::generate(), 2, 0, "x"));
        assert!(matches!(lanes.pop(Lane::Low), Some(Letter::Overflow)));
        assert!(lanes.pop(Lane::Low).is_none());
    }
}
