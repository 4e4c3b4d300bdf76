//! What a client can do wrong below its messages.

use std::io;

use tokio_tungstenite::tungstenite::{
    Error,
    error::ProtocolError,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// Bytes of a client that cannot be read as messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// 1002: the frames are not those of a client.
    #[error("protocol error")]
    Protocol,
    /// 1007: a text was not UTF-8.
    #[error("not UTF-8")]
    Text,
    /// 1007: a compressed message was not compressed.
    #[error("cannot be inflated")]
    Deflate,
    /// 1009: a message was larger than is read at all.
    #[error("message too large")]
    Size,
}

impl Violation {
    /// What an error while reading says of the client; `None` when it is not there any more.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Capacity(_) => Some(Self::Size),
            Error::Utf8(_) => Some(Self::Text),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            Error::Protocol(_) => Some(Self::Protocol),
            Error::Io(error) => error.get_ref()?.downcast_ref().copied(),
            _ => None,
        }
    }

    /// How the socket is closed.
    pub fn close(self) -> CloseFrame {
        let code = match self {
            Self::Protocol => CloseCode::Protocol,
            Self::Text | Self::Deflate => CloseCode::Invalid,
            Self::Size => CloseCode::Size,
        };
        CloseFrame { code, reason: self.to_string().into() }
    }
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}
