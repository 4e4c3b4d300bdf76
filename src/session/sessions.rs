//! What every live connection of this node uses.

use std::future::Future;

use tracing::Instrument as _;

use super::{hub::Hub, seat::Seat};
use crate::{
    error::{Error, Result},
    lifecycle::Lifecycle,
    live::bus::Bus,
    model::{caller::Caller, clock::Clock},
    service::{access::Access, accounts::Accounts, history::Histories, messages::Messages, runs::Runs},
};

/// The parts that connections are made of. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    /// Who wants which topics.
    pub hub: Hub,
    /// The topics.
    pub bus: Bus,
    /// Who may see what.
    pub access: Access,
    /// Whose credential is whose.
    pub accounts: Accounts,
    /// Sends.
    pub messages: Messages,
    /// Reads.
    pub histories: Histories,
    /// Follows answers.
    pub runs: Runs,
    /// Tells the time.
    pub clock: Clock,
    /// Runs what must not be cut short, and tells when to stop.
    pub lifecycle: Lifecycle,
}

impl Sessions {
    /// Takes a place for the caller.
    pub fn seat(&self, caller: &Caller) -> Seat {
        Seat::take(self.hub.clone(), self.bus.clone(), caller)
    }

    /// Runs an act on a task of its own: a viewer who goes away must not leave it half done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        act: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.lifecycle.spawn(act.in_current_span()).await.map_err(Error::internal)?
    }
}
