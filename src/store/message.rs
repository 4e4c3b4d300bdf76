//! Messages: their rows, and the path on which one stands.

use diesel::{dsl::exists, prelude::*, select};
use diesel_async::RunQueryDsl;

use super::{Store, read, schema::messages, tool_call::attach_tool_calls};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        conversation::Membership,
        ids::{ConversationId, MessageId, UserId},
        message::{Message, MessageRole, MessageStatus, RunError},
        usage::Usage,
    },
};

/// The columns of a message that people see.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = messages)]
pub(super) struct MessageRow {
    pub(super) id: MessageId,
    conversation_id: ConversationId,
    seq: i64,
    parent_id: Option<MessageId>,
    role: MessageRole,
    author_id: Option<UserId>,
    content: String,
    status: MessageStatus,
    model: Option<String>,
    finish_reason: Option<String>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    error_code: Option<String>,
    error_message: Option<String>,
    error_retryable: Option<bool>,
    client_message_id: Option<String>,
    is_deleted: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    is_cached: bool,
}

impl From<MessageRow> for Message {
    fn from(row: MessageRow) -> Self {
        let usage = row
            .input_tokens
            .zip(row.output_tokens)
            .map(|(input_tokens, output_tokens)| Usage { input_tokens, output_tokens });
        let error = row.error_code.map(|code| RunError {
            code,
            message: row.error_message.unwrap_or_default(),
            retryable: row.error_retryable.unwrap_or_default(),
        });
        Self {
            id: row.id,
            conversation_id: row.conversation_id,
            seq: row.seq,
            parent_id: row.parent_id,
            role: row.role,
            author_id: row.author_id,
            content: row.content,
            status: row.status,
            model: row.model,
            finish_reason: row.finish_reason,
            usage,
            error,
            tool_calls: Vec::new(),
            is_cached: row.is_cached,
            client_message_id: row.client_message_id,
            sibling_ids: Vec::new(),
            is_deleted: row.is_deleted,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A message of a conversation, without the tools that it called.
macro_rules! find_message {
    ($connection:ident, $membership:expr, $id:expr) => {{
        use $crate::store::{message::MessageRow, schema::messages};
        let row: Option<MessageRow> = messages::table
            .filter(messages::id.eq($id))
            .filter(messages::conversation_id.eq($membership.conversation_id))
            .select(MessageRow::as_select())
            .first($connection)
            .await
            .optional()?;
        row.map($crate::model::message::Message::from)
    }};
}

pub(super) use find_message;

impl Store {
    /// A message of the conversation; the content of a run that lasts is what was settled, not what was logged.
    pub(crate) async fn message(&self, membership: &Membership, id: MessageId) -> Result<Option<Message>> {
        Ok(read!(self, |connection| {
            let mut found = find_message!(connection, membership, id);
            attach_tool_calls!(connection, found);
            found
        }))
    }

    /// The messages on the path that ends with `last`, newest first, until `enough` says that no more are wanted.
    pub(crate) async fn ancestry(
        &self,
        membership: &Membership,
        last: MessageId,
        mut enough: impl FnMut(&Message) -> bool + Send,
    ) -> Result<Vec<Message>> {
        const BATCH: i64 = 100;
        let mut path: Vec<Message> = Vec::new();
        let mut wanted = Some(last);
        let mut before = i64::MAX;
        while let Some(next) = wanted {
            // A parent has a lower seq than its child: one walk down the log meets the whole path.
            let batch: Vec<MessageRow> = read!(self, |connection| {
                messages::table
                    .filter(messages::conversation_id.eq(membership.conversation_id))
                    .filter(messages::seq.lt(before))
                    .order(messages::seq.desc())
                    .limit(BATCH)
                    .select(MessageRow::as_select())
                    .load(connection)
                    .await?
            });
            let Some(oldest) = batch.last() else { break };
            before = oldest.seq;
            let mut wanted_here = Some(next);
            let mut found: Vec<Message> = Vec::new();
            for row in batch {
                if Some(row.id) == wanted_here {
                    wanted_here = row.parent_id;
                    found.push(Message::from(row));
                }
            }
            wanted = wanted_here;
            read!(self, |connection| attach_tool_calls!(connection, found));
            for message in found {
                if enough(&message) {
                    return Ok(path);
                }
                path.push(message);
            }
        }
        Ok(path)
    }

    /// Whether a run of the conversation that began before this `seq` still lasts.
    pub(crate) async fn is_busy_before(&self, conversation: ConversationId, seq: i64) -> Result<bool> {
        Ok(read!(self, |connection| {
            select(exists(
                messages::table
                    .filter(messages::conversation_id.eq(conversation))
                    .filter(messages::seq.lt(seq))
                    .filter(messages::lease_owner.is_not_null()),
            ))
            .get_result(connection)
            .await?
        }))
    }
}
