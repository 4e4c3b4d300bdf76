//! Events: what happened, as it is delivered live.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    clock::{Clock, Timestamp},
    ids::{ConversationId, MessageId, UserId},
    message::Message,
    notification::Notification,
    publication::Publication,
    tool::{self, Arguments, ToolCall, ToolResult},
    topic::Topic,
    usage::Usage,
};

/// What of a user may change so often that only the latest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Typing,
    Presence,
    Delivery,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Happening {
    /// A run exists.
    Start {
        /// The message that is answered.
        user_message_id: MessageId,
        /// The model that answers.
        model: String,
    },
    /// A piece of an answer.
    Token {
        /// The text.
        content: String,
        /// Where the piece begins in the answer, in UTF-8 bytes.
        index: u64,
    },
    /// A piece of the model's visible reasoning.
    Thinking {
        /// The text.
        content: String,
    },
    /// A tool starts.
    ToolCall {
        /// Its place among the tool events of the answer, from 1.
        number: u64,
        /// Where in the answer, in UTF-8 bytes.
        index: u64,
        /// Names the call.
        id: String,
        /// The tool.
        name: String,
        /// What it is called with.
        arguments: Arguments,
    },
    /// A tool ended.
    ToolResult {
        /// Its place among the tool events of the answer, from 1.
        number: u64,
        /// Where in the answer, in UTF-8 bytes.
        index: u64,
        /// Names the call.
        id: String,
        /// The tool.
        name: String,
        /// What it returned, or why it failed.
        content: String,
        /// Whether it failed.
        is_error: bool,
        /// How long it took, in milliseconds.
        duration_ms: i64,
    },
    /// The text of an answer so far, for a viewer who comes late. Never published.
    Snapshot {
        /// The text.
        content: String,
    },
    /// A run ended.
    End {
        /// Why.
        finish_reason: String,
        /// What it cost.
        usage: Usage,
        /// The answer's length in UTF-8 bytes.
        content_length: u64,
        /// Whether the answer came from the response cache.
        is_cached: bool,
    },
    /// A run failed or was interrupted.
    Failed {
        /// A reason of the contract, without its prefix.
        code: String,
        /// A plain sentence.
        message: String,
        /// Whether the same request may succeed later.
        retryable: bool,
        /// The length of the text that is kept, in UTF-8 bytes.
        content_length: u64,
    },
    /// A message was appended, or an answer is finished.
    Message(Box<Message>),
    /// A message was edited: this is the new version.
    MessageUpdated(Box<Message>),
    /// A message was deleted.
    MessageDeleted,
    /// A member has read.
    Read {
        /// Who.
        user_id: UserId,
        /// Up to where.
        seq: i64,
    },
    /// Messages have reached a member. Never kept.
    Delivered {
        /// Who.
        user_id: UserId,
        /// Up to where.
        seq: i64,
    },
    /// A member writes, or no longer does. Never kept.
    Typing {
        /// Who.
        user_id: UserId,
        /// The user's name.
        username: String,
        /// Whether it goes on.
        is_typing: bool,
    },
    /// A member's first connection views the conversation. Never kept.
    Joined {
        /// Who.
        user_id: UserId,
        /// The user's name.
        username: String,
    },
    /// The last connection of a member that viewed the conversation no longer does. Never kept.
    Left {
        /// Who.
        user_id: UserId,
        /// The user's name.
        username: String,
    },
    /// A user is notified.
    Notification(Box<Notification>),
    /// Somebody published an event.
    Published(Box<Publication>),
}

