//! Sign-in attempts in a sliding window, by account and by address.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use moka::future::Cache;
use tokio::sync::Mutex;

use crate::{
    error::{Error, Result},
    model::{
        clock::{Clock, Timestamp},
        credential::Digest,
    },
};

/// Accounts and addresses that are remembered at most.
const CAPACITY: u64 = 20_000;

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
/// around the limits.
#[derive(Clone, Debug)]
pub struct Throttle {
    clock: Clock,
    limits: ThrottleLimits,
    attempts: Cache<Subject, Arc<Mutex<Attempts>>>,
}

/// Whose attempts are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// The name as it was typed, whether or not anybody has it: an answer must not tell.
    Account(Digest),
    /// Of IPv6 the network, since a host has as many addresses as it likes.
    Address(IpAddr),
}

/// When the attempts of the window were, oldest first; never more than the limit.
type Attempts = VecDeque<Timestamp>;

impl Throttle {
    /// Counts nobody yet.
    pub fn new(clock: Clock, limits: ThrottleLimits) -> Self {
        let attempts = Cache::builder().max_capacity(CAPACITY).time_to_idle(limits.window).build();
        Self { clock, limits, attempts }
    }

    /// Counts an attempt to sign in as `account` from `address`, which may be empty when it is unknown.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when there were too many; then this one does not count.
    pub async fn admit(&self, account: &str, address: &str) -> Result<()> {
        let now = self.clock.now();
        let account = self.attempts_of(subject_of_account(account)).await;
        let address = match subject_of_address(address) {
            Some(subject) => Some(self.attempts_of(subject).await),
            None => None,
        };
        let mut account = account.lock().await;
        self.room(&mut account, self.limits.per_account, now)?;
        if let Some(address) = address {
            let mut address = address.lock().await;
            self.room(&mut address, self.limits.per_address, now)?;
            address.push_back(now);
        }
        account.push_back(now);
        Ok(())
    }

    /// Forgives a success: all that failed for the account, and this one attempt from the address.
    pub async fn forgive(&self, account: &str, address: &str) {
        self.attempts_of(subject_of_account(account)).await.lock().await.clear();
        if let Some(subject) = subject_of_address(address) {
            self.attempts_of(subject).await.lock().await.pop_back();
        }
    }

    async fn attempts_of(&self, subject: Subject) -> Arc<Mutex<Attempts>> {
        self.attempts.get_with(subject, async { Arc::default() }).await
    }

    /// Forgets what no longer counts; an error when `limit` attempts still do.
    fn room(&self, attempts: &mut Attempts, limit: u32, now: Timestamp) -> Result<()> {
        while attempts.front().is_some_and(|at| *at + self.limits.window <= now) {
            attempts.pop_front();
        }
        match attempts.front() {
            Some(oldest) if attempts.len() >= limit as usize => {
                Err(Error::RateLimited { retry_after: (*oldest + self.limits.window).since(now) })
            }
            _ => Ok(()),
        }
    }
}

fn subject_of_account(account: &str) -> Subject {
    Subject::Account(Digest::of(&account.to_lowercase()))
}

fn subject_of_address(address: &str) -> Option<Subject> {
    let address = match address.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    };
    Some(Subject::Address(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn throttle(per_account: u32, per_address: u32) -> Throttle {
        Throttle::new(Clock::default(), ThrottleLimits { per_account, per_address, window: WINDOW })
    }

    #[tokio::test]
    async fn an_account_is_held_back_from_every_address() {
        let throttle = throttle(2, 10);
        throttle.admit("bob", "192.0.2.1").await.unwrap();
        throttle.admit("BOB", "192.0.2.2").await.unwrap();
        let Err(Error::RateLimited { retry_after }) = throttle.admit("bob", "192.0.2.3").await else {
            panic!("the third attempt must be held back");
        };
        assert!(retry_after <= WINDOW && retry_after > WINDOW / 2, "{retry_after:?}");
        throttle.admit("eve", "192.0.2.3").await.unwrap();
    }

    #[tokio::test]
    async fn a_network_is_held_back_from_every_account() {
        let throttle = throttle(10, 2);
        throttle.admit("a", "2001:db8::1").await.unwrap();
        throttle.admit("b", "2001:db8::2").await.unwrap();
        assert!(throttle.admit("c", "2001:db8::3").await.is_err());
        throttle.admit("c", "2001:db8:0:1::1").await.unwrap();
        throttle.admit("c", "").await.unwrap();
    }

    #[tokio::test]
    async fn success_forgives_the_account_but_not_the_address() {
        let throttle = throttle(2, 3);
        throttle.admit("bob", "192.0.2.1").await.unwrap();
        throttle.admit("bob", "192.0.2.1").await.unwrap();
        throttle.forgive("bob", "192.0.2.1").await;
        throttle.admit("bob", "192.0.2.1").await.unwrap();
        throttle.admit("bob", "192.0.2.1").await.unwrap();
        assert!(throttle.admit("eve", "192.0.2.1").await.is_err());
    }

    #[tokio::test]
    async fn failures_stop_counting_when_the_window_has_passed() {
        let throttle = throttle(1, 1);
        let later = Throttle { clock: Clock::shifted(61_000_000), ..throttle.clone() };
        throttle.admit("bob", "192.0.2.1").await.unwrap();
        assert!(throttle.admit("bob", "192.0.2.1").await.is_err());
        later.admit("bob", "192.0.2.1").await.unwrap();
    }
}
