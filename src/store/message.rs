//! Messages: rows, and appending them.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::messages;
use crate::model::{
    clock::Timestamp,
    ids::{ConversationId, MessageId, UserId},
    message::{Message, MessageRole, MessageStatus, RunError},
    usage::Usage,
};

/// The columns of a message that people see.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = messages)]
pub(super) struct MessageRow {
    id: MessageId,
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
            client_message_id: row.client_message_id,
            sibling_ids: Vec::new(),
            is_deleted: row.is_deleted,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
