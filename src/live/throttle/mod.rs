//! Sign-in attempts in a sliding window, by account and by address.

mod memory;
mod shared;

use std::time::Duration;

use self::memory::Memory;
use super::redis::Redis;
use crate::{
    error::{Error, Result},
    model::{
        clock::{Clock, Timestamp},
        credential::Digest,
        limit::Network,
    },
};

/// Attempts that may fail within the window.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleLimits {
    /// For one account.
    pub per_account: u32,
    /// From one address.
    pub per_address: u32,
    /// How long a failure counts.
    pub window: Duration,
}

/// Holds sign-in back after too many failures. Cheap to clone.
///
/// An attempt counts as failed from the moment it is admitted until it is forgiven, so that many at once are no way
/// around the limits. With Redis all nodes count together; while it is away, each counts what it sees itself.
#[derive(Clone, Debug)]
pub struct Throttle {
    clock: Clock,
    limits: ThrottleLimits,
    redis: Option<Redis>,
    memory: Memory,
}

/// Whose attempts are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// The name as it was typed, whether or not anybody has it: an answer must not tell.
    Account(Digest),
    /// Where it comes from.
    Address(Network),
}

/// An attempt to sign in.
#[derive(Clone, Debug)]
struct Attempt {
    account: Subject,
    address: Option<Subject>,
    at: Timestamp,
}

impl Throttle {
    /// Counts nobody yet.
    pub fn new(clock: Clock, redis: Option<Redis>, limits: ThrottleLimits) -> Self {
        Self { clock, limits, redis, memory: Memory::new(limits) }
    }

    /// The same counts, by another clock.
    #[must_use]
    pub fn by(&self, clock: Clock) -> Self {
        Self { clock, ..self.clone() }
    }

    /// Counts an attempt to sign in as `account` from `address`, which may be empty when it is unknown.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when there were too many; then this one does not count.
    pub async fn admit(&self, account: &str, address: &str) -> Result<()> {
        let attempt = self.attempt(account, address);
        let shared = match &self.redis {
            Some(redis) => shared::admit(redis, &self.limits, &attempt).await.ok(),
            None => None,
        };
        let oldest = match shared {
            Some(oldest) => oldest,
            None => self.memory.admit(&attempt).await,
        };
        match oldest {
            Some(oldest) => Err(Error::RateLimited {
                subject: "sign-in".to_owned(),
                rate: None,
                retry_after: (oldest + self.limits.window).since(attempt.at),
            }),
            None => Ok(()),
        }
    }

    /// Forgives a success: all that failed for the account, and this one attempt from the address.
    pub async fn forgive(&self, account: &str, address: &str) {
        let attempt = self.attempt(account, address);
        if let Some(redis) = &self.redis {
            // What was counted here while the server was away is forgiven below.
            let _ = shared::forgive(redis, &attempt).await;
        }
        self.memory.forgive(&attempt).await;
    }

    fn attempt(&self, account: &str, address: &str) -> Attempt {
        Attempt {
            account: subject_of_account(account),
            address: address.parse().ok().map(Subject::Address),
            at: self.clock.now(),
        }
    }
}

fn subject_of_account(account: &str) -> Subject {
    Subject::Account(Digest::of(&account.to_lowercase()))
}
