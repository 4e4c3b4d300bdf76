//! Messages, and how far the run of an answer is.

use serde::{Deserialize, Serialize};

use super::{
    clock::Timestamp,
    ids::{ConversationId, MessageId, UserId},
    tool::ToolCall,
    usage::Usage,
};

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MessageRole {
    /// A person.
    User,
    /// The model.
    Assistant,
    /// The operator of the product.
    System,
    /// A tool that the model called.
    Tool,
}

impl MessageRole {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Tool => "tool",
        }
    }
}

impl std::str::FromStr for MessageRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            "system" => Ok(Self::System),
            "tool" => Ok(Self::Tool),
            other => Err(format!("unknown message role {other:?}")),
        }
    }
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageStatus {
    /// The run has not had a word from the model yet, or waits for its turn.
    Pending,
    /// The run is writing.
    Streaming,
    /// Whole.
    Complete,
    /// Somebody stopped the run.
    Stopped,
    /// The run failed.
    Failed,
    /// The node that ran it died.
    Interrupted,
}

impl MessageStatus {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Streaming => "streaming",
            Self::Complete => "complete",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether a run still works on the message.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Pending | Self::Streaming)
    }
}

impl std::str::FromStr for MessageStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pending" => Ok(Self::Pending),
            "streaming" => Ok(Self::Streaming),
            "complete" => Ok(Self::Complete),
            "stopped" => Ok(Self::Stopped),
            "failed" => Ok(Self::Failed),
            "interrupted" => Ok(Self::Interrupted),
            other => Err(format!("unknown message status {other:?}")),
        }
    }
}

/// Why a run failed, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// A reason of the contract, without its prefix.
    pub code: String,
    /// A plain sentence.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// One entry of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Names the message; for an answer it names the run too.
    pub id: MessageId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// Gapless within the conversation, from 1.
    pub seq: i64,
    /// The message before it on its path.
    pub parent_id: Option<MessageId>,
    /// Who speaks.
    pub role: MessageRole,
    /// The person who wrote it.
    pub author_id: Option<UserId>,
    /// The text; of a run that lasts: what was written so far.
    pub content: String,
    /// How far it is.
    pub status: MessageStatus,
    /// The model that answers.
    pub model: Option<String>,
    /// Why the answer ended.
    pub finish_reason: Option<String>,
    /// Tokens, once known.
    pub usage: Option<Usage>,
    /// Why the run failed or was interrupted.
    pub error: Option<RunError>,
    /// The tools that the answer called, in their order.
    pub tool_calls: Vec<ToolCall>,
    /// Whether the answer came from the response cache.
    pub is_cached: bool,
    /// The sender's own id for it.
    pub client_message_id: Option<String>,
    /// The versions of this message, itself included, oldest first; empty when there is only this one.
    pub sibling_ids: Vec<MessageId>,
    /// Whether it was deleted.
    pub is_deleted: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Message {
    /// Roughly what its texts cost in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.content.len() + self.tool_calls.iter().map(ToolCall::weight).sum::<usize>()
    }
}
