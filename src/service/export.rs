//! Exports: a whole conversation as one file, for machines as JSON and for people as Markdown.

use std::{collections::HashMap, fmt::Write as _};

use serde::Serialize;

use super::access::Access;
use crate::{
    error::{Error, Result},
    model::{
        caller::Caller,
        conversation::{Context, Conversation, Member, MemberRole, Membership},
        history::{HistoryRequest, Window},
        ids::{ConversationId, UserId},
        message::{Message, MessageRole, MessageStatus},
        page::{MAX_SIZE, PageRequest},
        tool::{Arguments, ToolCall},
    },
    store::Store,
};

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// All there is, for machines.
    #[default]
    Json,
    /// The chosen path, for people.
    Markdown,
}

impl Format {
    /// What the file says it is.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }
}

/// Exports conversations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exports {
    access: Access,
    store: Store,
}

impl Exports {
    /// Exports what the store holds.
    pub fn new(access: Access, store: Store) -> Self {
        Self { access, store }
    }

    /// The conversation as the caller sees it, as one text.
    ///
    /// # Errors
    /// Access, [`Error::Unavailable`] when too many others read as much.
    pub async fn export(&self, caller: &Caller, id: ConversationId, format: Format) -> Result<String> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        let conversation = self.store.conversation(&membership).await?.ok_or(Error::NotFound("conversation"))?;
        let _turn = self.store.slow_read().await?;
        match format {
            Format::Json => {
                let members = self.members(&membership).await?;
                let contexts = self.contexts(&membership).await?;
                let messages = self.messages(&membership, true).await?;
                json(&conversation, &members, &contexts, &messages)
            }
            Format::Markdown => {
                let messages = self.messages(&membership, false).await?;
                let authors = self.store.authors(&membership).await?;
                Ok(markdown(&conversation, &messages, &authors))
            }
        }
    }

    async fn members(&self, membership: &Membership) -> Result<Vec<Member>> {
        let mut all = Vec::new();
        let mut request = PageRequest { size: MAX_SIZE, after: None };
        loop {
            let page = self.store.members(membership, &request).await?;
            all.extend(page.entries);
            match page.next {
                Some(next) => request.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn contexts(&self, membership: &Membership) -> Result<Vec<Context>> {
        let mut all = Vec::new();
        let mut request = PageRequest { size: MAX_SIZE, after: None };
        loop {
            let page = self.store.contexts(membership, &request).await?;
            all.extend(page.entries);
            match page.next {
                Some(next) => request.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn messages(&self, membership: &Membership, include_siblings: bool) -> Result<Vec<Message>> {
        let mut all = Vec::new();
        let mut request = HistoryRequest { window: Window::After(0), size: MAX_SIZE, include_siblings };
        loop {
            let page = self.store.history(membership, &request).await?;
            all.extend(page.messages);
            match page.next {
                Some(next) => request.window = next,
                None => return Ok(all),
            }
        }
    }
}

fn json(conversation: &Conversation, members: &[Member], contexts: &[Context], messages: &[Message]) -> Result<String> {
    let document = Document {
        conversation: conversation.into(),
        members: members.iter().map(Into::into).collect(),
        contexts: contexts.iter().map(Into::into).collect(),
        messages: messages.iter().map(Into::into).collect(),
    };
    serde_json::to_string(&document).map_err(Error::internal)
}

fn markdown(conversation: &Conversation, messages: &[Message], authors: &HashMap<UserId, String>) -> String {
    let mut text = String::from("#");
    let title = if conversation.title.trim().is_empty() { "Conversation" } else { &conversation.title };
    // A heading is one line.
    for word in title.split_whitespace() {
        let _ = write!(text, " {word}");
    }
    for message in messages {
        let author = message.author_id.and_then(|author| authors.get(&author));
        let speaker = match message.role {
            MessageRole::User => author.map_or("Somebody", String::as_str),
            MessageRole::Assistant => message.model.as_deref().unwrap_or("Assistant"),
            MessageRole::System => "System",
            MessageRole::Tool => "Tool",
        };
        let _ = write!(text, "\n\n## {speaker}, {}\n", message.created_at);
        if message.is_deleted {
            text.push_str("\n*deleted*");
        } else if !message.content.is_empty() {
            let _ = write!(text, "\n{}", message.content);
        }
        if message.status != MessageStatus::Complete {
            let _ = write!(text, "\n\n*{}*", message.status.as_str());
        }
    }
    text.push('\n');
    text
}

/// The JSON document. Its parts are written as the API writes them: scalars and lists always, what is absent never.
#[derive(Debug, Serialize)]
struct Document<'a> {
    conversation: ConversationPart<'a>,
    members: Vec<MemberPart<'a>>,
    contexts: Vec<ContextPart<'a>>,
    messages: Vec<MessagePart<'a>>,
}

#[derive(Debug, Serialize)]
struct ConversationPart<'a> {
    id: String,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    on_busy: &'static str,
    role: &'static str,
    last_seq: i64,
    last_read_seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_message_id: Option<String>,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize)]
struct MemberPart<'a> {
    user_id: String,
    username: &'a str,
    role: &'static str,
    last_read_seq: i64,
    joined_at: String,
}

#[derive(Debug, Serialize)]
struct ContextPart<'a> {
    id: String,
    conversation_id: String,
    title: &'a str,
    content: &'a str,
    position: i64,
    created_at: String,
}

