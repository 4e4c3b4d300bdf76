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

    /// Whether a user is a member of a conversation.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn is_member(&self, user: UserId, id: ConversationId) -> Result<bool> {
        Ok(self.store.membership(user, id).await?.is_some())
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
    if membership.role >= least {
        Ok(membership)
    } else {
        Err(Error::PermissionDenied("your role does not allow this"))
    }
}
