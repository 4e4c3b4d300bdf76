//! Access to conversations: what is not the caller's does not exist for the caller.

use crate::{
    error::{Error, Result},
    model::{
        caller::Caller,
        conversation::{MemberRole, Membership},
        ids::{ConversationId, MessageId, UserId},
    },
    store::Store,
};

/// Decides who may do what in a conversation.
#[derive(Clone, Debug)]
pub struct Access {
    store: Store,
}

impl Access {
    /// Decides by what the store knows.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The caller's membership, when it allows what `least` may do.
    ///
    /// # Errors
    /// [`Error::NotFound`] for strangers, [`Error::PermissionDenied`] for members who may do less.
    pub async fn conversation(&self, caller: &Caller, id: ConversationId, least: MemberRole) -> Result<Membership> {
        let membership = self.store.membership(caller.user_id, id).await?;
        grant(membership.ok_or(Error::NotFound("conversation"))?, least)
    }

    /// Those of the pairs in which the user is no member of the conversation, as the store has it; at most 1,000 at once.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn strangers(&self, pairs: &[(ConversationId, UserId)]) -> Result<Vec<(ConversationId, UserId)>> {
        let (conversations, users): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let members = self.store.memberships_among(&conversations, &users).await?;
        Ok(pairs.iter().copied().filter(|pair| !members.contains(pair)).collect())
    }

    /// The caller's membership in the conversation that a message stands in, when it allows what `least` may do.
    ///
    /// # Errors
    /// [`Error::NotFound`] for strangers, [`Error::PermissionDenied`] for members who may do less.
    pub async fn message(&self, caller: &Caller, id: MessageId, least: MemberRole) -> Result<Membership> {
        let membership = self.store.membership_by_message(caller.user_id, id).await?;
        grant(membership.ok_or(Error::NotFound("message"))?, least)
    }
}

fn grant(membership: Membership, least: MemberRole) -> Result<Membership> {
    if membership.role >= least { Ok(membership) } else { Err(Error::ROLE) }
}
