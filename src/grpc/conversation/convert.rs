//! Conversations as the contract writes them, and what it asks about them.

use crate::{
    error::{Error, Result},
    grpc::parse,
    model::{
        conversation::{Context, Conversation, ConversationChange, Member, MemberRole, NewConversation, OnBusy},
        history::{History, HistoryRequest},
        ids::UserId,
        page,
    },
    proto,
    service::export::Format,
};

/// Reads a conversation to be made.
pub(super) fn new_conversation(request: proto::CreateConversationRequest) -> Result<NewConversation> {
    let on_busy = parse::choice("on_busy", request.on_busy)?;
    let member_ids: Result<Vec<UserId>> = request.member_ids.iter().map(|id| parse::id("member_ids", id)).collect();
    Ok(NewConversation {
        title: request.title,
        model: request.model.filter(|model| !model.is_empty()),
        on_busy: on_busy_of(on_busy).unwrap_or_default(),
        member_ids: member_ids?,
    })
}

/// Reads what to change.
pub(super) fn change(request: proto::UpdateConversationRequest) -> Result<ConversationChange> {
    let on_busy = parse::choice("on_busy", request.on_busy)?;
    let head_message_id = parse::optional_id("head_message_id", request.head_message_id.as_deref())?;
    Ok(ConversationChange {
        title: request.title,
        model: request.model.map(|model| Some(model).filter(|model| !model.is_empty())),
        on_busy: on_busy_of(on_busy),
        head_message_id,
    })
}

/// Reads which part of a history is wanted. A page token goes on where its page ended, whatever the cursor was.
pub(super) fn history_request(request: &proto::ListMessagesRequest) -> Result<HistoryRequest> {
    let size = match (request.limit, request.page_size) {
        (0, size) => parse::size("page_size", size)?,
        (limit, size) if size == 0 || size == limit => parse::size("limit", limit)?,
        _ => return Err(Error::invalid("limit", "says something else than page_size")),
    };
    let cursor = parse::window(request.before_seq, request.after_seq)?;
    let window = match request.page_token.as_str() {
        "" => cursor,
        token => page::key(token)
            .and_then(|key| key.parse().ok())
            .ok_or_else(|| Error::invalid("page_token", "is not a token of this list"))?,
    };
    Ok(HistoryRequest { window, size, include_siblings: request.include_siblings })
}

/// Reads the role of a member to be.
pub(super) fn role(number: i32) -> Result<MemberRole> {
    Ok(match parse::choice("role", number)? {
        proto::MemberRole::Owner => MemberRole::Owner,
        proto::MemberRole::Member | proto::MemberRole::Unspecified => MemberRole::Member,
        proto::MemberRole::Viewer => MemberRole::Viewer,
    })
}

/// Reads how an export shall be written.
pub(super) fn format(number: i32) -> Result<Format> {
    Ok(match parse::choice("format", number)? {
        proto::ExportFormat::Json | proto::ExportFormat::Unspecified => Format::Json,
        proto::ExportFormat::Markdown => Format::Markdown,
    })
}

fn on_busy_of(on_busy: proto::OnBusy) -> Option<OnBusy> {
    match on_busy {
        proto::OnBusy::Unspecified => None,
        proto::OnBusy::Queue => Some(OnBusy::Queue),
        proto::OnBusy::Reject => Some(OnBusy::Reject),
        proto::OnBusy::Replace => Some(OnBusy::Replace),
    }
}

impl From<OnBusy> for proto::OnBusy {
    fn from(on_busy: OnBusy) -> Self {
        match on_busy {
            OnBusy::Queue => Self::Queue,
            OnBusy::Reject => Self::Reject,
            OnBusy::Replace => Self::Replace,
        }
    }
}

impl From<MemberRole> for proto::MemberRole {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Viewer => Self::Viewer,
            MemberRole::Member => Self::Member,
            MemberRole::Owner => Self::Owner,
        }
    }
}

impl From<Conversation> for proto::Conversation {
    fn from(conversation: Conversation) -> Self {
        Self {
            id: conversation.id.to_string(),
            title: conversation.title,
            model: conversation.model,
            on_busy: proto::OnBusy::from(conversation.on_busy).into(),
            role: proto::MemberRole::from(conversation.role).into(),
            last_seq: conversation.last_seq,
            last_read_seq: conversation.last_read_seq,
            head_message_id: conversation.head_message_id.map(|id| id.to_string()),
            created_at: Some(conversation.created_at.into()),
            updated_at: Some(conversation.updated_at.into()),
        }
    }
}

impl From<Member> for proto::Member {
    fn from(member: Member) -> Self {
        Self {
            user_id: member.user_id.to_string(),
            username: member.username,
            role: proto::MemberRole::from(member.role).into(),
            last_read_seq: member.last_read_seq,
            delivered_seq: member.delivered_seq,
            joined_at: Some(member.joined_at.into()),
        }
    }
}

impl From<Context> for proto::Context {
    fn from(context: Context) -> Self {
        Self {
            id: context.id.to_string(),
            conversation_id: context.conversation_id.to_string(),
            title: context.title,
            content: context.content,
            position: context.position,
            created_at: Some(context.created_at.into()),
        }
    }
}

impl From<History> for proto::ListMessagesResponse {
    fn from(history: History) -> Self {
        Self {
            messages: history.messages.into_iter().map(Into::into).collect(),
            has_more: history.next.is_some(),
            next_page_token: history.next.map(|next| page::token(&next.to_string())).unwrap_or_default(),
        }
    }
}
