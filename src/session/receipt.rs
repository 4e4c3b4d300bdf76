//! Receipts: what leaves for a viewer has reached it.

use super::command::{Answer, Outgoing};
use crate::{
    model::{event::Happening, ids::UserId},
    service::deliveries::Deliveries,
};

/// Notes the messages that leave for one viewer.
#[derive(Debug)]
pub(super) struct Receipts {
    deliveries: Deliveries,
    user: UserId,
}

impl Receipts {
    /// For a connection of this user's.
    pub(super) fn new(deliveries: Deliveries, user: UserId) -> Self {
        Self { deliveries, user }
    }

    /// Notes the message that this tells of, if any.
    pub(super) fn note(&self, outgoing: &Outgoing) {
        let draft = match outgoing {
            Outgoing::Event(event) => &event.draft,
            Outgoing::Draft(draft) => draft,
            Outgoing::Answer(_, Answer::Sent { conversation_id, seq, .. }) => {
                return self.deliveries.note_own(*conversation_id, self.user, *seq);
            }
            Outgoing::Answer(..) => return,
        };
        if let Happening::Message(message) | Happening::MessageUpdated(message) = &draft.happening {
            self.deliveries.note_message(self.user, message);
        }
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        self.deliveries.hurry();
    }
}
