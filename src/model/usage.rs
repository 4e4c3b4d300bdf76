//! What answers cost, and how much of it a day has room for.

use serde::{Deserialize, Serialize};

use super::ids::UserId;

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read by the model.
    pub input_tokens: i64,
    /// Written by the model.
    pub output_tokens: i64,
}

/// What one model cost a user on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyUsage {
    /// `YYYY-MM-DD` UTC.
    pub day: String,
    /// The model's id.
    pub model: String,
    /// The sum over the answers.
    pub usage: Usage,
    /// Answers.
    pub message_count: i64,
}

/// What one model cost one user on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserUsage {
    /// Whose.
    pub user_id: UserId,
    /// What.
    pub daily: DailyUsage,
}

/// Tokens, read and written, that a user has for one UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailyQuota(pub i64);
