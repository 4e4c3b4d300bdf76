//! Tickets: short-lived credentials, each of which opens one live connection.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Mutex;

use crate::model::{
    clock::{Clock, Timestamp},
    credential::{self, Digest},
    ids::SessionId,
};

/// Tickets that wait at most; one more drops the oldest.
const CAPACITY: usize = 100_000;

/// What a ticket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The signed-in session that asked for it.
    pub session_id: SessionId,
    /// When the access token expires that it stands in for.
    pub expires_at: Timestamp,
}

/// Issues and redeems tickets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tickets {
    clock: Clock,
    ttl: Duration,
    waiting: Arc<Mutex<Waiting>>,
}

/// Tickets not yet redeemed. All live equally long: the order in which they were issued is that in which they expire.
#[derive(Debug, Default)]
struct Waiting {
    grants: HashMap<Digest, Grant>,
    expiries: VecDeque<(Timestamp, Digest)>,
}

impl Tickets {
    /// Tickets that are good for `ttl`.
    pub fn new(clock: Clock, ttl: Duration) -> Self {
        Self { clock, ttl, waiting: Arc::default() }
    }

    /// How long a ticket is good.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A new ticket for this grant.
    pub async fn issue(&self, grant: Grant) -> String {
        let ticket = credential::generate(credential::TICKET);
        let digest = Digest::of(&ticket);
        let now = self.clock.now();
        let mut waiting = self.waiting.lock().await;
        waiting.expire(now);
        if waiting.expiries.len() >= CAPACITY {
            waiting.drop_oldest();
        }
        waiting.expiries.push_back((now + self.ttl, digest));
        waiting.grants.insert(digest, grant);
        ticket
    }

    /// What the ticket stands for; it is used up. `None` when it was before, or has expired.
    pub async fn redeem(&self, ticket: &str) -> Option<Grant> {
        let mut waiting = self.waiting.lock().await;
        waiting.expire(self.clock.now());
        waiting.grants.remove(&Digest::of(ticket))
    }
}

impl Waiting {
    fn expire(&mut self, now: Timestamp) {
        while self.expiries.front().is_some_and(|(expires_at, _)| *expires_at <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, digest)) = self.expiries.pop_front() {
            self.grants.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant { session_id: SessionId::generate(), expires_at: Timestamp::from_micros(0) }
    }

    #[tokio::test]
    async fn a_ticket_is_good_once() {
        let tickets = Tickets::new(Clock::default(), Duration::from_secs(30));
        let grant = grant();
        let ticket = tickets.issue(grant).await;
        assert_eq!(tickets.redeem(&ticket).await, Some(grant));
        assert_eq!(tickets.redeem(&ticket).await, None);
    }

    #[tokio::test]
    async fn a_ticket_expires_and_leaves_nothing_behind() {
        let tickets = Tickets::new(Clock::default(), Duration::ZERO);
        let ticket = tickets.issue(grant()).await;
        assert_eq!(tickets.redeem(&ticket).await, None);
        let waiting = tickets.waiting.lock().await;
        assert!(waiting.grants.is_empty() && waiting.expiries.is_empty());
    }
}
