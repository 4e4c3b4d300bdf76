//! Deliveries: what has reached whom, and what waits for those who are away.

use std::{
    collections::HashSet,
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
/// How often old notes are dropped, in flushes.
const SWEEP_EVERY: u32 = 60;
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

/// What waits for a member.
#[derive(Clone, Debug)]
pub struct Pending {
    /// In ascending `seq`.
    pub messages: Vec<Message>,
    /// Whether more wait than there was room for.
    pub has_more: bool,
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

    /// What waits for a member, as far as there is room, which becomes less by it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pending(&self, membership: &Membership, room: &mut Room) -> Result<Pending> {
        let key = (membership.conversation_id, membership.user_id);
        let mut found: Vec<Message> = Vec::new();
        let mut after = 0;
        loop {
            // Before the store is asked: what is stored meanwhile is noted no longer.
            let noted = self.notes().of(key);
            let page = self.0.store.undelivered(membership, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            for message in page {
                after = message.seq;
                // What this node has handed over may not be in the store yet.
                if noted.has(message.seq) {
                    continue;
                }
                let weight = message.weight();
                // However large it is, the first one must not be in its own way for ever.
                if room.messages == 0 || (weight > room.bytes && !found.is_empty()) {
                    return Ok(Pending { messages: found, has_more: true });
                }
                *room = Room { messages: room.messages - 1, bytes: room.bytes.saturating_sub(weight) };
                found.push(message);
            }
            if is_last {
                return Ok(Pending { messages: found, has_more: false });
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
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 1_u32.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.hurried.notified() => {}
                () = lifecycle.stopped().cancelled() => break,
            }
            // Not cut short: a batch that is taken is settled or restored.
            self.flush().await;
            if number % SWEEP_EVERY == 0 {
                self.notes().sweep();
            }
        }
        self.flush().await;
    }

    async fn flush(&self) {
        loop {
            let (batch, notes) = {
                let mut notes = self.notes();
                (notes.take(), notes.len())
            };
            metrics::gauge!("colloquy_delivery_notes").set(notes as f64);
            let Some(batch) = batch else { return };
            match self.0.store.deliver(&batch.receipts).await {
                Ok(moved) => {
                    metrics::counter!("colloquy_delivery_markers_total").increment(moved.len() as u64);
                    let news = self.notes().settle(&batch, moved);
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
            let draft = Draft { conversation_id, message_id: None, happening: Happening::Delivered { user_id, seq } };
            self.0.bus.whisper(Topic::Conversation(conversation_id), draft)
        });
        told.buffer_unordered(TOLD_AT_ONCE).collect::<()>().await;
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // A panic elsewhere leaves the notes whole: they are held for single moves.
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
