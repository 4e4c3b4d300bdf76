//! The one error of the domain, by what the caller can do about it.

use std::time::Duration;

use crate::model::{ids::UserId, limit::Rate, scope::Scope};

/// A fault of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the contract names it.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Why an act failed. The text is for the caller; sources are for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields are missing, malformed or out of range: mend them.
    #[error("{}", describe(.0))]
    Invalid(Vec<Violation>),
    /// The bytes of the request are not a message of the call: send what the contract says.
    #[error("the request is not a message of this call")]
    Malformed,
    /// The request is larger than it may be.
    #[error("the request is larger than it may be")]
    TooLarge,
    /// The content policy refuses the text of this field.
    #[error("{0} holds markup that is not accepted here")]
    ContentRejected(&'static str),
    /// The credential is missing, wrong, expired or revoked: sign in.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller may see the resource but not do this.
    #[error("{0}")]
    PermissionDenied(&'static str),
    /// The API key is not good for this: have its service account made with the scope, if there is one.
    #[error("{}", unscoped(.0))]
    OutOfScope(Option<Scope>),
    /// There is no such thing, or it is not the caller's to know of.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A unique name is taken.
    #[error("this {0} is already taken")]
    AlreadyExists(&'static str),
    /// The conversation answers another message and does not queue.
    #[error("the conversation is answering another message")]
    ConversationBusy,
    /// The resource is not in the state that the act needs.
    #[error("{0}")]
    FailedPrecondition(&'static str),
    /// Too many tries: come back later.
    #[error("too many tries, come back in {} s", .retry_after.as_secs_f64().ceil())]
    RateLimited {
        /// Whose.
        subject: String,
        /// The limit that is reached; `None` for who was told to wait and did not.
        rate: Option<Rate>,
        /// When to come back.
        retry_after: Duration,
    },
    /// A connection went on although it was told to wait, time and again: it ends.
    #[error("too many frames while told to wait, come back in {} s", .retry_after.as_secs_f64().ceil())]
    Flooded {
        /// When to come back.
        retry_after: Duration,
    },
    /// The user has used up the tokens of the day: come back on the next.
    #[error("the day's {tokens} tokens are used up, come back in {} s", .retry_after.as_secs_f64().ceil())]
    QuotaExceeded {
        /// Whose.
        user_id: UserId,
        /// What a day has.
        tokens: i64,
        /// How long this day lasts.
        retry_after: Duration,
    },
    /// Too many live connections.
    #[error("too many live connections of this {0}")]
    ConnectionLimit(&'static str),
    /// The call took longer than it may.
    #[error("the call took longer than it may")]
    DeadlineExceeded,
    /// A part that the act needs does not answer: come back later.
    #[error("the {part} does not answer")]
    Unavailable {
        /// Which part.
        part: &'static str,
        /// What it said.
        #[source]
        source: anyhow::Error,
    },
    /// The server failed.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    /// What members hear who may do less than the act needs.
    pub(crate) const ROLE: Self = Self::PermissionDenied("your role does not allow this");

    /// Its reason, as the contract names it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Malformed => "INVALID_MESSAGE",
            Self::TooLarge => "MESSAGE_TOO_LARGE",
            Self::ContentRejected(_) => "CONTENT_REJECTED",
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::PermissionDenied(_) | Self::OutOfScope(_) => "PERMISSION_DENIED",
            Self::NotFound(_) => "NOT_FOUND",
            Self::AlreadyExists(_) => "ALREADY_EXISTS",
            Self::ConversationBusy => "CONVERSATION_BUSY",
            Self::FailedPrecondition(_) => "FAILED_PRECONDITION",
            Self::RateLimited { .. } | Self::Flooded { .. } => "RATE_LIMIT_EXCEEDED",
            Self::QuotaExceeded { .. } => "QUOTA_EXCEEDED",
            Self::ConnectionLimit(_) => "CONNECTION_LIMIT_EXCEEDED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Internal(_) => "PROCESSING_ERROR",
        }
    }

    /// A fault of one field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// Every fault of several fields at once, as (field, what is wrong with it).
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is any.
    pub fn of_faults<const N: usize>(faults: [(&str, Option<&str>); N]) -> Result<()> {
        let found = faults.into_iter().filter_map(|(field, fault)| {
            fault.map(|description| Violation { field: field.to_owned(), description: description.to_owned() })
        });
        let violations: Vec<_> = found.collect();
        if violations.is_empty() { Ok(()) } else { Err(Self::Invalid(violations)) }
    }

    /// The same, where the contract calls a field something else than the rules do.
    #[must_use]
    pub fn with_field(self, name: &str, as_written: &'static str) -> Self {
        match self {
            Self::Invalid(mut violations) => {
                for violation in violations.iter_mut().filter(|violation| violation.field == name) {
                    as_written.clone_into(&mut violation.field);
                }
                Self::Invalid(violations)
            }
            Self::ContentRejected(field) if field == name => Self::ContentRejected(as_written),
            other => other,
        }
    }

    /// A state that cannot be, in a sentence for the log.
    pub fn internal(what: impl Into<anyhow::Error>) -> Self {
        Self::Internal(what.into())
    }
}

fn unscoped(scope: &Option<Scope>) -> String {
    match scope {
        Some(scope) => format!("the API key has not the scope {scope}"),
        None => "this is not for service accounts".to_owned(),
    }
}

fn describe(violations: &[Violation]) -> String {
    let texts: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    texts.join("; ")
}

/// What most of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
