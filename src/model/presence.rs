//! Presence: whether people are there, and what they say about it.

use serde::{Deserialize, Serialize};

use super::{clock::Timestamp, ids::UserId};

/// Whether a user is there, as others see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Connected.
    #[default]
    Online,
    /// Connected, and silent for a while, or away by choice.
    Away,
    /// Connected, and not to be disturbed.
    Busy,
    /// Not connected, or not to be seen.
    Offline,
}

impl Status {
    /// As it is kept.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "online" => Ok(Self::Online),
            "away" => Ok(Self::Away),
            "busy" => Ok(Self::Busy),
            "offline" => Ok(Self::Offline),
            other => Err(format!("unknown status {other:?}")),
        }
    }
}

/// A user whose status has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// Who.
    pub user_id: UserId,
    /// What the user is now.
    pub status: Status,
    /// When the user was last active, to the minute while the user is; `None` when nobody knows.
    pub last_seen: Option<Timestamp>,
}

/// A member of a conversation, as the others see whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPresence {
    /// Who.
    pub user_id: UserId,
    /// The user's name.
    pub username: String,
    /// What the user is.
    pub status: Status,
    /// When the user was last active, to the minute while the user is; `None` when nobody knows.
    pub last_seen: Option<Timestamp>,
}
