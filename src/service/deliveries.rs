//! Deliveries: what has reached whom, and what waits for those who are away.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};

use super::delivery_notes::Notes;
use crate::{
    error::Result,
    lifecycle::Lifecycle,
    live::bus::Bus,
    model::{
        conversation::Membership,
        event::{Draft, Happening},
        history::Window,
        ids::{ConversationId, UserId},
        message::Message,
        topic::Topic,
    },
    store::{Delivered, Store},
};

/// How often notes go to the store, and the others are told.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How often old notes are dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Messages read from the store at once.
const PAGE: usize = 100;
/// Markers told at once.
const TOLD_AT_ONCE: usize = 64;

/// Knows what has reached whom. Cheap to clone.
///
/// It is noted in memory and stored in batches: what a crash takes with it comes once more.
#[derive(Clone, Debug)]
pub struct Deliveries(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    bus: Bus,
    max_members: u32,
    notes: Mutex<Notes>,
    hurried: Notify,
}

/// How much may be handed over at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Messages.
    pub messages: usize,
    /// Roughly what they cost in memory, in bytes.
    pub bytes: usize,
}

/// A conversation that may hold something for a member.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The member.
    pub membership: Membership,
    /// Messages that come to the member by themselves.
    told: BTreeSet<i64>,
    /// Up to where it was looked through.
    after: i64,
    /// Up to where it is to be.
    up_to: i64,
}

/// What waits for a member.
#[derive(Clone, Debug)]
pub struct Pending {
    /// In ascending `seq`.
    pub messages: Vec<Message>,
    /// Whether more wait than there was room for.
    pub has_more: bool,
}

impl Waiting {
    /// All that waits, but for messages that come by themselves.
    pub fn new(membership: Membership, told: BTreeSet<i64>) -> Self {
        Self { membership, told, after: 0, up_to: i64::MAX }
    }

    /// The conversation's topic.
    pub fn topic(&self) -> Topic {
        Topic::Conversation(self.membership.conversation_id)
    }
}

impl Deliveries {
    /// Nothing has been delivered yet. In conversations of more than `max_members` nobody is told what others have.
    pub fn new(store: Store, bus: Bus, max_members: u32) -> Self {
        Self(Arc::new(Inner { store, bus, max_members, notes: Mutex::default(), hurried: Notify::new() }))
    }

    /// A member has the message, or the end of the answer, of this `seq`.
    pub fn note(&self, conversation: ConversationId, user: UserId, seq: i64) {
        self.notes().note((conversation, user), seq, true);
    }

    /// A member has a message of their own: it is no news for the others.
    pub fn note_own(&self, conversation: ConversationId, user: UserId, seq: i64) {
        self.notes().note((conversation, user), seq, false);
    }

    /// A member has a message; an answer in the making does not count.
    pub fn note_message(&self, user: UserId, message: &Message) {
        if message.status.is_running() {
            return;
        }
        let is_own = message.author_id == Some(user);
        self.notes().note((message.conversation_id, user), message.seq, !is_own);
    }

    /// A member has read a page of the history. Whoever reads the latest, or from a place on, has taken over what is before:
    /// the rest is asked for, not brought.
    pub(super) fn note_page(&self, membership: &Membership, window: Window, messages: &[Message]) {
        let Some(last) = messages.last().filter(|_| !matches!(window, Window::Before(_))) else { return };
        let running = messages.iter().find(|message| message.status.is_running());
        let up_to = running.map_or(last.seq, |running| running.seq - 1);
        self.notes().note_up_to((membership.conversation_id, membership.user_id), up_to);
        messages.iter().filter(|message| message.seq > up_to).for_each(|message| {
            self.note_message(membership.user_id, message);
        });
    }

