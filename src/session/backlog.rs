//! The backlog: what waited for a viewer who was away, handed over page by page when it joins, and not once more when it comes
//! live.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    command::{Answer, Outgoing},
    connection::Connection,
};
use crate::{
    model::{
        event::{Draft, Event, Happening},
        ids::ConversationId,
        topic::Topic,
    },
    service::deliveries::{Room, Waiting},
};

/// What is handed over at once, however many conversations a frame of the viewer's names.
const ROOM: Room = Room { messages: 1000, bytes: 1 << 20 };
/// How long after it was stored a message may still be published.
const ON_ITS_WAY: Duration = Duration::from_secs(60);

/// What a viewer was handed from the store.
#[derive(Debug)]
pub(super) struct Backlog {
    room: Room,
    handed: HashMap<ConversationId, Handed>,
}

/// Messages of one conversation that may still be published.
#[derive(Debug)]
struct Handed {
    seqs: HashSet<i64>,
    until: Instant,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { room: ROOM, handed: HashMap::new() }
    }
}

impl Backlog {
    /// Whether a published event tells of a message that the viewer was handed: it was stored before the viewer came, and
    /// published after.
    pub(super) fn has(&self, event: &Event) -> bool {
        let Some(message) = event.draft.happening.message() else { return false };
        self.handed.get(&message.conversation_id).is_some_and(|handed| handed.seqs.contains(&message.seq))
    }

    /// The viewer has left a conversation.
    pub(super) fn forget(&mut self, conversation: ConversationId) {
        self.handed.remove(&conversation);
    }

    fn hand(&mut self, conversation: ConversationId, seqs: impl Iterator<Item = i64>) {
        let mut seqs = seqs.peekable();
        if seqs.peek().is_none() {
            return;
        }
        let until = Instant::now() + ON_ITS_WAY;
        let handed = self.handed.entry(conversation).or_insert(Handed { seqs: HashSet::new(), until });
        handed.until = until;
        handed.seqs.extend(seqs);
    }
}

impl Connection {
    /// There is room again. What was handed over and published since is forgotten, but for topics whose logs the viewer has
    /// yet to catch up with.
    pub(super) fn make_room(&mut self) {
        self.backlog.room = ROOM;
        let (now, seat) = (Instant::now(), &self.seat);
        let is_behind = |id: &ConversationId| seat.behind().any(|topic| *topic == Topic::Conversation(*id));
        self.backlog.handed.retain(|id, handed| handed.until > now || is_behind(id));
    }

    /// Hands over the messages that wait for the viewer in a conversation, as far as there is room; the answers under way come
    /// after the last of them, up to where `missed` goes on. Until then nothing of its log is shown.
    pub(super) async fn hand_over(&mut self, mut waiting: Waiting, missed: &[Arc<Event>]) -> Vec<Outgoing> {
        let membership = waiting.membership;
        let (deliveries, mut room) = (self.sessions.deliveries.clone(), self.backlog.room);
        let read = async move {
            let pending = deliveries.pending(&mut waiting, &mut room).await?;
            Ok((pending, waiting, room))
        };
        let mut outgoing = Vec::new();
        match self.sessions.run(read).await {
            Ok((pending, waiting, room)) => {
                self.backlog.room = room;
                metrics::counter!("colloquy_backlog_messages_total").increment(pending.messages.len() as u64);
                let now = self.sessions.clock.now();
                let recent = pending.messages.iter().filter(|message| now.since(message.updated_at) < ON_ITS_WAY);
                self.backlog.hand(membership.conversation_id, recent.map(|message| message.seq));
                outgoing.extend(pending.messages.into_iter().map(|message| {
                    let (conversation_id, message_id) = (message.conversation_id, Some(message.id));
                    Outgoing::Draft(Draft::within(conversation_id, message_id, Happening::Message(Box::new(message))))
                }));
                if pending.has_more {
                    self.recovery.wait(waiting);
                    return outgoing;
                }
            }
            // What waits waits on, for the next time.
            Err(error) => outgoing.push(Outgoing::Answer(None, Answer::Refused(error))),
        }
        outgoing.extend(self.answers_under_way(membership, missed).await);
        outgoing
    }

    /// The connection ends, and may be taking nothing: what is to be handed over waits on, and so does in the logs what would
    /// overtake it.
    pub(super) fn keep_back(&mut self) {
        if let Some(first) = self.ready.iter().position(|outgoing| outgoing.handed_over().is_some()) {
            let rest = self.ready.split_off(first);
            self.ready.extend(rest.into_iter().filter(|outgoing| matches!(outgoing, Outgoing::Answer(..))));
        }
    }
}
