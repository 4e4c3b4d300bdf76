//! Why a provider gave no answer, or only part of one, by what can be done about it.

use std::{error::Error, fmt, time::Duration};

/// The cause of a failure, as the transport tells it.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// What went wrong with an answer.
///
/// Neither text nor sources hold keys or anything of the conversation: a provider's own sentences, which may quote
/// both, are dropped, and only its error code is kept.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No configured provider serves the model.
    #[error("no provider serves the model {0:?}")]
    UnknownModel(String),
    /// The provider refused this request and would refuse it again.
    #[error("the provider refused the request: {0}")]
    Rejected(Reason),
    /// The provider refuses whoever asks it with these settings: the key, its credit, what it may do, or a model that is not
    /// there.
    #[error("the provider does not serve this server: {0}")]
    Denied(Reason),
    /// The provider cannot answer now: no connection, too many requests, overloaded, or its breaker is open.
    #[error("the provider is unavailable: {reason}")]
    Unavailable {
        /// What it said.
        reason: Reason,
        /// Whether and when to try again.
        retry: Retry,
        /// What the transport said, when there was no answer.
        #[source]
        source: Option<Cause>,
    },
    /// One of the four clocks ran out.
    #[error("the provider was too slow: {0}")]
    Timeout(Clock),
    /// The provider's stream cannot be understood or did not come to its end.
    #[error("the provider broke its protocol")]
    Protocol(#[from] Breach),
}

/// What is known of a provider's reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// An HTTP status, and the provider's error code when it gave a plain one.
    Status(u16, Option<String>),
    /// An error event inside a stream that had begun with success.
    Event(Option<String>),
    /// There was no answer.
    NoAnswer,
    /// It failed too often of late and is left alone for a while.
    BreakerOpen,
}

/// What a provider, or its breaker, says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: back off as usual.
    Backoff,
    /// Not before this long.
    After(Duration),
    /// Another try is useless.
    Never,
}

/// The clocks of a provider call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Until the connection stands, TLS included.
    Connect,
    /// From the request until the model says something.
    FirstPiece,
    /// Between one thing that the model says and the next.
    Silence,
    /// For the whole answer, retries included.
    Total,
}

/// How a provider broke its protocol.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// The stream ended, the answer did not.
    #[error("the stream ended before the answer did")]
    Truncated,
    /// The connection broke off.
    #[error("the connection was lost before the answer ended")]
    Lost(#[source] Cause),
    /// An event is not UTF-8, not JSON, or not of the expected form.
    #[error("an event could not be understood")]
    Malformed,
    /// An event or the whole stream is longer than any real answer.
    #[error("the stream is longer than allowed")]
    Oversize,
}

impl Failure {
    /// Whether the same question may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::UnknownModel(_) | Self::Rejected(_) | Self::Denied(_) => false,
            Self::Unavailable { .. } | Self::Timeout(_) | Self::Protocol(_) => true,
        }
    }

    /// Whether the same question may succeed with another provider.
    pub(super) fn falls_back(&self) -> bool {
        match self {
            Self::UnknownModel(_) | Self::Rejected(_) => false,
            Self::Denied(_) | Self::Unavailable { .. } | Self::Timeout(_) | Self::Protocol(_) => true,
        }
    }

    /// The name of this failure in metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownModel(_) => "unknown_model",
            Self::Rejected(_) => "rejected",
            Self::Denied(_) => "denied",
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout(_) => "timeout",
            Self::Protocol(_) => "protocol",
        }
    }

    /// An error that a provider reports inside a stream, by its code.
    ///
    /// Only what says clearly that the request is at fault counts as a refusal. The names are those of the Messages
    /// API and of chat completions; compatible servers use them, or the number of an HTTP status.
    pub(super) fn from_event(code: Option<String>) -> Self {
        const DENIALS: [&str; 4] = ["authentication_error", "billing_error", "permission_error", "not_found_error"];
        const REFUSALS: [&str; 5] = [
            "invalid_request_error",
            "request_too_large",
            "invalid_prompt",
            "context_length_exceeded",
            "exceed_context_size_error",
        ];
        let name = code.as_deref().unwrap_or_default();
        let status = name.parse::<u16>().ok();
        let is_denied = DENIALS.contains(&name) || status.is_some_and(denied);
        let is_refused =
            REFUSALS.contains(&name) || status.is_some_and(|status| (400..500).contains(&status) && !transient(status));
        let reason = Reason::Event(code);
        match (is_denied, is_refused) {
            (true, _) => Self::Denied(reason),
            (false, true) => Self::Rejected(reason),
            (false, false) => Self::Unavailable { reason, retry: Retry::Backoff, source: None },
        }
    }
}

/// Whether an HTTP status says "not now" rather than "no": timeouts, conflicts, limits, and the server's own faults,
/// 529 `overloaded` among them.
pub(super) fn transient(status: u16) -> bool {
    matches!(status, 408 | 409 | 429) || status >= 500
}

/// Whether an HTTP status says that the provider does not serve who asks, whatever is asked: the key, the credit, the
/// permission or the model is at fault.
pub(super) fn denied(status: u16) -> bool {
    matches!(status, 401..=404)
}

/// A provider's error code if it is a plain one. Anything else could quote the request.
pub(super) fn plain_code(code: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=64).contains(&code.len()).then_some(code).filter(|code| code.bytes().all(plain)).map(str::to_owned)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, Some(code)) => write!(f, "status {status}, {code}"),
            Self::Status(status, None) => write!(f, "status {status}"),
            Self::Event(Some(code)) => write!(f, "error event, {code}"),
            Self::Event(None) => f.write_str("error event"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::BreakerOpen => f.write_str("it failed too often, its breaker is open"),
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting took too long",
            Self::FirstPiece => "nothing was said in time",
            Self::Silence => "it fell silent",
            Self::Total => "the answer took too long",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_could_quote_the_request_is_dropped() {
        assert_eq!(plain_code("overloaded_error").as_deref(), Some("overloaded_error"));
        assert_eq!(plain_code("bad key: sk-1"), None);
        assert_eq!(plain_code(&"x".repeat(65)), None);
        assert_eq!(plain_code(""), None);
    }

    #[test]
    fn error_events_are_refusals_only_when_the_request_is_at_fault() {
        for code in ["invalid_request_error", "context_length_exceeded", "400"] {
            let failure = Failure::from_event(Some(code.into()));
            assert!(!failure.retryable() && !failure.falls_back(), "{code}");
        }
        for code in ["authentication_error", "billing_error", "401", "404"] {
            let failure = Failure::from_event(Some(code.into()));
            assert!(!failure.retryable() && failure.falls_back(), "{code}");
        }
        for code in ["overloaded_error", "rate_limit_error", "server_error", "429", "503", "new_kind_of_error"] {
            assert!(Failure::from_event(Some(code.into())).retryable(), "{code}");
        }
        assert!(Failure::from_event(None).retryable());
    }
}
