//! The audit log: what admins did and tried, and what the operator did at the machine.

use std::{collections::BTreeMap, fmt};

use uuid::Uuid;

use super::{
    caller::{Caller, Origin},
    clock::Timestamp,
    ids::{AuditId, ConnectionId, EventId, UserId},
};

/// What an admin or the operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes a user an admin.
    PromoteUser,
    /// Makes an admin a user.
    DemoteUser,
    /// Keeps a user out.
    DeactivateUser,
    /// Lets a user in again.
    ActivateUser,
    /// Forgets what a user has sent.
    ResetRateLimits,
    /// Ends a live connection.
    CloseConnection,
    /// Tells everyone something.
    Broadcast,
    /// Makes an account of a service.
    CreateServiceAccount,
    /// Ends an account of a service.
    DeleteServiceAccount,
    /// Makes an admin's account, from the settings or by a command.
    CreateAdmin,
    /// Prints an access token for somebody's account.
    IssueToken,
}

impl Action {
    /// As it is stored, and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PromoteUser => "user.promote",
            Self::DemoteUser => "user.demote",
            Self::DeactivateUser => "user.deactivate",
            Self::ActivateUser => "user.activate",
            Self::ResetRateLimits => "rate_limits.reset",
            Self::CloseConnection => "connection.close",
            Self::Broadcast => "broadcast",
            Self::CreateServiceAccount => "service_account.create",
            Self::DeleteServiceAccount => "service_account.delete",
            Self::CreateAdmin => "admin.create",
            Self::IssueToken => "token.issue",
        }
    }
}

/// On whom or what something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is, in one word.
    pub kind: String,
    /// Which.
    pub id: String,
}

impl Target {
    /// The account of a service.
    pub fn service_account(id: UserId) -> Self {
        Self { kind: "service_account".to_owned(), id: id.to_string() }
    }

    /// The target that is written so; a text without a kind is an id alone.
    pub fn parse(text: &str) -> (Option<&str>, &str) {
        text.split_once(':').map_or((None, text), |(kind, id)| (Some(kind), id))
    }
}

impl From<UserId> for Target {
    fn from(id: UserId) -> Self {
        Self { kind: "user".to_owned(), id: id.to_string() }
    }
}

impl From<ConnectionId> for Target {
    fn from(id: ConnectionId) -> Self {
        Self { kind: "connection".to_owned(), id: id.to_string() }
    }
}

impl From<EventId> for Target {
    fn from(id: EventId) -> Self {
        Self { kind: "event".to_owned(), id: id.to_string() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind, self.id)
    }
}

/// An act that is about to be done or refused.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who acts; [`Uuid::nil`] for the operator.
    pub admin_id: UserId,
    /// What is done.
    pub action: Action,
    /// On whom or what.
    pub target: Target,
    /// From where, and by which request.
    pub origin: Origin,
}

impl Act {
    /// What this caller does.
    pub fn of(caller: &Caller, origin: Origin, action: Action, target: impl Into<Target>) -> Self {
        Self { admin_id: caller.user_id, action, target: target.into(), origin }
    }

    /// What the operator does at the machine: by nobody's account, from no address, by no request.
    pub fn of_operator(action: Action, target: impl Into<Target>) -> Self {
        let admin_id = UserId::from_uuid(Uuid::nil());
        Self { admin_id, action, target: target.into(), origin: Origin::default() }
    }
}

/// More about an act, by name.
pub type Details = BTreeMap<String, String>;

/// Details of these names.
pub fn details<const N: usize>(named: [(&str, &str); N]) -> Details {
    named.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

/// An act that was done or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Names the entry.
    pub id: AuditId,
    /// When.
    pub created_at: Timestamp,
    /// Who; [`Uuid::nil`] for the operator.
    pub admin_id: UserId,
    /// What, as [`Action::as_str`] has it.
    pub action: String,
    /// On whom or what.
    pub target: Target,
    /// The admin's address; empty when it is not known.
    pub address: String,
    /// The request by which it was done.
    pub request_id: String,
    /// `ok`, or the reason for which it was refused.
    pub result: String,
    /// More about it.
    pub details: Details,
}

/// Which entries of the log; `None` lets all pass.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Who.
    pub admin_id: Option<UserId>,
    /// What.
    pub action: Option<String>,
    /// On whom or what: a kind and an id, or an id alone.
    pub target: Option<String>,
    /// From then on.
    pub from: Option<Timestamp>,
    /// Before then.
    pub to: Option<Timestamp>,
}
