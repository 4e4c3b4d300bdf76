//! Notifications: short texts for one user.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    clock::Timestamp,
    ids::{NotificationId, UserId},
};

/// What a notification is that names no type.
pub const DEFAULT_TYPE: &str = "info";

/// A notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Names it.
    pub id: NotificationId,
    /// Whose it is.
    pub user_id: UserId,
    /// At most 255 characters.
    pub title: String,
    /// At most 10,000 bytes.
    pub content: String,
    /// What kind it is, in its creator's words.
    pub notification_type: String,
    /// What the client offers to do, in its creator's words.
    pub action: Option<Value>,
    /// What it is about.
    pub related: Related,
    /// When its user read it; `None` while it is unread.
    pub read_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Notification {
    /// Roughly what it costs in memory beside its fixed parts, in bytes.
    pub fn weight(&self) -> usize {
        let action = self.action.as_ref().map_or(0, |action| action.to_string().len());
        self.title.len() + self.content.len() + action
    }
}

/// What a notification is about, in its creator's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Related {
    /// What kind of thing.
    pub entity_type: Option<String>,
    /// Which one.
    pub entity_id: Option<String>,
}

/// A notification to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewNotification {
    /// Whom to notify.
    pub user_id: UserId,
    /// As in [`Notification`].
    pub title: String,
    /// As in [`Notification`].
    pub content: String,
    /// As in [`Notification`].
    pub notification_type: String,
    /// As in [`Notification`].
    pub action: Option<Value>,
    /// As in [`Notification`].
    pub related: Related,
    /// By which a retry finds what the first try made.
    pub idempotency_key: Option<String>,
}

/// Which of a user's notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationFilter {
    /// Only unread ones.
    pub is_unread: bool,
    /// Only those of this type.
    pub notification_type: Option<String>,
}
