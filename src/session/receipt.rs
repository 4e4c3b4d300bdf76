//! Receipts: what leaves for a viewer has reached it, or will by its place in a log; of what no log brings again, once the link
//! has taken it.

use std::collections::{HashSet, VecDeque};

use super::{
    command::{Answer, Outgoing},
    credit::Credit,
};
use crate::{
    model::ids::{ConversationId, NotificationId, UserId},
    service::{deliveries::Deliveries, notifications::Notifications},
};

/// Notes what leaves for one viewer.
#[derive(Debug)]
pub(super) struct Receipts {
    deliveries: Deliveries,
    notifications: Notifications,
    user: UserId,
    /// Bytes that have left.
    left: u64,
    /// Of what the link has not taken yet, in the order in which it left; no more than a window holds.
    held: VecDeque<Held>,
}

/// What was handed over.
#[derive(Clone, Copy, Debug)]
pub(super) enum HandedOver {
    /// The message of a conversation that has this `seq`.
    Message(ConversationId, i64),
    /// A notification.
    Notification(NotificationId),
}

#[derive(Debug)]
struct Held {
    what: HandedOver,
    /// Bytes that had left when it had.
    at: u64,
}

impl Receipts {
    /// For a connection of this user's.
    pub(super) fn new(deliveries: Deliveries, notifications: Notifications, user: UserId) -> Self {
        Self { deliveries, notifications, user, left: 0, held: VecDeque::new() }
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
        outgoing.handed_over()
    }

    /// A frame of so many bytes has left, and handed this over.
    pub(super) fn leave(&mut self, bytes: usize, handed_over: Option<HandedOver>) {
        self.left = self.left.saturating_add(bytes as u64);
        self.held.extend(handed_over.map(|what| Held { what, at: self.left }));
    }

    /// Notes what the link has taken. When nothing is to follow for now, also what it may have taken without a word: it
    /// would not tell.
    pub(super) fn settle(&mut self, credit: &Credit, is_all: bool) {
        let taken = if is_all && credit.is_slack() { self.left } else { self.left.saturating_sub(credit.in_flight()) };
        while let Some(Held { what, .. }) = self.held.pop_front_if(|held| held.at <= taken) {
            match what {
                HandedOver::Message(conversation, seq) => self.deliveries.note(conversation, self.user, seq),
                HandedOver::Notification(id) => self.notifications.note(id),
            }
        }
    }

    /// The messages of a conversation that have left and are not noted.
    pub(super) fn held(&self, conversation: ConversationId) -> impl Iterator<Item = i64> {
        self.held.iter().filter_map(move |held| match held.what {
            HandedOver::Message(of, seq) if of == conversation => Some(seq),
            HandedOver::Message(..) | HandedOver::Notification(_) => None,
        })
    }

    /// The notifications that have left and are not noted.
    pub(super) fn held_notifications(&self) -> HashSet<NotificationId> {
        let held = self.held.iter().filter_map(|held| match held.what {
            HandedOver::Notification(id) => Some(id),
            HandedOver::Message(..) => None,
        });
        held.collect()
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        self.deliveries.hurry();
        self.notifications.hurry();
    }
}
