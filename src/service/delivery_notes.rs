//! Notes of what has reached whom through this node, until the markers in the store stand behind it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    model::ids::{ConversationId, UserId},
    store::{Delivered, Receipt},
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

    /// The next notes for the store; they stay here until they are settled.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let (mut receipts, mut members) = (Vec::new(), HashMap::new());
        while receipts.len() < BATCH
            && let Some(key) = self.queue.pop_front()
        {
            let Some(note) = self.notes.get_mut(&key) else { continue };
            note.is_queued = false;
            members.insert(key, (note.noted.up_to, std::mem::take(&mut note.is_news)));
            let (conversation_id, user_id) = key;
            let receipt = |(first, last)| Receipt { conversation_id, user_id, first, last };
            receipts.extend(note.noted.ranges().into_iter().map(receipt));
        }
        (!members.is_empty()).then_some(Batch { receipts, members })
    }

    /// The store has a batch, and these markers moved; returns those of them that the others shall be told of.
    pub(super) fn settle(&mut self, batch: &Batch, moved: Vec<Delivered>) -> Vec<Delivered> {
        for (key, (up_to, _)) in &batch.members {
            if let Some(note) = self.notes.get_mut(key)
                && note.noted.up_to == *up_to
            {
                note.noted.up_to = 0;
            }
        }
        for marker in &moved {
            if let Some(note) = self.notes.get_mut(&marker.key()) {
                note.noted.seqs = note.noted.seqs.split_off(&(marker.seq + 1));
            }
        }
        for key in batch.members.keys() {
            if self.notes.get(key).is_some_and(Note::says_nothing) {
                self.notes.remove(key);
            }
        }
        let is_news = |marker: &Delivered| batch.members.get(&marker.key()).is_some_and(|(_, is_news)| *is_news);
        moved.into_iter().filter(is_news).collect()
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

    fn moved((conversation_id, user_id): Key, seq: i64) -> Vec<Delivered> {
        vec![Delivered { conversation_id, user_id, seq }]
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
        let batch = notes.take().unwrap();
        assert_eq!(ranges(&batch), [(3, 4), (6, 6)]);
        assert!(notes.settle(&batch, Vec::new()).is_empty());
        assert!(notes.take().is_none(), "nothing new");
        assert!(notes.of(key).has(4) && !notes.of(key).has(2));
        notes.note(key, 2, true);
        let batch = notes.take().unwrap();
        assert_eq!(ranges(&batch), [(2, 4), (6, 6)]);
        assert_eq!(notes.settle(&batch, moved(key, 4)), moved(key, 4));
        assert!(!notes.of(key).has(4) && notes.of(key).has(6));
        notes.note_up_to(key, 5);
        let batch = notes.take().unwrap();
        assert_eq!(ranges(&batch), [(1, 6)]);
        notes.settle(&batch, moved(key, 6));
        assert_eq!(notes.len(), 0);
    }

    #[tokio::test]
    async fn what_the_store_did_not_take_is_tried_again_and_what_came_meanwhile_is_not_lost() {
        let (mut notes, key) = (Notes::default(), key());
        notes.note(key, 1, true);
        let batch = notes.take().unwrap();
        notes.note(key, 2, false);
        notes.restore(batch);
        let batch = notes.take().unwrap();
        assert_eq!(ranges(&batch), [(1, 2)]);
        notes.note(key, 3, false);
        assert_eq!(notes.settle(&batch, moved(key, 2)), moved(key, 2));
        let batch = notes.take().unwrap();
        assert_eq!(ranges(&batch), [(3, 3)]);
        assert!(notes.settle(&batch, moved(key, 3)).is_empty(), "the member's own");
        assert!(notes.take().is_none());
    }

    #[tokio::test]
    async fn notes_are_bounded() {
        let (mut notes, one) = (Notes::default(), key());
        (1..=5000).for_each(|seq| notes.note(one, 2 * seq, true));
        assert_eq!(notes.take().unwrap().receipts.len(), MAX_SEQS);
        (0..MAX_NOTES).for_each(|_| notes.note(key(), 1, true));
        assert_eq!(notes.len(), MAX_NOTES);
        tokio::time::pause();
        while let Some(batch) = notes.take() {
            assert!(batch.receipts.len() <= 2 * BATCH);
        }
        tokio::time::advance(KEEP).await;
        notes.sweep();
        assert_eq!(notes.len(), 0);
    }
}
