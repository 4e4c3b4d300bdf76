//! Who calls: what the identity layer makes of a credential, and all that the rules know of it.

use super::{
    clock::Timestamp,
    ids::{SessionId, UserId},
    scope::Scopes,
    user::Role,
};

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user_id: UserId,
    /// The account's name.
    pub username: String,
    /// What the account may do.
    pub role: Role,
    /// What an API key is good for; `None` for people, whom no scope binds.
    pub scopes: Option<Scopes>,
    /// The signed-in session that the credential belongs to, or what stands for one: the id of an account that needs none.
    pub session_id: SessionId,
    /// When the credential expires.
    pub expires_at: Timestamp,
}

/// Where a call comes from, as the edge saw it: for limits, the list of sessions and the audit log, never for access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address; empty when unknown.
    pub address: String,
    /// The client's own description; empty when it gave none.
    pub user_agent: String,
    /// The request by which it came.
    pub request_id: String,
}
