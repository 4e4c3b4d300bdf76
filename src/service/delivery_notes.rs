//! Notes of what has reached whom through this node, until the markers in the store stand behind it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    model::ids::{ConversationId, UserId},
    store::{Delivered, Markers, Receipt},
};

/// Members of conversations of whom something is noted at most; of others nothing is, and it comes to them once more.
const MAX_NOTES: usize = 100_000;
/// Messages noted of one member in one conversation at most.
const MAX_SEQS: usize = 1000;
/// Receipts from which on a batch takes no further member.
const BATCH: usize = 1000;
/// How long a note is kept that no marker can pass yet: a message before it has not reached the member.
const KEEP: Duration = Duration::from_secs(600);

/// A member of a conversation.
pub(super) type Key = (ConversationId, UserId);

/// The notes of a node.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: HashMap<Key, Note>,
    /// Whose note is not in the store yet, each once.
    queue: VecDeque<Key>,
}

/// What has reached a member.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// Messages that have, one by one.
    seqs: BTreeSet<i64>,
    /// Up to where the member has taken the history over; 0 when not at all.
    up_to: i64,
}

/// What is kept of a member.
#[derive(Debug)]
struct Note {
    noted: Noted,
    is_queued: bool,
    /// Whether the others shall be told.
    is_news: bool,
    at: Instant,
}

/// Notes on their way to the store.
#[derive(Debug)]
pub(super) struct Batch {
    /// What they say.
    pub(super) receipts: Vec<Receipt>,
    /// Whose they are, how far the history was taken over, and whether the others shall be told.
    members: HashMap<Key, (i64, bool)>,
}

impl Notes {
    /// A message has reached a member; `is_news` when the others shall be told.
    pub(super) fn note(&mut self, key: Key, seq: i64, is_news: bool) {
        self.change(key, is_news, |note| {
            if note.noted.seqs.len() < MAX_SEQS {
                note.noted.seqs.insert(seq);
            }
        });
    }

    /// A member has taken the history over up to here.
    pub(super) fn note_up_to(&mut self, key: Key, seq: i64) {
        self.change(key, true, |note| note.noted.up_to = note.noted.up_to.max(seq));
    }

    fn change(&mut self, key: Key, is_news: bool, change: impl FnOnce(&mut Note)) {
        if self.notes.len() >= MAX_NOTES && !self.notes.contains_key(&key) {
            return;
        }
        let note = self.notes.entry(key).or_insert_with(Note::empty);
        change(note);
        note.at = Instant::now();
        note.is_news |= is_news;
        if !std::mem::replace(&mut note.is_queued, true) {
            self.queue.push_back(key);
        }
    }

    /// What is noted of a member now.
    pub(super) fn of(&self, key: Key) -> Noted {
        self.notes.get(&key).map(|note| note.noted.clone()).unwrap_or_default()
    }

    /// How many members there are notes of.
    pub(super) fn len(&self) -> usize {
        self.notes.len()
    }

    /// Of how many members notes wait for the store.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The next notes for the store, of so many members at most, who become fewer by it; they stay here until they are
    /// settled.
    pub(super) fn take(&mut self, due: &mut usize) -> Option<Batch> {
        let (mut receipts, mut members) = (Vec::new(), HashMap::new());
        while receipts.len() < BATCH
            && *due > 0
            && let Some(key) = self.queue.pop_front()
        {
            *due -= 1;
            let Some(note) = self.notes.get_mut(&key) else { continue };
            note.is_queued = false;
            // The batch before may have settled what came while it was on its way.
            if note.says_nothing() {
                self.notes.remove(&key);
                continue;
            }
            members.insert(key, (note.noted.up_to, std::mem::take(&mut note.is_news)));
            let (conversation_id, user_id) = key;
            let receipt = |(first, last)| Receipt { conversation_id, user_id, first, last };
            receipts.extend(note.noted.ranges().into_iter().map(receipt));
        }
        (!members.is_empty()).then_some(Batch { receipts, members })
    }

