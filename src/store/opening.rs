//! Opening a conversation by its first message, once however often the message is sent.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    schema::{conversations, members},
    transaction,
    usage::hold_to_quota,
};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        conversation::{MemberRole, OnBusy},
        ids::{ConversationId, UserId},
        usage::DailyQuota,
    },
};

/// A conversation to open.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// What it is called.
    pub(crate) title: String,
    /// The first message, as its sender names it.
    pub(crate) client_message_id: Option<String>,
    /// What its owner has for the day: the message wants an answer.
    pub(crate) quota: Option<DailyQuota>,
    /// When.
    pub(crate) now: Timestamp,
}

impl Store {
    /// Opens a conversation of the user's, or finds the one that the same message opened before.
    ///
    /// # Errors
    /// [`crate::error::Error::QuotaExceeded`] when there is none and the user has used up the day's tokens: then none is left behind.
    pub(crate) async fn open_conversation(&self, owner: UserId, opening: &Opening) -> Result<ConversationId> {
        transaction!(self, "open_conversation", |connection| {
            let id = ConversationId::generate();
            let inserted = diesel::insert_into(conversations::table)
                .values((
                    conversations::id.eq(id),
                    conversations::title.eq(&opening.title),
                    conversations::on_busy.eq(OnBusy::default()),
                    conversations::last_seq.eq(0_i64),
                    conversations::opened_by.eq(owner),
                    conversations::opening_client_message_id.eq(&opening.client_message_id),
                    conversations::created_at.eq(opening.now),
                    conversations::updated_at.eq(opening.now),
                ))
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
            if inserted == 0 {
                return Ok(conversations::table
                    .filter(conversations::opened_by.eq(owner))
                    .filter(conversations::opening_client_message_id.eq(&opening.client_message_id))
                    .select(conversations::id)
                    .first(connection)
                    .await?);
            }
            hold_to_quota!(connection, owner, opening.quota, opening.now);
            diesel::insert_into(members::table)
                .values((
                    members::conversation_id.eq(id),
                    members::user_id.eq(owner),
                    members::role.eq(MemberRole::Owner),
                    members::last_read_seq.eq(0_i64),
                    members::delivered_seq.eq(0_i64),
                    members::joined_at.eq(opening.now),
                ))
                .execute(connection)
                .await?;
            Ok(id)
        })
    }
}
