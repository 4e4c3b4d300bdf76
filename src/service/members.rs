//! Members of conversations: who belongs to one and what they may do in it.

use super::access::Access;
use crate::{
    error::Result,
    live::signal::{Signal, Signals},
    model::{
        caller::Caller,
        clock::Clock,
        conversation::{Member, MemberRole},
        ids::{ConversationId, UserId},
        page::{Page, PageRequest},
    },
    store::Store,
};

/// Keeps the members of conversations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Members {
    access: Access,
    store: Store,
    signals: Signals,
    clock: Clock,
}

impl Members {
    /// Tells `signals` who stopped being a member.
    pub fn new(access: Access, store: Store, signals: Signals, clock: Clock) -> Self {
        Self { access, store, signals, clock }
    }

    /// The members, in the order in which they joined.
    ///
    /// # Errors
    /// Access, a token of another list.
    pub async fn list(&self, caller: &Caller, id: ConversationId, request: &PageRequest) -> Result<Page<Member>> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        self.store.members(&membership, request).await
    }

    /// Adds a user, or changes the role of a member.
    ///
    /// # Errors
    /// Access, [`NotFound`](crate::error::Error::NotFound) for a user who does not exist,
    /// [`FailedPrecondition`](crate::error::Error::FailedPrecondition) when no owner would be left.
    pub async fn add(&self, caller: &Caller, id: ConversationId, user: UserId, role: MemberRole) -> Result<Member> {
        let membership = self.access.conversation(caller, id, MemberRole::Owner).await?;
        self.store.put_member(&membership, user, role, self.clock.now()).await
    }

    /// Removes a member: owners anyone, everybody themselves.
    ///
    /// # Errors
    /// Access, [`NotFound`](crate::error::Error::NotFound) for a user who is not a member,
    /// [`FailedPrecondition`](crate::error::Error::FailedPrecondition) for the last owner.
    pub async fn remove(&self, caller: &Caller, id: ConversationId, user: UserId) -> Result<()> {
        let least = if user == caller.user_id { MemberRole::Viewer } else { MemberRole::Owner };
        let membership = self.access.conversation(caller, id, least).await?;
        self.store.remove_member(&membership, user, self.clock.now()).await?;
        self.signals.send(Signal::MembershipEnded(id, user));
        Ok(())
    }
}
