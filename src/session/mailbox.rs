//! A viewer's mailbox: what is published for it waits here, bounded, until the viewer takes it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::model::{
    event::{Draft, Event, Happening},
    ids::{ConversationId, MessageId},
    presence::StatusChange,
    topic::Topic,
};

/// Events that wait at most.
const MAX_EVENTS: usize = 1000;
/// Bytes that wait at most.
const MAX_BYTES: usize = 1 << 20;

/// What a viewer takes out of its mailbox.
#[derive(Clone, Debug)]
pub enum Letter {
    /// Something happened.
    Event(Arc<Event>),
    /// Somebody who shares a conversation with the viewer is there, or no longer.
    Status(StatusChange),
    /// The viewer may no longer see a conversation.
    Barred(ConversationId),
    /// The viewer's credential is no longer good.
    SignedOut,
    /// Events of a topic did not reach this node: they are to be looked up, and offsets start anew.
    Missed(Arc<Topic>),
    /// The viewer was too slow: events were dropped. The last letter before the mailbox starts anew.
    Overflow,
}

/// A bounded queue with one reader. Of presence, only the latest waits. When a reader falls behind, pieces of answers that
/// wait are joined first, then presence is dropped; when that is not enough, everything that waits is, for one
/// [`Letter::Overflow`].
#[derive(Debug, Default)]
pub struct Mailbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    letters: VecDeque<Letter>,
    weight: usize,
    overflowed: bool,
    /// Nothing is put in after [`Letter::SignedOut`].
    is_signed_out: bool,
}

