//! Messages as the contract writes them.

use prost_types::Timestamp as ProtoTimestamp;

use super::json::structure;
use crate::{
    model::{
        clock::Timestamp,
        message::{Message, MessageRole, MessageStatus},
        tool::ToolCall,
        usage::Usage,
    },
    proto,
};

impl From<Timestamp> for ProtoTimestamp {
    fn from(at: Timestamp) -> Self {
        let micros = at.as_micros();
        let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
        Self { seconds: micros.div_euclid(1_000_000), nanos }
    }
}

impl From<Usage> for proto::Usage {
    fn from(usage: Usage) -> Self {
        Self { input_tokens: usage.input_tokens, output_tokens: usage.output_tokens }
    }
}

impl From<MessageRole> for proto::MessageRole {
    fn from(role: MessageRole) -> Self {
        match role {
            MessageRole::User => Self::User,
            MessageRole::Assistant => Self::Assistant,
            MessageRole::System => Self::System,
            MessageRole::Tool => Self::Tool,
        }
    }
}

impl From<MessageStatus> for proto::MessageStatus {
    fn from(status: MessageStatus) -> Self {
        match status {
            MessageStatus::Pending => Self::Pending,
            MessageStatus::Streaming => Self::Streaming,
            MessageStatus::Complete => Self::Complete,
            MessageStatus::Stopped => Self::Stopped,
            MessageStatus::Failed => Self::Failed,
            MessageStatus::Interrupted => Self::Interrupted,
        }
    }
}

impl From<ToolCall> for proto::ToolUse {
    fn from(call: ToolCall) -> Self {
        let (content, is_error, duration_ms) = match call.result {
            Some(result) => (Some(result.content), Some(result.is_error), Some(result.duration_ms)),
            None => (None, None, None),
        };
        Self {
            id: call.id,
            name: call.name,
            arguments: Some(structure(call.arguments)),
            index: signed(call.index),
            content,
            is_error,
            duration_ms,
        }
    }
}

impl From<Message> for proto::Message {
    fn from(message: Message) -> Self {
        let error = message.error.map(|error| proto::RunError {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
        });
        Self {
            id: message.id.to_string(),
            conversation_id: message.conversation_id.to_string(),
            seq: message.seq,
            parent_id: message.parent_id.map(|id| id.to_string()),
            role: proto::MessageRole::from(message.role).into(),
            author_id: message.author_id.map(|id| id.to_string()),
            content: message.content,
            status: proto::MessageStatus::from(message.status).into(),
            model: message.model,
            finish_reason: message.finish_reason,
            usage: message.usage.map(Into::into),
            error,
            client_message_id: message.client_message_id,
            sibling_ids: message.sibling_ids.iter().map(ToString::to_string).collect(),
            is_deleted: message.is_deleted,
            created_at: Some(message.created_at.into()),
            updated_at: Some(message.updated_at.into()),
            tool_calls: message.tool_calls.into_iter().map(Into::into).collect(),
            cached: message.is_cached,
        }
    }
}

/// Counters of ours stay far below the range of protobuf's signed integers.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
