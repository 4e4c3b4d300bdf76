//! Signed-in sessions: what one sign-in opened.

use super::{
    clock::Timestamp,
    ids::{SessionId, UserId},
    scope::Scopes,
    user::Role,
};

/// A signed-in session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Names the session.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The client's own description at sign-in.
    pub user_agent: String,
    /// The client's address at sign-in.
    pub address: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When a token of it was last refreshed.
    pub last_used_at: Timestamp,
    /// When it ends unless it is refreshed.
    pub expires_at: Timestamp,
}

/// Who a signed-in session acts as, as of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub user_id: UserId,
    /// The account's name.
    pub username: String,
    /// What the account may do.
    pub role: Role,
    /// What its API key is good for; `None` for people.
    pub scopes: Option<Scopes>,
}
