//! How a socket ends: what the client is told, and the close code that says whether to come back.

use tokio_tungstenite::tungstenite::{
    Error,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::fault::Fault;
use crate::{
    refusal::{Reason, Refusal, reason_of},
    websocket::Violation,
};

const CONNECTION_LIMIT_EXCEEDED: &str = "CONNECTION_LIMIT_EXCEEDED";
const RATE_LIMIT_EXCEEDED: &str = "RATE_LIMIT_EXCEEDED";
/// The metadata of these reasons that says whose limit it is.
const LIMIT: &str = "limit";

/// The last words of a socket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Farewell {
    /// An error frame that comes before the close.
    pub(crate) fault: Option<Fault>,
    /// What the client should do.
    pub(crate) code: Close,
}

/// Close codes. 3000 to 3499 mean "come back", 3500 to 3999 "do not".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// 1000: the session has ended.
    Normal,
    /// 1001: the server stops.
    GoingAway,
    /// 1008: the credential is no good, or the client sent rubbish, or far too much, time and again.
    Policy,
    /// 1002, 1007 or 1009: what the client sent cannot be read.
    Unreadable(Violation),
    /// 3000: the core said `reconnect`, or the bridge did when it stopped.
    Reconnect,
    /// 3001: the core is lost or failed.
    Unavailable,
    /// 3002: the client was silent for too long.
    Silence,
    /// 3500: the session was refused for good.
    Refused,
    /// 4429: the user or the address has too many connections.
    TooMany,
    /// 4503: the node has too many connections.
    NodeFull,
}

impl Close {
    pub(crate) fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::Normal => (CloseCode::Normal, "bye"),
            Self::GoingAway => (CloseCode::Away, "the server stops"),
            Self::Policy => (CloseCode::Policy, "not allowed"),
            Self::Unreadable(violation) => return violation.close(),
            Self::Reconnect => (CloseCode::from(3000), "reconnect"),
            Self::Unavailable => (CloseCode::from(3001), "unavailable, reconnect"),
            Self::Silence => (CloseCode::from(3002), "silent for too long"),
            Self::Refused => (CloseCode::from(3500), "refused"),
            Self::TooMany => (CloseCode::from(4429), "too many connections"),
            Self::NodeFull => (CloseCode::from(4503), "node full, reconnect later"),
        };
        CloseFrame { code, reason: reason.into() }
    }
}

impl From<Close> for Farewell {
    fn from(code: Close) -> Self {
        Self { fault: None, code }
    }
}

impl Farewell {
    /// A socket that showed no credential.
    pub(crate) fn no_credential() -> Self {
        let refusal = Refusal::new(Reason::Unauthenticated, "no token or ticket was shown");
        Self { fault: Some(refusal.into()), code: Close::Policy }
    }

    /// A client that was borne with for too long.
    pub(crate) fn abuse(why: &'static str) -> Self {
        let refusal = Refusal::new(Reason::InvalidMessage, why);
        Self { fault: Some(refusal.into()), code: Close::Policy }
    }

    /// A session that the core refused or ended.
    pub(crate) fn of_status(status: &Status) -> Self {
        let told = |code| Self { fault: Some(status.into()), code };
        match status.code() {
            Code::Ok => Close::Normal.into(),
            Code::Unauthenticated => Close::Policy.into(),
            Code::ResourceExhausted => {
                let info = status.get_details_error_info();
                let reason = info.as_ref().map_or("", |info| &info.reason);
                let limit = info.as_ref().and_then(|info| info.metadata.get(LIMIT)).map(String::as_str);
                told(match (reason, limit) {
                    (CONNECTION_LIMIT_EXCEEDED, Some("node")) => Close::NodeFull,
                    (CONNECTION_LIMIT_EXCEEDED, _) => Close::TooMany,
                    // It sent on and on although it was told to wait.
                    (RATE_LIMIT_EXCEEDED, Some("connection")) => Close::Policy,
                    _ => Close::Unavailable,
                })
            }
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented => told(Close::Refused),
            Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => {
                tracing::warn!(reason = %reason_of(status), "a session was lost");
                Close::Unavailable.into()
            }
        }
    }

    /// What a client hears whose bytes could not be read; `None` when it is not there any more.
    pub(crate) fn of_error(error: &Error) -> Option<Self> {
        Violation::of(error).map(|violation| Close::Unreadable(violation).into())
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_end_of_a_session_says_whether_to_come_back() {
        let table = [
            (Code::Ok, 1000, false),
            (Code::Cancelled, 3001, false),
            (Code::Unknown, 3001, false),
            (Code::InvalidArgument, 3500, true),
            (Code::DeadlineExceeded, 3001, false),
            (Code::NotFound, 3500, true),
            (Code::AlreadyExists, 3500, true),
            (Code::PermissionDenied, 3500, true),
            (Code::ResourceExhausted, 3001, true),
            (Code::FailedPrecondition, 3500, true),
            (Code::Aborted, 3001, false),
            (Code::OutOfRange, 3500, true),
            (Code::Unimplemented, 3500, true),
            (Code::Internal, 3001, false),
            (Code::Unavailable, 3001, false),
            (Code::DataLoss, 3001, false),
            (Code::Unauthenticated, 1008, false),
        ];
        for (code, close, told) in table {
            let farewell = Farewell::of_status(&Status::new(code, "why"));
            assert_eq!(u16::from(farewell.code.frame().code), close, "{code:?}");
            assert_eq!(farewell.fault.is_some(), told, "{code:?}");
        }
    }

    #[test]
    fn whose_limit_is_reached_decides_how_a_socket_closes() {
        for (reason, limit, close) in [
            (CONNECTION_LIMIT_EXCEEDED, "node", 4503),
            (CONNECTION_LIMIT_EXCEEDED, "user", 4429),
            (CONNECTION_LIMIT_EXCEEDED, "address", 4429),
            (RATE_LIMIT_EXCEEDED, "connection", 1008),
            (RATE_LIMIT_EXCEEDED, "", 3001),
        ] {
            let details = ErrorDetails::with_error_info(reason, "colloquy", [("limit".into(), limit.into())]);
            let status = Status::with_error_details(Code::ResourceExhausted, "too many", details);
            let farewell = Farewell::of_status(&status);
            assert_eq!(u16::from(farewell.code.frame().code), close, "{reason} {limit}");
            assert_eq!(farewell.fault.unwrap().code, reason);
        }
    }
}
