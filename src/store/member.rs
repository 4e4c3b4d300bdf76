//! Members of conversations.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store, read,
    schema::{members, messages},
};
use crate::{
    error::Result,
    model::{
        conversation::{MemberRole, Membership},
        ids::{ConversationId, MessageId, UserId},
    },
};

impl Store {
    /// A user's membership in a conversation.
    pub(crate) async fn membership(&self, user: UserId, conversation: ConversationId) -> Result<Option<Membership>> {
        let role: Option<MemberRole> = read!(self, |connection| {
            members::table.find((conversation, user)).select(members::role).first(connection).await.optional()?
        });
        Ok(role.map(|role| Membership { conversation_id: conversation, user_id: user, role }))
    }

    /// A user's membership in the conversation of a message.
    pub(crate) async fn membership_by_message(&self, user: UserId, message: MessageId) -> Result<Option<Membership>> {
        let found: Option<(ConversationId, MemberRole)> = read!(self, |connection| {
            messages::table
                .inner_join(members::table.on(members::conversation_id.eq(messages::conversation_id)))
                .filter(messages::id.eq(message))
                .filter(members::user_id.eq(user))
                .select((members::conversation_id, members::role))
                .first(connection)
                .await
                .optional()?
        });
        Ok(found.map(|(conversation_id, role)| Membership { conversation_id, user_id: user, role }))
    }
}
