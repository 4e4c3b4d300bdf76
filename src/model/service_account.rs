//! Service accounts: users that are programs.

use super::{clock::Timestamp, ids::UserId, scope::Scopes};

/// An account of an internal service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The user that it is.
    pub id: UserId,
    /// Its username.
    pub name: String,
    /// What its API key is good for.
    pub scopes: Scopes,
    /// False once deactivated.
    pub is_active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}