impl Mailbox {
    /// Puts an event in.
    pub fn push(&self, event: &Arc<Event>) {
        let mut state = self.state();
        if state.overflowed || state.is_signed_out {
            return;
        }
        if !event.is_kept() {
            state.forget(|letter| match letter {
                Letter::Event(waiting) => event.says_more_than(waiting),
                _ => false,
            });
        }
        state.weight += event.weight();
        state.letters.push_back(Letter::Event(event.clone()));
        if state.is_full() {
            state.join_tokens();
        }
        if state.is_full() {
            state.forget_all(Letter::is_of_the_moment);
        }
        if state.is_full() {
            state.letters.retain(|letter| !matches!(letter, Letter::Event(_)));
            state.letters.push_back(Letter::Overflow);
            state.weight = 0;
            state.overflowed = true;
            metrics::counter!("colloquy_mailbox_overflows_total").increment(1);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Puts in what somebody is now, in place of what waits of the same one.
    pub fn tell_status(&self, change: StatusChange) {
        let mut state = self.state();
        if state.overflowed || state.is_signed_out {
            return;
        }
        state.forget(|letter| matches!(letter, Letter::Status(waiting) if waiting.user_id == change.user_id));
        state.letters.push_back(Letter::Status(change));
        if state.is_full() {
            state.forget_all(Letter::is_of_the_moment);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Puts in a letter that is never dropped.
    pub fn tell(&self, letter: Letter) {
        let mut state = self.state();
        if matches!(letter, Letter::SignedOut) {
            // What waits is not for this viewer any more.
            *state = State { is_signed_out: true, ..State::default() };
        }
        state.letters.push_back(letter);
        drop(state);
        self.arrived.notify_one();
    }

    /// Whether the viewer's credential is no longer good.
    pub fn is_signed_out(&self) -> bool {
        self.state().is_signed_out
    }

    /// Puts in the word that events of a topic were missed, unless it waits already.
    pub fn miss(&self, topic: &Arc<Topic>) {
        let mut state = self.state();
        let waits = state.letters.iter().any(|letter| matches!(letter, Letter::Missed(other) if other == topic));
        if !waits {
            state.letters.push_back(Letter::Missed(topic.clone()));
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Takes the next letter, waiting for it. Cancelling the wait loses nothing.
    pub async fn take(&self) -> Letter {
        loop {
            if let Some(letter) = self.try_take() {
                return letter;
            }
            self.arrived.notified().await;
        }
    }

    fn try_take(&self) -> Option<Letter> {
        let mut state = self.state();
        let letter = state.letters.pop_front()?;
        match &letter {
            Letter::Event(event) => state.weight = state.weight.saturating_sub(event.weight()),
            Letter::Overflow => state.overflowed = false,
            Letter::Status(_) | Letter::Barred(_) | Letter::SignedOut | Letter::Missed(_) => {}
        }
        // An idle mailbox holds no memory.
        if state.letters.is_empty() {
            state.letters = VecDeque::new();
        }
        Some(letter)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves the queue as it was before or after a whole move.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letter {
    /// Whether it may be dropped for what lasts.
    fn is_of_the_moment(&self) -> bool {
        match self {
            Self::Event(event) => !event.is_kept(),
            Self::Status(_) => true,
            Self::Barred(_) | Self::SignedOut | Self::Missed(_) | Self::Overflow => false,
        }
    }
}

impl State {
    /// Drops the one letter that a newer one replaces.
    fn forget(&mut self, is_replaced: impl Fn(&Letter) -> bool) {
        if let Some(at) = self.letters.iter().rposition(is_replaced)
            && let Some(Letter::Event(event)) = self.letters.remove(at)
        {
            self.weight = self.weight.saturating_sub(event.weight());
        }
    }

    /// Drops all letters of a kind.
    fn forget_all(&mut self, is_meant: impl Fn(&Letter) -> bool) {
        self.letters.retain(|letter| !is_meant(letter));
        self.weigh();
    }

    fn is_full(&self) -> bool {
        self.letters.len() > MAX_EVENTS || self.weight > MAX_BYTES
    }

    /// Joins the pieces of each answer that follow each other with nothing else of that answer in between; the whole stands
    /// at the place of the last.
    fn join_tokens(&mut self) {
        let mut joined: Vec<Waiting> = Vec::with_capacity(self.letters.len());
        let mut last_piece: HashMap<MessageId, usize> = HashMap::new();
        for letter in self.letters.drain(..) {
            let piece = match &letter {
                Letter::Event(event) => event.draft.message_id.map(|message| (message, event)),
                _ => None,
            };
            let Some((message, event)) = piece else {
                joined.push(Waiting::Whole(letter));
                continue;
            };
            if !matches!(event.draft.happening, Happening::Token { .. }) {
                last_piece.remove(&message);
                joined.push(Waiting::Whole(letter));
                continue;
            }
            let earlier = last_piece.insert(message, joined.len()).map(|at| std::mem::take(&mut joined[at]));
            let mut pieces = if let Some(Waiting::Pieces(pieces)) = earlier { pieces } else { Vec::new() };
            pieces.push(event.clone());
            joined.push(Waiting::Pieces(pieces));
        }
        self.letters = joined.into_iter().filter_map(Waiting::letter).collect();
        self.weigh();
    }

    fn weigh(&mut self) {
        self.weight =
            self.letters.iter().map(|letter| if let Letter::Event(event) = letter { event.weight() } else { 0 }).sum();
    }
}

/// A letter while pieces are joined.
#[derive(Default)]
enum Waiting {
    /// It went into a later one.
    #[default]
    Gone,
    Whole(Letter),
    /// Pieces of one answer that follow each other.
    Pieces(Vec<Arc<Event>>),
}

impl Waiting {
    fn letter(self) -> Option<Letter> {
        match self {
            Self::Gone => None,
            Self::Whole(letter) => Some(letter),
            Self::Pieces(pieces) => join(&pieces).map(Letter::Event),
        }
    }
}

/// One piece made of those that follow each other, written once; it stands at the place of the last.
fn join(pieces: &[Arc<Event>]) -> Option<Arc<Event>> {
    let (first, last) = (pieces.first()?, pieces.last()?);
    if pieces.len() == 1 {
        return Some(first.clone());
    }
    let texts = pieces.iter().map(|piece| match &piece.draft.happening {
        Happening::Token { content, index } => (content.as_str(), *index),
        _ => ("", 0),
    });
    let index = texts.clone().next().map_or(0, |(_, index)| index);
    let happening = Happening::Token { content: texts.map(|(content, _)| content).collect(), index };
    let draft = Draft { happening, ..last.draft.clone() };
    Some(Event::new(last.topic.clone(), last.offset, last.at, draft))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{clock::Clock, ids::UserId, presence::Status, topic::Topic};

    fn token(message: MessageId, offset: u64, index: u64, content: &str) -> Arc<Event> {
        let conversation_id = ConversationId::generate();
        let happening = Happening::Token { content: content.into(), index };
        let draft = Draft { conversation_id, message_id: Some(message), happening };
        Event::new(Topic::System, offset, Clock::default().now(), draft)
    }

    #[tokio::test]
    async fn a_slow_reader_gets_joined_pieces_and_loses_no_byte() {
        let mailbox = Mailbox::default();
        let answers = [MessageId::generate(), MessageId::generate()];
        let mut sent = [String::new(), String::new()];
        for n in 0..5000_u64 {
            let which = (n % 2) as usize;
            let content = format!("{n} ");
            mailbox.push(&token(answers[which], n + 1, sent[which].len() as u64, &content));
            sent[which] += &content;
        }
        let mut got = [String::new(), String::new()];
        let mut letters = 0;
        while let Some(Letter::Event(event)) = mailbox.try_take() {
            let which = usize::from(event.draft.message_id == Some(answers[1]));
            let Happening::Token { content, index } = &event.draft.happening else { panic!("not a token") };
            assert_eq!(*index, got[which].len() as u64);
            got[which] += content;
            letters += 1;
        }
        assert_eq!(got, sent);
        assert!(letters <= MAX_EVENTS + 1, "{letters}");
    }

    fn typing(conversation_id: ConversationId, user_id: UserId, is_typing: bool) -> Arc<Event> {
        let happening = Happening::Typing { user_id, username: "alice".into(), is_typing };
        let draft = Draft { conversation_id, message_id: None, happening };
        Event::new(Topic::Conversation(conversation_id), 0, Clock::default().now(), draft)
    }

    #[tokio::test]
    async fn of_presence_the_latest_waits_and_what_lasts_goes_before_it() {
        let mailbox = Mailbox::default();
        let (conversation, alice) = (ConversationId::generate(), UserId::generate());
        for number in 0..5000 {
            mailbox.push(&typing(conversation, alice, number % 2 == 0));
            let status = if number % 2 == 0 { Status::Online } else { Status::Away };
            mailbox.tell_status(StatusChange { user_id: alice, status, last_seen: None });
        }
        assert_eq!(mailbox.state().letters.len(), 2);
        for _ in 0..2 * MAX_EVENTS {
            let user_id = UserId::generate();
            mailbox.tell_status(StatusChange { user_id, status: Status::Online, last_seen: None });
            mailbox.push(&typing(conversation, user_id, true));
        }
        assert!(mailbox.state().letters.len() <= MAX_EVENTS);
        for number in 0..MAX_EVENTS as u64 {
            mailbox.push(&token(MessageId::generate(), number + 1, 0, "x"));
        }
        for number in 0..MAX_EVENTS as u64 {
            let Letter::Event(event) = mailbox.take().await else { panic!("presence was before what lasts") };
            assert_eq!(event.offset, number + 1);
        }
        assert!(mailbox.try_take().is_none());
    }

    #[tokio::test]
    async fn a_reader_beyond_the_bound_is_told_once_and_then_starts_anew() {
        let mailbox = Mailbox::default();
        for n in 0..3000_u64 {
            let message = MessageId::generate();
            mailbox.push(&token(message, n + 1, 0, "x"));
        }
        assert!(matches!(mailbox.take().await, Letter::Overflow));
        let message = MessageId::generate();
        mailbox.push(&token(message, 1, 0, "y"));
        assert!(matches!(mailbox.take().await, Letter::Event(event) if event.draft.message_id == Some(message)));
    }
}
