//! Tickets that wait in this process.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::sync::Mutex;

use super::Grant;
use crate::model::{clock::Timestamp, credential::Digest};

/// Tickets that wait at most; one more drops the oldest.
const CAPACITY: usize = 100_000;

/// Keeps tickets until they are redeemed or expire.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Waiting>);

/// Tickets not yet redeemed. All live equally long: the order in which they were issued is that in which they expire.
#[derive(Debug, Default)]
struct Waiting {
    grants: HashMap<Digest, Grant>,
    expiries: VecDeque<(Timestamp, Digest)>,
}

impl Memory {
    pub(super) async fn put(&self, ticket: &str, grant: Grant, now: Timestamp, ttl: Duration) {
        let digest = Digest::of(ticket);
        let mut waiting = self.0.lock().await;
        waiting.expire(now);
        if waiting.expiries.len() >= CAPACITY {
            waiting.drop_oldest();
        }
        waiting.expiries.push_back((now + ttl, digest));
        waiting.grants.insert(digest, grant);
    }

    pub(super) async fn take(&self, ticket: &str, now: Timestamp) -> Option<Grant> {
        let mut waiting = self.0.lock().await;
        waiting.expire(now);
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
    use crate::model::{clock::Clock, ids::SessionId};

    #[tokio::test]
    async fn a_ticket_expires_and_leaves_nothing_behind() {
        let memory = Memory::default();
        let now = Clock::default().now();
        let grant = Grant { session_id: SessionId::generate(), expires_at: now };
        memory.put("ticket", grant, now, Duration::from_secs(1)).await;
        assert_eq!(memory.take("ticket", now + Duration::from_secs(1)).await, None);
        let waiting = memory.0.lock().await;
        assert!(waiting.grants.is_empty() && waiting.expiries.is_empty());
    }
}
