//! The backlog: what waited for a viewer who was away, handed over when it joins, and not once more when it comes live.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{command::Outgoing, connection::Connection};
use crate::{
    model::{
        conversation::Membership,
        event::{Draft, Event, Happening},
        ids::ConversationId,
    },
    service::deliveries::{Pending, Room},
};

/// What one frame of a viewer's may bring, however many conversations it names; more waits for the next time.
const ROOM: Room = Room { messages: 1000, bytes: 1 << 20 };
/// How long after it was stored a message may still be published.
const ON_ITS_WAY: Duration = Duration::from_secs(60);

/// What a viewer was handed from the store.
#[derive(Debug)]
pub(super) struct Backlog {
    room: Room,
    handed: HashMap<ConversationId, Handed>,
}

/// The messages of one conversation, in ascending `seq`.
#[derive(Debug)]
struct Handed {
    seqs: Vec<i64>,
    until: Instant,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { room: ROOM, handed: HashMap::new() }
    }
}

impl Backlog {
    /// Another frame of the viewer's begins.
    pub(super) fn make_room(&mut self) {
        self.room = ROOM;
    }

    /// Whether a published event tells of a message that the viewer was handed: it was stored before the viewer came, and
    /// published after.
    pub(super) fn has(&mut self, event: &Event) -> bool {
        let (Happening::Message(message) | Happening::MessageUpdated(message)) = &event.draft.happening else {
            return false;
        };
        let Some(handed) = self.handed.get(&message.conversation_id) else { return false };
        if handed.until < Instant::now() {
            self.handed.remove(&message.conversation_id);
            return false;
        }
        handed.seqs.binary_search(&message.seq).is_ok()
    }

    fn hand(&mut self, conversation: ConversationId, seqs: impl Iterator<Item = i64>) {
        let until = Instant::now() + ON_ITS_WAY;
        let handed = self.handed.entry(conversation).or_insert(Handed { seqs: Vec::new(), until });
        if handed.until < Instant::now() {
            handed.seqs.clear();
        }
        handed.until = until;
        handed.seqs.extend(seqs);
        handed.seqs.sort_unstable();
    }
}

impl Connection {
    /// The messages that wait for the viewer in a conversation that it has just joined.
    pub(super) async fn hand_over(&mut self, membership: Membership) -> Vec<Outgoing> {
        let (deliveries, mut room) = (self.sessions.deliveries.clone(), self.backlog.room);
        let read = async move {
            let pending = deliveries.pending(&membership, &mut room).await?;
            Ok((pending, room))
        };
        let (Pending { messages, has_more }, room) = match self.sessions.run(read).await {
            Ok(read) => read,
            // It waits on.
            Err(error) => return vec![Outgoing::Answer(None, super::command::Answer::Refused(error))],
        };
        self.backlog.room = room;
        if messages.is_empty() {
            return Vec::new();
        }
        metrics::counter!("colloquy_backlog_messages_total").increment(messages.len() as u64);
        tracing::debug!(messages = messages.len(), has_more, "handing over what waited");
        let conversation_id = membership.conversation_id;
        self.backlog.hand(conversation_id, messages.iter().map(|message| message.seq));
        let frames = messages.into_iter().map(|message| {
            let message_id = Some(message.id);
            Outgoing::Draft(Draft { conversation_id, message_id, happening: Happening::Message(Box::new(message)) })
        });
        frames.collect()
    }
}
