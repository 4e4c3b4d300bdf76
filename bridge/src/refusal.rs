//! What the bridge itself refuses, in the words of the contract's `ErrorReason`.

use std::{borrow::Cow, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `google.rpc.ErrorInfo` of this project.
const DOMAIN: &str = "colloquy";

/// When to try again what could not be served.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The reasons of `ErrorReason` that the bridge can find by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    InvalidJson,
    InvalidMessage,
    InvalidMessageType,
    MessageTooLarge,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    ProcessingError,
    Unavailable,
    DeadlineExceeded,
}

impl Reason {
    /// The value's name in `ErrorReason`, without the prefix.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InvalidJson => "INVALID_JSON",
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::InvalidMessageType => "INVALID_MESSAGE_TYPE",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::ProcessingError => "PROCESSING_ERROR",
            Self::Unavailable => "UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
        }
    }

    /// The code that `ErrorReason` documents for it.
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::InvalidJson | Self::InvalidMessage | Self::InvalidMessageType => Code::InvalidArgument,
            Self::MessageTooLarge => Code::ResourceExhausted,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::ProcessingError => Code::Internal,
            Self::Unavailable => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
        }
    }
}

/// Something refused: why, in a sentence, and which field is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: Cow<'static, str>,
    pub(crate) field: Option<FieldFault>,
}

/// A field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldFault {
    pub(crate) name: String,
    pub(crate) description: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), field: None }
    }

    /// An INVALID_MESSAGE about one field.
    pub(crate) fn field(name: impl Into<String>, description: impl Into<String>) -> Self {
        let (name, description) = (name.into(), description.into());
        Self {
            reason: Reason::InvalidMessage,
            message: format!("{name}: {description}").into(),
            field: Some(FieldFault { name, description }),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = ErrorDetails::with_error_info(refusal.reason.name(), DOMAIN, []);
        if refusal.reason == Reason::Unavailable {
            details.set_retry_info(Some(RETRY_DELAY));
        }
        if let Some(field) = refusal.field {
            details.add_bad_request_violation(field.name, field.description);
        }
        Self::with_error_details(refusal.reason.code(), refusal.message, details)
    }
}

/// The reason that `status` gives, or the one that its code stands for.
pub(crate) fn reason_of(status: &Status) -> Cow<'static, str> {
    match status.get_details_error_info() {
        Some(info) if !info.reason.is_empty() => info.reason.into(),
        _ => default_reason(status.code()).into(),
    }
}

/// Whether the same call may succeed later.
pub(crate) fn is_retryable(code: Code) -> bool {
    match code {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => true,
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

fn default_reason(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument | Code::OutOfRange => "INVALID_MESSAGE",
        Code::NotFound | Code::Unimplemented => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::ResourceExhausted => "RATE_LIMIT_EXCEEDED",
        Code::FailedPrecondition | Code::Aborted => "FAILED_PRECONDITION",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Unavailable | Code::Cancelled => "UNAVAILABLE",
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => "PROCESSING_ERROR",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn every_reason_is_one_of_the_contract() {
        let reasons = Schema::load().unwrap().pool.get_enum_by_name("colloquy.v1.ErrorReason").unwrap();
        let own = [
            Reason::InvalidJson,
            Reason::InvalidMessage,
            Reason::InvalidMessageType,
            Reason::MessageTooLarge,
            Reason::Unauthenticated,
            Reason::PermissionDenied,
            Reason::NotFound,
            Reason::ProcessingError,
            Reason::Unavailable,
            Reason::DeadlineExceeded,
        ];
        let codes = (0..=16).map(|code| default_reason(Code::from_i32(code)));
        for name in own.map(Reason::name).into_iter().chain(codes) {
            assert!(reasons.get_value_by_name(&format!("ERROR_REASON_{name}")).is_some(), "{name}");
        }
    }

    #[test]
    fn a_status_keeps_its_reason_and_gets_one_where_it_has_none() {
        assert_eq!(reason_of(&Refusal::new(Reason::InvalidJson, "no").into()), "INVALID_JSON");
        assert_eq!(reason_of(&Status::resource_exhausted("slow down")), "RATE_LIMIT_EXCEEDED");
    }
}