    /// What waits for a member next, as far as there is room, which becomes less by it. What is stored after the first call does
    /// not count.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pending(&self, waiting: &mut Waiting, room: &mut Room) -> Result<Pending> {
        let membership = waiting.membership;
        let key = (membership.conversation_id, membership.user_id);
        let mut messages: Vec<Message> = Vec::new();
        loop {
            // Before the store is asked: what is stored meanwhile is noted no longer.
            let noted = self.notes().of(key);
            let page = self.0.store.undelivered(&membership, (waiting.after, waiting.up_to), PAGE).await?;
            let is_last = page.len() < PAGE;
            for message in page {
                // What this node has handed over may not be in the store yet.
                if !noted.has(message.seq) && !waiting.told.contains(&message.seq) {
                    let weight = message.weight();
                    // However large it is, the first one must not be in its own way for ever.
                    if room.messages == 0 || (weight > room.bytes && !messages.is_empty()) {
                        if waiting.up_to == i64::MAX {
                            waiting.up_to = self.0.store.last_seq(&membership).await?;
                        }
                        return Ok(Pending { messages, has_more: true });
                    }
                    *room = Room { messages: room.messages - 1, bytes: room.bytes.saturating_sub(weight) };
                    waiting.after = message.seq;
                    messages.push(message);
                } else {
                    waiting.after = message.seq;
                }
            }
            if is_last {
                return Ok(Pending { messages, has_more: false });
            }
        }
    }

    /// Has the notes stored soon: somebody leaves, and may come back elsewhere.
    pub fn hurry(&self) {
        self.0.hurried.notify_one();
    }

    /// Stores notes and tells the others, until the hard stop; what is noted then is stored as well.
    pub async fn keep(self, lifecycle: Lifecycle) {
        let mut ticks = interval(FLUSH_INTERVAL);
        let mut sweeps = interval(SWEEP_INTERVAL);
        for timer in [&mut ticks, &mut sweeps] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.hurried.notified() => {}
                _ = sweeps.tick() => {
                    self.notes().sweep();
                    continue;
                }
                () = lifecycle.stopped().cancelled() => break,
            }
            // Not cut short: a batch that is taken is settled or restored.
            self.flush().await;
        }
        self.flush().await;
    }

    /// Stores the notes that are there now; what is noted meanwhile has its turn next.
    async fn flush(&self) {
        let mut due = self.notes().queued();
        loop {
            let (batch, notes) = {
                let mut notes = self.notes();
                (notes.take(&mut due), notes.len())
            };
            metrics::gauge!("colloquy_delivery_notes").set(notes as f64);
            let Some(batch) = batch else { return };
            match self.0.store.deliver(&batch.receipts).await {
                Ok(markers) => {
                    metrics::counter!("colloquy_delivery_markers_total").increment(markers.moved.len() as u64);
                    let news = self.notes().settle(&batch, markers);
                    self.tell(news).await;
                }
                Err(error) => {
                    self.notes().restore(batch);
                    tracing::warn!(error = format!("{error:?}"), "cannot store what was delivered, trying again");
                    return;
                }
            }
        }
    }

    /// Tells the members of conversations that are small enough.
    async fn tell(&self, news: Vec<Delivered>) {
        let conversations: HashSet<ConversationId> = news.iter().map(|marker| marker.conversation_id).collect();
        if conversations.is_empty() {
            return;
        }
        let conversations: Vec<ConversationId> = conversations.into_iter().collect();
        let counts = match self.0.store.member_counts(&conversations).await {
            Ok(counts) => counts,
            Err(error) => {
                tracing::warn!(error = format!("{error:?}"), "cannot tell what was delivered");
                return;
            }
        };
        let is_small = |marker: &Delivered| {
            counts.get(&marker.conversation_id).is_some_and(|count| *count <= i64::from(self.0.max_members))
        };
        let told = stream::iter(news.into_iter().filter(is_small)).map(|marker| {
            let Delivered { conversation_id, user_id, seq } = marker;
            let draft = Draft::within(conversation_id, None, Happening::Delivered { user_id, seq });
            self.0.bus.whisper(Topic::Conversation(conversation_id), draft)
        });
        told.buffer_unordered(TOLD_AT_ONCE).collect::<()>().await;
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // A panic elsewhere leaves the notes whole: they are held for single moves.
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
