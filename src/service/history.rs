//! Histories: reading, searching and deleting messages, and how far members have read.

use super::{access::Access, deliveries::Deliveries, text::query_fault};
use crate::{
    error::{Error, Result},
    live::bus::Bus,
    model::{
        caller::Caller,
        clock::Clock,
        conversation::MemberRole,
        event::{Draft, Happening},
        history::{History, HistoryRequest, Window},
        ids::{ConversationId, MessageId},
        message::Message,
        page::{Page, PageRequest},
        topic::Topic,
    },
    store::Store,
};

/// Shows the messages of conversations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Histories {
    access: Access,
    store: Store,
    bus: Bus,
    deliveries: Deliveries,
    clock: Clock,
}

impl Histories {
    /// Tells the bus what was deleted and read, and `deliveries` who has which messages by it.
    pub fn new(access: Access, store: Store, bus: Bus, deliveries: Deliveries, clock: Clock) -> Self {
        Self { access, store, bus, deliveries, clock }
    }

    /// A page of a conversation's history.
    ///
    /// # Errors
    /// Access, a cursor that is no `seq`.
    pub async fn list(&self, caller: &Caller, id: ConversationId, request: &HistoryRequest) -> Result<History> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        match request.window {
            Window::Before(seq) if seq < 0 => Err(Error::invalid("before_seq", "must not be negative")),
            Window::After(seq) if seq < 0 => Err(Error::invalid("after_seq", "must not be negative")),
            _ => {
                let history = self.store.history(&membership, request).await?;
                self.deliveries.note_page(&membership, request.window, &history.messages);
                Ok(history)
            }
        }
    }

    /// One message of a conversation.
    ///
    /// # Errors
    /// Access, [`Error::NotFound`] when the conversation has no such message.
    pub async fn get(&self, caller: &Caller, id: ConversationId, message: MessageId) -> Result<Message> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        self.store.history_message(&membership, message).await?.ok_or(Error::NotFound("message"))
    }

    /// Empties a message and marks it deleted; one that is deleted stays so. For its author and owners.
    ///
    /// # Errors
    /// Access, [`Error::NotFound`] when the conversation has no such message, [`Error::FailedPrecondition`] while its run
    /// lasts.
    pub async fn delete(&self, caller: &Caller, id: ConversationId, message: MessageId) -> Result<()> {
        let membership = self.access.conversation(caller, id, MemberRole::Member).await?;
        let found = self.store.message(&membership, message).await?.ok_or(Error::NotFound("message"))?;
        let is_author = found.author_id == Some(caller.user_id);
        let least = if is_author { MemberRole::Member } else { MemberRole::Owner };
        if membership.role < least {
            return Err(Error::PermissionDenied("only the author and owners delete a message"));
        }
        if found.is_deleted {
            return Ok(());
        }
        self.store.delete_message(&membership, least, message, self.clock.now()).await?;
        self.publish(id, Some(message), Happening::MessageDeleted).await;
        Ok(())
    }

    /// Messages that hold all words of a text, in one conversation of the caller's or in all, the best match first.
    ///
    /// # Errors
    /// Access, faults of the fields.
    pub async fn search(
        &self,
        caller: &Caller,
        conversation: Option<ConversationId>,
        query: &str,
        request: &PageRequest,
    ) -> Result<Page<Message>> {
        if let Some(id) = conversation {
            self.access.conversation(caller, id, MemberRole::Viewer).await?;
        }
        Error::of_faults([("query", query_fault(query))])?;
        self.store.search_messages(caller.user_id, conversation, query, request).await
    }

    /// Moves the caller's read marker forward to `seq` and returns where it is then.
    ///
    /// # Errors
    /// Access, a `seq` that no message of the conversation has yet.
    pub async fn mark_read(&self, caller: &Caller, id: ConversationId, seq: i64) -> Result<i64> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        let conversation = self.store.conversation(&membership).await?.ok_or(Error::NotFound("conversation"))?;
        if !(0..=conversation.last_seq).contains(&seq) {
            return Err(Error::invalid("seq", format!("must be 0 to {}, the last one", conversation.last_seq)));
        }
        if seq <= conversation.last_read_seq {
            return Ok(conversation.last_read_seq);
        }
        let marker = self.store.mark_read(&membership, seq).await?;
        if marker.has_moved {
            self.publish(id, None, Happening::Read { user_id: caller.user_id, seq }).await;
        }
        Ok(marker.seq)
    }

    async fn publish(&self, conversation_id: ConversationId, message_id: Option<MessageId>, happening: Happening) {
        let draft = Draft::within(conversation_id, message_id, happening);
        self.bus.publish(Topic::Conversation(conversation_id), draft).await;
    }
}
