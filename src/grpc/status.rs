//! The one place where a domain error becomes a gRPC status.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::error::Error;

/// The domain of every `google.rpc.ErrorInfo` of this service.
pub(crate) const DOMAIN: &str = "colloquy";

/// What is wrong with a field that the content policy refuses.
pub(super) const MARKUP: &str = "holds markup that is not accepted here";

/// When to try again what did not answer.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// Logs what the caller must not see; for errors that are the server's own.
pub(crate) fn log(error: &Error) {
    match error {
        Error::Internal(source) => tracing::error!(error = format!("{source:#}"), "call failed"),
        Error::Unavailable { part, source } => {
            tracing::warn!(part, error = format!("{source:#}"), "part does not answer")
        }
        _ => {}
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        log(&error);
        let code = match &error {
            Error::Invalid(_) | Error::Malformed | Error::ContentRejected(_) => Code::InvalidArgument,
            Error::Unauthenticated(_) => Code::Unauthenticated,
            Error::PermissionDenied(_) | Error::OutOfScope(_) => Code::PermissionDenied,
            Error::NotFound(_) => Code::NotFound,
            Error::AlreadyExists(_) => Code::AlreadyExists,
            Error::ConversationBusy => Code::Aborted,
            Error::FailedPrecondition(_) => Code::FailedPrecondition,
            Error::TooLarge
            | Error::RateLimited { .. }
            | Error::Flooded { .. }
            | Error::QuotaExceeded { .. }
            | Error::ConnectionLimit(_) => Code::ResourceExhausted,
            Error::DeadlineExceeded => Code::DeadlineExceeded,
            Error::Unavailable { .. } => Code::Unavailable,
            Error::Internal(_) => Code::Internal,
        };
        let mut metadata = HashMap::new();
        let said = match &error {
            Error::ConnectionLimit(limit) => Some(("limit", *limit)),
            Error::Flooded { .. } => Some(("limit", "connection")),
            Error::OutOfScope(scope) => scope.map(|scope| ("scope", scope.as_str())),
            _ => None,
        };
        metadata.extend(said.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, metadata);
        match &error {
            Error::Invalid(violations) => {
                for violation in violations {
                    details.add_bad_request_violation(&violation.field, &violation.description);
                }
            }
            Error::ContentRejected(field) => {
                details.add_bad_request_violation(*field, MARKUP);
            }
            Error::RateLimited { subject, rate, retry_after } => {
                let rule = rate.map_or_else(|| "told to wait".to_owned(), |rate| rate.to_string());
                details.add_quota_failure_violation(subject, rule);
                details.set_retry_info(Some(*retry_after));
            }
            Error::Flooded { retry_after } => {
                details.set_retry_info(Some(*retry_after));
            }
            Error::ConnectionLimit(limit) => {
                details.add_quota_failure_violation(*limit, error.to_string());
            }
            Error::QuotaExceeded { user_id, tokens, retry_after } => {
                details.add_quota_failure_violation(format!("user:{user_id}"), format!("{tokens} tokens a day"));
                details.set_retry_info(Some(*retry_after));
            }
            Error::Unavailable { .. } => {
                details.set_retry_info(Some(UNAVAILABLE_RETRY));
            }
            _ => {}
        }
        Self::with_error_details(code, error.to_string(), details)
    }
}