    /// The store has a batch, and its markers stand so; returns those moved by it that the others shall be told of.
    pub(super) fn settle(&mut self, batch: &Batch, markers: Markers) -> Vec<Delivered> {
        let passed: HashMap<Key, i64> = markers.all.iter().map(|marker| (marker.key(), marker.seq)).collect();
        for (key, (up_to, _)) in &batch.members {
            let Some(note) = self.notes.get_mut(key) else { continue };
            if note.noted.up_to == *up_to {
                note.noted.up_to = 0;
            }
            // Whoever has no marker is no member any more.
            note.noted.seqs = match passed.get(key) {
                Some(marker) => note.noted.seqs.split_off(&(marker + 1)),
                None => BTreeSet::new(),
            };
            if note.says_nothing() {
                self.notes.remove(key);
            }
        }
        let is_news = |marker: &Delivered| batch.members.get(&marker.key()).is_some_and(|(_, is_news)| *is_news);
        markers.moved.into_iter().filter(is_news).collect()
    }

    /// The store did not take a batch: it is to be tried again.
    pub(super) fn restore(&mut self, batch: Batch) {
        for (key, (_, is_news)) in batch.members {
            let Some(note) = self.notes.get_mut(&key) else { continue };
            note.is_news |= is_news;
            if !std::mem::replace(&mut note.is_queued, true) {
                self.queue.push_back(key);
            }
        }
    }

    /// Drops what has waited too long for a message before it.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        self.notes.retain(|_, note| note.is_queued || now.duration_since(note.at) < KEEP);
    }
}

impl Note {
    fn empty() -> Self {
        Self { noted: Noted::default(), is_queued: false, is_news: false, at: Instant::now() }
    }

    /// Whether there is nothing to store, now or next.
    fn says_nothing(&self) -> bool {
        self.noted.seqs.is_empty() && self.noted.up_to == 0 && !self.is_queued
    }
}

impl Noted {
    /// Whether a message has reached the member.
    pub(super) fn has(&self, seq: i64) -> bool {
        seq <= self.up_to || self.seqs.contains(&seq)
    }

    /// What it says, in ranges of messages that follow each other.
    fn ranges(&self) -> Vec<(i64, i64)> {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        if self.up_to > 0 {
            ranges.push((1, self.up_to));
        }
        for seq in &self.seqs {
            match ranges.last_mut() {
                Some((_, last)) if *seq <= *last + 1 => *last = (*last).max(*seq),
                _ => ranges.push((*seq, *seq)),
            }
        }
        ranges
    }
}