#[derive(Debug, Serialize)]
struct MessagePart<'a> {
    id: String,
    conversation_id: String,
    seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    author_id: Option<String>,
    content: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsagePart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<&'a str>,
    sibling_ids: Vec<String>,
    is_deleted: bool,
    created_at: String,
    updated_at: String,
    tool_calls: Vec<ToolPart<'a>>,
    cached: bool,
}

#[derive(Debug, Serialize)]
struct ToolPart<'a> {
    id: &'a str,
    name: &'a str,
    arguments: &'a Arguments,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct UsagePart {
    input_tokens: i64,
    output_tokens: i64,
}

#[derive(Debug, Serialize)]
struct ErrorPart<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
}

impl<'a> From<&'a Conversation> for ConversationPart<'a> {
    fn from(conversation: &'a Conversation) -> Self {
        Self {
            id: conversation.id.to_string(),
            title: &conversation.title,
            model: conversation.model.as_deref(),
            on_busy: conversation.on_busy.as_str(),
            role: conversation.role.as_str(),
            last_seq: conversation.last_seq,
            last_read_seq: conversation.last_read_seq,
            head_message_id: conversation.head_message_id.map(|id| id.to_string()),
            created_at: conversation.created_at.to_string(),
            updated_at: conversation.updated_at.to_string(),
        }
    }
}

impl<'a> From<&'a Member> for MemberPart<'a> {
    fn from(member: &'a Member) -> Self {
        Self {
            user_id: member.user_id.to_string(),
            username: &member.username,
            role: member.role.as_str(),
            last_read_seq: member.last_read_seq,
            joined_at: member.joined_at.to_string(),
        }
    }
}

impl<'a> From<&'a Context> for ContextPart<'a> {
    fn from(context: &'a Context) -> Self {
        Self {
            id: context.id.to_string(),
            conversation_id: context.conversation_id.to_string(),
            title: &context.title,
            content: &context.content,
            position: context.position,
            created_at: context.created_at.to_string(),
        }
    }
}

impl<'a> From<&'a Message> for MessagePart<'a> {
    fn from(message: &'a Message) -> Self {
        let usage = message
            .usage
            .map(|usage| UsagePart { input_tokens: usage.input_tokens, output_tokens: usage.output_tokens });
        let error = message.error.as_ref().map(|error| ErrorPart {
            code: &error.code,
            message: &error.message,
            retryable: error.retryable,
        });
        Self {
            id: message.id.to_string(),
            conversation_id: message.conversation_id.to_string(),
            seq: message.seq,
            parent_id: message.parent_id.map(|id| id.to_string()),
            role: message.role.as_str(),
            author_id: message.author_id.map(|id| id.to_string()),
            content: &message.content,
            status: message.status.as_str(),
            model: message.model.as_deref(),
            finish_reason: message.finish_reason.as_deref(),
            usage,
            error,
            client_message_id: message.client_message_id.as_deref(),
            sibling_ids: message.sibling_ids.iter().map(ToString::to_string).collect(),
            is_deleted: message.is_deleted,
            created_at: message.created_at.to_string(),
            updated_at: message.updated_at.to_string(),
            tool_calls: message.tool_calls.iter().map(Into::into).collect(),
            cached: message.is_cached,
        }
    }
}

impl<'a> From<&'a ToolCall> for ToolPart<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let result = call.result.as_ref();
        Self {
            id: &call.id,
            name: &call.name,
            arguments: &call.arguments,
            index: call.index,
            content: result.map(|result| result.content.as_str()),
            is_error: result.map(|result| result.is_error),
            duration_ms: result.map(|result| result.duration_ms),
        }
    }
}
