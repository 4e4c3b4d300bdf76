//! Contexts: texts that are put before the model ahead of the messages.

use super::{
    access::Access,
    content,
    text::{context_fault, title_fault},
};
use crate::{
    config::ContentPolicy,
    error::{Error, Result},
    model::{
        caller::Caller,
        clock::Clock,
        conversation::{Context, MemberRole},
        ids::{ContextId, ConversationId},
        page::{Page, PageRequest},
    },
    store::Store,
};

/// Keeps the contexts of conversations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Contexts {
    access: Access,
    store: Store,
    clock: Clock,
    policy: ContentPolicy,
}

impl Contexts {
    /// `policy` says what happens to markup in titles and texts.
    pub fn new(access: Access, store: Store, clock: Clock, policy: ContentPolicy) -> Self {
        Self { access, store, clock, policy }
    }

    /// Attaches a text, last in the order.
    ///
    /// # Errors
    /// Access, faults of the fields.
    pub async fn add(&self, caller: &Caller, id: ConversationId, title: String, content: String) -> Result<Context> {
        let membership = self.access.conversation(caller, id, MemberRole::Member).await?;
        Error::of_faults([("title", title_fault(&title)), ("content", context_fault(&content))])?;
        content::check(self.policy, "title", &title)?;
        content::check(self.policy, "content", &content)?;
        self.store.add_context(&membership, title, content, self.clock.now()).await
    }

    /// The contexts, in the order in which they are put before the model.
    ///
    /// # Errors
    /// Access, a token of another list.
    pub async fn list(&self, caller: &Caller, id: ConversationId, request: &PageRequest) -> Result<Page<Context>> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        self.store.contexts(&membership, request).await
    }

    /// Detaches a context.
    ///
    /// # Errors
    /// Access, [`Error::NotFound`] when the conversation has no such context.
    pub async fn delete(&self, caller: &Caller, id: ConversationId, context: ContextId) -> Result<()> {
        let membership = self.access.conversation(caller, id, MemberRole::Member).await?;
        self.store.delete_context(&membership, context, self.clock.now()).await
    }
}
