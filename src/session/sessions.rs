//! What every live connection of this node uses.

use std::future::Future;

use tracing::Instrument as _;

use super::{analytics::Analytics, flight::Flights, health::Standards, hub::Hub, limits::Entrance, seat::Seat};
use crate::{
    error::{Error, Result},
    lifecycle::Lifecycle,
    live::{
        bus::Bus,
        place::Places,
        presence::{Presence, typing::Typing},
        report::Reports,
        signal::Signals,
    },
    model::{
        caller::{Caller, Origin},
        clock::Clock,
    },
    service::{
        access::Access, accounts::Accounts, deliveries::Deliveries, events::Events, history::Histories, limits::Limits,
        messages::Messages, notifications::Notifications, presence::Presences, runs::Runs,
    },
};

/// The least time over which viewers come back whom a node sends away together, in milliseconds.
const LEAST_SPREAD_MS: u64 = 1000;
/// The most.
const MOST_SPREAD_MS: u64 = 60_000;

/// How connections are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Pings of a connection in a second that do not count.
    pub free_pings: u32,
    /// Bytes of what a viewer missed that are looked up at once.
    pub page_bytes: usize,
    /// Viewers sent away together come back at about this rate.
    pub reconnects_per_second: u32,
    /// Failed sends in a row after which nothing more is sent to a viewer until it answers a ping.
    pub breaker_failures: u32,
    /// How connections are judged.
    pub standards: Standards,
}

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
    /// Knows what has reached whom.
    pub deliveries: Deliveries,
    /// Publishes events.
    pub events: Events,
    /// Keeps what users are notified of.
    pub notifications: Notifications,
    /// Follows answers.
    pub runs: Runs,
    /// How much may be sent.
    pub limits: Limits,
    /// How connections are kept.
    pub rules: Rules,
    /// How many may be connected.
    pub places: Places,
    /// Who is there.
    pub presence: Presence,
    /// Who writes.
    pub typing: Typing,
    /// Who sees who is there.
    pub presences: Presences,
    /// Counts what passes.
    pub analytics: Analytics,
    /// What passed on connections that have ended.
    pub flights: Flights,
    /// What other nodes count.
    pub reports: Reports,
    /// Tells all nodes what ends.
    pub signals: Signals,
    /// The name of this node.
    pub node: String,
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

    /// Lets a caller in, if there is a place.
    ///
    /// # Errors
    /// [`Error::ConnectionLimit`] when there is none.
    pub async fn enter(&self, caller: &Caller, origin: &Origin) -> Result<Entrance> {
        let network = origin.address.parse().ok();
        let place = self.places.take(caller.user_id, network).await?;
        Ok(Entrance { network, place })
    }

    /// When a viewer is to come back that is sent away together with all others of this node, in milliseconds: at a random
    /// moment, so that they do not come faster than they can be let in.
    pub(super) fn reconnect_after_ms(&self) -> i64 {
        let spread = self.hub.len() as u64 * 1000 / u64::from(self.rules.reconnects_per_second);
        rand::random_range(0..spread.clamp(LEAST_SPREAD_MS, MOST_SPREAD_MS)).cast_signed()
    }

    /// Runs an act on a task of its own: a viewer who goes away must not leave it half done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        act: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.lifecycle.spawn(act.in_current_span()).await.map_err(Error::internal)?
    }
}
