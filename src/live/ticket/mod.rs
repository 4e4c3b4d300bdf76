//! Tickets: short-lived credentials, each of which opens one live connection.

mod memory;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use self::memory::Memory;
use super::redis::{Away, Redis};
use crate::{
    error::{Error, Result},
    model::{
        clock::{Clock, Timestamp},
        credential::{self, Digest},
        ids::SessionId,
    },
};

/// What a ticket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The signed-in session that asked for it.
    pub session_id: SessionId,
    /// When the access token expires that it stands in for.
    pub expires_at: Timestamp,
}

/// Issues and redeems tickets. Cheap to clone.
///
/// With Redis a ticket is good on every node; while it is away, on the node that issued it.
#[derive(Clone, Debug)]
pub struct Tickets {
    clock: Clock,
    ttl: Duration,
    redis: Option<Redis>,
    memory: Arc<Memory>,
}

impl Tickets {
    /// Tickets that are good for `ttl`.
    pub fn new(clock: Clock, redis: Option<Redis>, ttl: Duration) -> Self {
        Self { clock, ttl, redis, memory: Arc::default() }
    }

    /// How long a ticket is good.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A new ticket for this grant.
    pub async fn issue(&self, grant: Grant) -> String {
        if let Some(redis) = self.redis.as_ref().filter(|_| !self.ttl.is_zero()) {
            let ticket = credential::generate(credential::TICKET);
            if self.share(redis, &ticket, grant).await.is_ok() {
                return ticket;
            }
            // It may be on the server all the same: kept here as well, it would be good twice.
        }
        let ticket = credential::generate(credential::TICKET);
        self.memory.put(&ticket, grant, self.clock.now(), self.ttl).await;
        ticket
    }

    /// What the ticket stands for; it is used up. `None` when it was before, or has expired.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when only the shared server can tell, and it is away.
    pub async fn redeem(&self, ticket: &str) -> Result<Option<Grant>> {
        let here = self.memory.take(ticket, self.clock.now()).await;
        let Some(redis) = self.redis.as_ref().filter(|_| here.is_none()) else { return Ok(here) };
        let take = redis::Cmd::new().arg("GETDEL").arg(redis.keys().ticket(&Digest::of(ticket))).to_owned();
        let taken: Option<String> = redis.command("take_ticket", &take).await.map_err(|Away| Error::Unavailable {
            part: "keeper of tickets",
            source: anyhow::anyhow!("redis is away"),
        })?;
        taken.map(|text| serde_json::from_str(&text).map_err(Error::internal)).transpose()
    }

    async fn share(&self, redis: &Redis, ticket: &str, grant: Grant) -> Result<(), Away> {
        let Ok(text) = serde_json::to_string(&grant) else { return Err(Away) };
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let put = redis::Cmd::new()
            .arg("SET")
            .arg(redis.keys().ticket(&Digest::of(ticket)))
            .arg(text)
            .arg("PX")
            .arg(ttl_ms)
            .to_owned();
        redis.command("put_ticket", &put).await
    }
}