impl Delivered {
    fn key(&self) -> Key {
        (self.conversation_id, self.user_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (ConversationId::generate(), UserId::generate())
    }

    fn marker((conversation_id, user_id): Key, seq: i64) -> Vec<Delivered> {
        vec![Delivered { conversation_id, user_id, seq }]
    }

    /// The marker stands there, where the batch has moved it.
    fn moved(key: Key, seq: i64) -> Markers {
        Markers { moved: marker(key, seq), all: marker(key, seq) }
    }

    /// The marker stands there, as before.
    fn stays(key: Key, seq: i64) -> Markers {
        Markers { moved: Vec::new(), all: marker(key, seq) }
    }

    fn take(notes: &mut Notes) -> Option<Batch> {
        notes.take(&mut notes.queued())
    }

    fn ranges(batch: &Batch) -> Vec<(i64, i64)> {
        batch.receipts.iter().map(|receipt| (receipt.first, receipt.last)).collect()
    }

    #[tokio::test]
    async fn what_no_marker_can_pass_yet_is_said_again_with_what_comes_next() {
        let (mut notes, key) = (Notes::default(), key());
        for seq in [3, 4, 6] {
            notes.note(key, seq, true);
        }
        let batch = take(&mut notes).unwrap();
        assert_eq!(ranges(&batch), [(3, 4), (6, 6)]);
        assert!(notes.settle(&batch, stays(key, 1)).is_empty());
        assert!(take(&mut notes).is_none(), "nothing new");
        assert!(notes.of(key).has(4) && !notes.of(key).has(2));
        notes.note(key, 2, true);
        let batch = take(&mut notes).unwrap();
        assert_eq!(ranges(&batch), [(2, 4), (6, 6)]);
        assert_eq!(notes.settle(&batch, moved(key, 4)), marker(key, 4));
        assert!(!notes.of(key).has(4) && notes.of(key).has(6));
        notes.note_up_to(key, 5);
        let batch = take(&mut notes).unwrap();
        assert_eq!(ranges(&batch), [(1, 6)]);
        notes.settle(&batch, moved(key, 6));
        assert_eq!(notes.len(), 0);
    }

    #[tokio::test]
    async fn what_the_store_did_not_take_is_tried_again_and_what_came_meanwhile_is_not_lost() {
        let (mut notes, key) = (Notes::default(), key());
        notes.note(key, 1, true);
        let batch = take(&mut notes).unwrap();
        notes.note(key, 2, false);
        notes.restore(batch);
        let batch = take(&mut notes).unwrap();
        assert_eq!(ranges(&batch), [(1, 2)]);
        notes.note(key, 3, false);
        assert_eq!(notes.settle(&batch, moved(key, 2)), marker(key, 2));
        let batch = take(&mut notes).unwrap();
        assert_eq!(ranges(&batch), [(3, 3)]);
        assert!(notes.settle(&batch, moved(key, 3)).is_empty(), "the member's own");
        assert!(take(&mut notes).is_none());
    }

    #[tokio::test]
    async fn what_the_batch_before_has_settled_makes_no_batch() {
        let (mut notes, key) = (Notes::default(), key());
        notes.note(key, 1, true);
        let batch = take(&mut notes).unwrap();
        notes.note(key, 1, true);
        notes.settle(&batch, moved(key, 1));
        assert!(take(&mut notes).is_none(), "a statement of no rows");
        assert_eq!(notes.len(), 0);
    }

    #[tokio::test]
    async fn a_marker_that_somebody_else_moved_settles_notes_and_is_no_news() {
        let (mut notes, key) = (Notes::default(), key());
        (1..=3).for_each(|seq| notes.note(key, 2 * seq, true));
        let batch = take(&mut notes).unwrap();
        assert!(notes.settle(&batch, stays(key, 4)).is_empty());
        assert!(!notes.of(key).has(4) && notes.of(key).has(6));
        notes.note(key, 7, true);
        let batch = take(&mut notes).unwrap();
        assert_eq!(ranges(&batch), [(6, 7)]);
        let no_member = Markers { moved: Vec::new(), all: Vec::new() };
        assert!(notes.settle(&batch, no_member).is_empty());
        assert_eq!(notes.len(), 0);
    }

    #[tokio::test]
    async fn what_is_noted_while_others_are_stored_has_its_turn_next() {
        let mut notes = Notes::default();
        notes.note(key(), 1, true);
        let mut due = notes.queued();
        assert_eq!(notes.take(&mut due).unwrap().receipts.len(), 1);
        notes.note(key(), 1, true);
        assert!(notes.take(&mut due).is_none());
        assert!(take(&mut notes).is_some());
    }

    #[tokio::test]
    async fn notes_are_bounded() {
        let (mut notes, one) = (Notes::default(), key());
        (1..=5000).for_each(|seq| notes.note(one, 2 * seq, true));
        assert_eq!(take(&mut notes).unwrap().receipts.len(), MAX_SEQS);
        (0..MAX_NOTES).for_each(|_| notes.note(key(), 1, true));
        assert_eq!(notes.len(), MAX_NOTES);
        tokio::time::pause();
        while let Some(batch) = take(&mut notes) {
            assert!(batch.receipts.len() <= 2 * BATCH);
        }
        tokio::time::advance(KEEP).await;
        notes.sweep();
        assert_eq!(notes.len(), 0);
    }
}
