//! Receipts: what leaves for a viewer has reached it, or will by its place in a log; of what no log brings again, once the link
//! has taken it.

use std::collections::VecDeque;

use super::{
    command::{Answer, Outgoing},
    credit::Credit,
};
use crate::{
    model::ids::{ConversationId, UserId},
    service::deliveries::Deliveries,
};

/// Notes the messages that leave for one viewer.
#[derive(Debug)]
pub(super) struct Receipts {
    deliveries: Deliveries,
    user: UserId,
    /// Bytes that have left.
    left: u64,
    /// Of what the link has not taken yet, in the order in which it left; no more than a window holds.
    held: VecDeque<Held>,
}

/// That a message was handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandedOver {
    conversation: ConversationId,
    seq: i64,
}

#[derive(Debug)]
struct Held {
    message: HandedOver,
    /// Bytes that had left when it had.
    at: u64,
}

impl Receipts {
    /// For a connection of this user's.
    pub(super) fn new(deliveries: Deliveries, user: UserId) -> Self {
        Self { deliveries, user, left: 0, held: VecDeque::new() }
    }

    /// Notes the message that this tells of, if any. One that is handed over is returned instead, for [`Receipts::leave`].
    pub(super) fn note(&self, outgoing: &Outgoing) -> Option<HandedOver> {
        match outgoing {
            Outgoing::Event(event) => {
                if let Some(message) = event.draft.happening.message() {
                    self.deliveries.note_message(self.user, message);
                }
            }
            Outgoing::Answer(_, Answer::Sent { conversation_id, seq, .. }) => {
                self.deliveries.note_own(*conversation_id, self.user, *seq);
            }
            Outgoing::Draft(_) | Outgoing::Answer(..) => {}
        }
        outgoing.handed_over().map(|message| HandedOver { conversation: message.conversation_id, seq: message.seq })
    }

    /// A frame of so many bytes has left, with this message.
    pub(super) fn leave(&mut self, bytes: usize, message: Option<HandedOver>) {
        self.left = self.left.saturating_add(bytes as u64);
        self.held.extend(message.map(|message| Held { message, at: self.left }));
    }

    /// Notes what the link has taken. When nothing is to follow for now, also what it may have taken without a word: it
    /// would not tell.
    pub(super) fn settle(&mut self, credit: &Credit, is_all: bool) {
        let taken = if is_all && credit.is_slack() { self.left } else { self.left.saturating_sub(credit.in_flight()) };
        while let Some(Held { message, .. }) = self.held.pop_front_if(|held| held.at <= taken) {
            self.deliveries.note(message.conversation, self.user, message.seq);
        }
    }

    /// The messages of a conversation that have left and are not noted.
    pub(super) fn held(&self, conversation: ConversationId) -> impl Iterator<Item = i64> {
        let held = self.held.iter().map(|held| held.message);
        held.filter(move |message| message.conversation == conversation).map(|message| message.seq)
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        self.deliveries.hurry();
    }
}
