//! Watches: streams that show a viewer something without being a connection of the viewer's.

use tokio::time::Instant;

use super::{lanes::Lane, mailbox::Letter, seat::Seat, sessions::Sessions};
use crate::{
    error::{Error, Result},
    lifecycle::Lifecycle,
    model::caller::Caller,
};

/// A watch: a seat, for as long as its viewer may hold it.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) seat: Seat,
    lifecycle: Lifecycle,
    expiry: Instant,
}

impl Watch {
    /// The caller begins to watch.
    pub(super) fn begin(sessions: &Sessions, caller: &Caller) -> Self {
        let expiry = Instant::now() + caller.expires_at.since(sessions.clock.now());
        Self { seat: sessions.seat(caller), lifecycle: sessions.lifecycle.clone(), expiry }
    }

    /// What ends a watch that cannot show everything.
    pub(super) fn broken() -> Error {
        let source = anyhow::anyhow!("the reader is too slow, or the server that nodes share was away");
        Error::Unavailable { part: "stream", source }
    }

    /// What the viewer learns next.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when the credential is no good any more, [`Error::Unavailable`] when the server stops.
    pub(super) async fn next(&mut self) -> Result<Letter> {
        let letter = tokio::select! {
            letter = self.seat.next(Lane::Low) => letter,
            () = tokio::time::sleep_until(self.expiry) => {
                return Err(Error::Unauthenticated("the access token has expired"));
            }
            () = self.lifecycle.stopping().cancelled() => {
                return Err(Error::Unavailable { part: "server", source: anyhow::anyhow!("shutting down") });
            }
        };
        match letter {
            Letter::SignedOut => Err(Error::Unauthenticated("the session has ended")),
            letter => Ok(letter),
        }
    }
}
