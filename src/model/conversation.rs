//! Conversations, their members and contexts.

use super::{
    clock::Timestamp,
    ids::{ContextId, ConversationId, MessageId, UserId},
};

/// What happens to a message that comes while the conversation answers another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// It is answered when the answer before it has ended.
    #[default]
    Queue,
    /// It is refused.
    Reject,
    /// The answer before it is stopped.
    Replace,
}

impl OnBusy {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Reject => "reject",
            Self::Replace => "replace",
        }
    }
}

impl std::str::FromStr for OnBusy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "queue" => Ok(Self::Queue),
            "reject" => Ok(Self::Reject),
            "replace" => Ok(Self::Replace),
            other => Err(format!("unknown on_busy {other:?}")),
        }
    }
}

/// What a member may do; the greater may do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRole {
    /// Read.
    Viewer,
    /// Read and write.
    Member,
    /// Everything.
    Owner,
}

impl MemberRole {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Owner => "owner",
        }
    }
}

impl std::str::FromStr for MemberRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "member" => Ok(Self::Member),
            "owner" => Ok(Self::Owner),
            other => Err(format!("unknown member role {other:?}")),
        }
    }
}

/// The proof that a user belongs to a conversation: finders of what is in it take one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The member.
    pub user_id: UserId,
    /// What the member may do.
    pub role: MemberRole,
}

/// A conversation, as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Names the conversation.
    pub id: ConversationId,
    /// Empty when not set.
    pub title: String,
    /// The model that answers here; `None`: the server's default.
    pub model: Option<String>,
    /// What happens to a message that comes while another is answered.
    pub on_busy: OnBusy,
    /// The member's role.
    pub role: MemberRole,
    /// The highest `seq`; 0 when there is no message yet.
    pub last_seq: i64,
    /// The `seq` up to which the member has read.
    pub last_read_seq: i64,
    /// The end of the chosen path.
    pub head_message_id: Option<MessageId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed or written to.
    pub updated_at: Timestamp,
}

/// A user in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// The user's name.
    pub username: String,
    /// What the user may do.
    pub role: MemberRole,
    /// The `seq` up to which the user has read.
    pub last_read_seq: i64,
    /// The `seq` up to which messages have reached the user.
    pub delivered_seq: i64,
    /// When the user joined.
    pub joined_at: Timestamp,
}

/// A text put before the model ahead of the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Names the context.
    pub id: ContextId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// What the text is called; may be empty.
    pub title: String,
    /// The text.
    pub content: String,
    /// Its place in the order, ascending.
    pub position: i64,
    /// When it was attached.
    pub created_at: Timestamp,
}

/// A conversation to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewConversation {
    /// Empty when not set.
    pub title: String,
    /// The model that answers; `None`: the server's default.
    pub model: Option<String>,
    /// What happens to a message that comes while another is answered.
    pub on_busy: OnBusy,
    /// Members besides the owner.
    pub member_ids: Vec<UserId>,
}

/// What to change of a conversation: the fields that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationChange {
    /// Empty removes it.
    pub title: Option<String>,
    /// The model that answers; `Some(None)`: the server's default.
    pub model: Option<Option<String>>,
    /// What happens to a message that comes while another is answered.
    pub on_busy: Option<OnBusy>,
    /// A message that the chosen path shall lead through, to its latest descendant.
    pub head_message_id: Option<MessageId>,
}