impl Happening {
    /// The type of its frame.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Token { .. } => "token",
            Self::Thinking { .. } => "thinking",
            Self::ToolCall { .. } => "tool_call",
            Self::ToolResult { .. } => "tool_result",
            Self::Snapshot { .. } => "snapshot",
            Self::End { .. } => "end",
            Self::Failed { .. } => "error",
            Self::Message(_) => "message",
            Self::MessageUpdated(_) => "message.updated",
            Self::MessageDeleted => "message.deleted",
            Self::Read { .. } => "read",
            Self::Delivered { .. } => "message.delivered",
            Self::Typing { .. } => "typing",
            Self::Joined { .. } => "user_joined",
            Self::Left { .. } => "user_left",
            Self::Notification(_) => "notification",
            Self::Published(_) => "event",
        }
    }

    /// The message that has come, or has come in a new version.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Message(message) | Self::MessageUpdated(message) => Some(message),
            _ => None,
        }
    }

    /// The notification that it brings.
    pub fn notification(&self) -> Option<&Notification> {
        if let Self::Notification(notification) = self { Some(notification) } else { None }
    }

    /// The event that somebody published.
    pub fn publication(&self) -> Option<&Publication> {
        if let Self::Published(publication) = self { Some(publication) } else { None }
    }

    /// Of whom it tells how they are right now, so that they need not be told; `None` for what is no such thing.
    pub fn present(&self) -> Option<UserId> {
        self.state().map(|(user_id, _)| user_id)
    }

    /// Whether of this and an earlier one, both of the same kind about one user, the later says it all.
    pub fn replaces(&self, earlier: &Self) -> bool {
        self.state().is_some() && self.state() == earlier.state()
    }

    /// Of whom it tells which state.
    fn state(&self) -> Option<(UserId, State)> {
        match self {
            Self::Typing { user_id, .. } => Some((*user_id, State::Typing)),
            Self::Joined { user_id, .. } | Self::Left { user_id, .. } => Some((*user_id, State::Presence)),
            Self::Delivered { user_id, .. } => Some((*user_id, State::Delivery)),
            _ => None,
        }
    }

    /// How the run of a message began.
    pub fn start_of(message: &Message) -> Self {
        Self::Start {
            user_message_id: message.parent_id.unwrap_or(message.id),
            model: message.model.clone().unwrap_or_default(),
        }
    }

    /// That a tool starts.
    pub fn call_of(call: &ToolCall) -> Self {
        let ToolCall { number, index, id, name, arguments, result: _ } = call.clone();
        Self::ToolCall { number, index, id, name, arguments }
    }

    /// That a tool ended; `None` while it works.
    pub fn result_of(call: &ToolCall) -> Option<Self> {
        let ToolCall { index, id, name, result, .. } = call.clone();
        let ToolResult { number, content, is_error, duration_ms } = result?;
        Some(Self::ToolResult { number, index, id, name, content, is_error, duration_ms })
    }

    /// How the run of a message ended.
    pub fn end_of(message: &Message) -> Self {
        let content_length = message.content.len() as u64;
        match &message.error {
            Some(error) => Self::Failed {
                code: error.code.clone(),
                message: error.message.clone(),
                retryable: error.retryable,
                content_length,
            },
            None => Self::End {
                finish_reason: message.finish_reason.clone().unwrap_or_default(),
                usage: message.usage.unwrap_or_default(),
                content_length,
                is_cached: message.is_cached,
            },
        }
    }
}

/// An event before it is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The conversation that it happened in; what concerns one user or everyone happens in none.
    pub conversation_id: Option<ConversationId>,
    /// The message that it is about; of markers and of presence none.
    pub message_id: Option<MessageId>,
    /// What happened.
    pub happening: Happening,
}

impl Draft {
    /// Something that happens in a conversation.
    pub fn within(conversation_id: ConversationId, message_id: Option<MessageId>, happening: Happening) -> Self {
        Self { conversation_id: Some(conversation_id), message_id, happening }
    }

    /// Something that happens in no conversation.
    pub fn apart(happening: Happening) -> Self {
        Self { conversation_id: None, message_id: None, happening }
    }
}

/// A published event.
#[derive(Debug)]
pub struct Event {
    /// Names the event.
    pub id: Uuid,
    /// The log that it stands in.
    pub topic: Topic,
    /// Its place there, from 1; 0 when it has none, being of the moment.
    pub offset: u64,
    /// When it was published.
    pub at: Timestamp,
    /// What happened, where.
    pub draft: Draft,
    /// The event as it goes over the wire: the edge fills it once for all viewers.
    pub encoded: OnceLock<Bytes>,
}

impl Event {
    /// A published event, not yet encoded.
    pub fn new(topic: Topic, offset: u64, at: Timestamp, draft: Draft) -> Arc<Self> {
        Self::named(Uuid::now_v7(), topic, offset, at, draft)
    }

    /// The same, of an event that has its name.
    pub fn named(id: Uuid, topic: Topic, offset: u64, at: Timestamp, draft: Draft) -> Arc<Self> {
        Arc::new(Self { id, topic, offset, at, draft, encoded: OnceLock::new() })
    }

    /// Whether nobody need get it any more.
    pub fn is_over(&self, clock: Clock) -> bool {
        self.draft.happening.publication().is_some_and(|publication| publication.is_over(clock.now()))
    }

    /// Whether it stands in its topic's log; what does not is of the moment, and may be lost.
    pub fn is_kept(&self) -> bool {
        self.offset > 0
    }

    /// Whether a viewer who gets this need not get an earlier one: both tell the same of one user in one place.
    pub fn says_more_than(&self, earlier: &Self) -> bool {
        !earlier.is_kept() && self.topic == earlier.topic && self.draft.happening.replaces(&earlier.draft.happening)
    }

    /// Roughly what the event costs in memory, in bytes: what bounded queues count.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 256;
        FIXED
            + match &self.draft.happening {
                Happening::Token { content, .. }
                | Happening::Thinking { content }
                | Happening::Snapshot { content }
                | Happening::ToolResult { content, .. } => content.len(),
                Happening::Message(message) | Happening::MessageUpdated(message) => message.weight(),
                Happening::ToolCall { arguments, .. } => tool::weight(arguments),
                Happening::Notification(notification) => notification.weight(),
                Happening::Published(publication) => publication.size,
                Happening::Start { .. }
                | Happening::End { .. }
                | Happening::Failed { .. }
                | Happening::MessageDeleted
                | Happening::Read { .. }
                | Happening::Delivered { .. }
                | Happening::Typing { .. }
                | Happening::Joined { .. }
                | Happening::Left { .. } => 0,
            }
    }
}
