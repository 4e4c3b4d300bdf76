//! Attempts that are counted in this process.

use std::{collections::VecDeque, sync::Arc};

use moka::future::Cache;
use tokio::sync::Mutex;

use super::{Attempt, Subject, ThrottleLimits};
use crate::model::clock::Timestamp;

/// Accounts and addresses that are remembered at most.
const CAPACITY: u64 = 20_000;

/// Counts attempts.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    limits: ThrottleLimits,
    attempts: Cache<Subject, Arc<Mutex<Attempts>>>,
}

/// When the attempts of the window were, oldest first; never more than the limit.
type Attempts = VecDeque<Timestamp>;

impl Memory {
    pub(super) fn new(limits: ThrottleLimits) -> Self {
        Self { limits, attempts: Cache::builder().max_capacity(CAPACITY).time_to_idle(limits.window).build() }
    }

    /// Counts an attempt, unless there were too many: then the oldest of those is returned.
    pub(super) async fn admit(&self, attempt: &Attempt) -> Option<Timestamp> {
        let account = self.attempts_of(attempt.account.clone()).await;
        let address = match attempt.address.clone() {
            Some(subject) => Some(self.attempts_of(subject).await),
            None => None,
        };
        let mut account = account.lock().await;
        if let Some(oldest) = self.too_many(&mut account, self.limits.per_account, attempt.at) {
            return Some(oldest);
        }
        if let Some(address) = address {
            let mut address = address.lock().await;
            if let Some(oldest) = self.too_many(&mut address, self.limits.per_address, attempt.at) {
                return Some(oldest);
            }
            address.push_back(attempt.at);
        }
        account.push_back(attempt.at);
        None
    }

    /// Forgets all of the account's attempts, and the latest of the address's.
    pub(super) async fn forgive(&self, attempt: &Attempt) {
        self.attempts_of(attempt.account.clone()).await.lock().await.clear();
        if let Some(subject) = attempt.address.clone() {
            self.attempts_of(subject).await.lock().await.pop_back();
        }
    }

    async fn attempts_of(&self, subject: Subject) -> Arc<Mutex<Attempts>> {
        self.attempts.get_with(subject, async { Arc::default() }).await
    }

    /// Forgets what no longer counts; the oldest attempt when `limit` of them still do.
    fn too_many(&self, attempts: &mut Attempts, limit: u32, now: Timestamp) -> Option<Timestamp> {
        while attempts.front().is_some_and(|at| *at + self.limits.window <= now) {
            attempts.pop_front();
        }
        attempts.front().copied().filter(|_| attempts.len() >= limit as usize)
    }
}
