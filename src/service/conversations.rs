//! Conversations: making, seeing, changing and deleting them.

use super::{access::Access, content, runs::Runs, text::title_fault};
use crate::{
    config::ContentPolicy,
    error::{Error, Result},
    live::signal::{Signal, Signals},
    llm::Models,
    model::{
        caller::Caller,
        clock::Clock,
        conversation::{Conversation, ConversationChange, MemberRole, NewConversation},
        ids::ConversationId,
        page::{Page, PageRequest},
    },
    store::Store,
};

/// Members that a conversation can be made with.
const MAX_NEW_MEMBERS: usize = 100;

/// Keeps conversations. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    access: Access,
    store: Store,
    signals: Signals,
    models: Models,
    runs: Runs,
    clock: Clock,
    policy: ContentPolicy,
}

impl Conversations {
    /// `policy` says what happens to markup in titles.
    pub fn new(
        access: Access,
        store: Store,
        signals: Signals,
        models: Models,
        runs: Runs,
        clock: Clock,
        policy: ContentPolicy,
    ) -> Self {
        Self { access, store, signals, models, runs, clock, policy }
    }

    /// Makes a conversation that the caller owns.
    ///
    /// # Errors
    /// Faults of the fields, a member who does not exist among them.
    pub async fn create(&self, caller: &Caller, mut new: NewConversation) -> Result<Conversation> {
        let members_fault = (new.member_ids.len() > MAX_NEW_MEMBERS).then_some("must name at most 100 users");
        Error::of_faults([
            ("title", title_fault(&new.title)),
            ("model", self.model_fault(new.model.as_deref())),
            ("member_ids", members_fault),
        ])?;
        content::check(self.policy, "title", &new.title)?;
        new.member_ids.sort_unstable();
        new.member_ids.dedup();
        new.member_ids.retain(|member| *member != caller.user_id);
        self.store.create_conversation(caller.user_id, &new, self.clock.now()).await
    }

    /// One conversation of the caller's.
    ///
    /// # Errors
    /// Access.
    pub async fn get(&self, caller: &Caller, id: ConversationId) -> Result<Conversation> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        self.store.conversation(&membership).await?.ok_or(Error::NotFound("conversation"))
    }

    /// The caller's conversations, the one with the latest activity first.
    ///
    /// # Errors
    /// A token of another list.
    pub async fn list(&self, caller: &Caller, request: &PageRequest) -> Result<Page<Conversation>> {
        self.store.conversations(caller.user_id, request).await
    }

    /// Changes a conversation; all of the change is made or none.
    ///
    /// # Errors
    /// Access, faults of the fields, [`Error::FailedPrecondition`] for another path while a run lasts.
    pub async fn update(
        &self,
        caller: &Caller,
        id: ConversationId,
        change: &ConversationChange,
    ) -> Result<Conversation> {
        let membership = self.access.conversation(caller, id, MemberRole::Member).await?;
        let title = change.title.as_deref().unwrap_or_default();
        let model = change.model.as_ref().and_then(Option::as_deref);
        Error::of_faults([("title", title_fault(title)), ("model", self.model_fault(model))])?;
        content::check(self.policy, "title", title)?;
        self.store.update_conversation(&membership, change, self.clock.now()).await
    }

    /// Deletes a conversation with all that is in it. Who sees it live is told, and its runs are to end.
    ///
    /// # Errors
    /// Access.
    pub async fn delete(&self, caller: &Caller, id: ConversationId) -> Result<()> {
        let membership = self.access.conversation(caller, id, MemberRole::Owner).await?;
        self.runs.stop_all(&membership).await?;
        self.store.delete_conversation(&membership, self.clock.now()).await?;
        self.signals.send(Signal::ConversationEnded(id));
        Ok(())
    }

    fn model_fault(&self, model: Option<&str>) -> Option<&'static str> {
        model.is_some_and(|model| !self.models.knows(model)).then_some("is not a model of this server")
    }
}
