//! What this process has counted and refused by itself: all there is without a server, and what goes on while it is away.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Kind, Refused, Rules, Subject, shared::Told, windows::Windows};
use crate::model::{clock::Timestamp, limit::Allowance};

/// Users and addresses that are remembered at most, of each kind.
const CAPACITY: u64 = 100_000;

/// Remembers whom this node has heard.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    frames: Accounts,
    requests: Accounts,
}

type Accounts = Cache<Subject, Arc<Mutex<Account>>>;

/// What is known of one user or address.
#[derive(Debug, Default)]
pub(super) struct Account {
    windows: Windows,
    strikes: Option<Strikes>,
    /// What the server has said of it.
    pub(super) told: Told,
}

/// Violations, and what they cost.
#[derive(Clone, Copy, Debug)]
struct Strikes {
    count: u32,
    until: Timestamp,
    fade_at: Timestamp,
}

impl Memory {
    pub(super) fn new(rules: &Rules) -> Self {
        let accounts = |kind| {
            let longest = rules.rates(kind).iter().map(|rate| rate.window).max().unwrap_or_default();
            let idle = longest.max(rules.violation_ttl) * 2;
            Cache::builder().max_capacity(CAPACITY).time_to_idle(idle).build()
        };
        Self { frames: accounts(Kind::Frames), requests: accounts(Kind::Requests) }
    }

    /// The account of a subject, for one at a time.
    pub(super) async fn lock(&self, kind: Kind, subject: Subject) -> OwnedMutexGuard<Account> {
        self.accounts(kind).get_with(subject, async { Arc::default() }).await.lock_owned().await
    }

    /// Forgets a subject.
    pub(super) async fn forget(&self, kind: Kind, subject: Subject) {
        *self.lock(kind, subject).await = Account::default();
    }

    /// Whose violations have not faded: how many, and for how long yet.
    pub(super) async fn violations(&self, now: Timestamp) -> Vec<(Kind, Subject, u32, Duration)> {
        let mut found = Vec::new();
        for kind in Kind::ALL {
            for (subject, account) in self.accounts(kind) {
                if let Some(strikes) = account.lock().await.strikes(now) {
                    found.push((kind, *subject, strikes.count, strikes.fade_at.since(now)));
                }
            }
        }
        found
    }

    fn accounts(&self, kind: Kind) -> &Accounts {
        match kind {
            Kind::Frames => &self.frames,
            Kind::Requests => &self.requests,
        }
    }
}

impl Account {
    /// Counts what the server has allowed, so that this node knows it should the server go.
    pub(super) fn count(&mut self, rules: &Rules, kind: Kind, now: Timestamp) {
        self.windows.count(rules.rates(kind), now);
    }

    /// What was counted in each window.
    pub(super) fn used(&mut self, rules: &Rules, kind: Kind, now: Timestamp) -> Vec<u32> {
        self.windows.used(rules.rates(kind), now)
    }

    fn strikes(&self, now: Timestamp) -> Option<Strikes> {
        self.strikes.filter(|strikes| strikes.fade_at > now)
    }

    /// Notes a violation; returns how long it bars from now on.
    fn strike(&mut self, rules: &Rules, wait: Duration, now: Timestamp) -> Duration {
        let count = self.strikes(now).map_or(0, |strikes| strikes.count) + 1;
        let pause = rules.pause(count, wait);
        let until = now + pause;
        self.strikes = Some(Strikes { count, until, fade_at: until.max(now + rules.violation_ttl) });
        pause
    }
}

/// Counts one for all of these accounts, or for none.
pub(super) fn admit(
    accounts: &mut [(Subject, OwnedMutexGuard<Account>)],
    rules: &Rules,
    kind: Kind,
    has_bonus: bool,
    now: Timestamp,
) -> Result<Option<Allowance>, Refused> {
    for (subject, account) in accounts.iter() {
        if let Some(strikes) = account.strikes(now).filter(|strikes| strikes.until > now) {
            let retry_after = strikes.until.since(now);
            return Err(Refused { subject: *subject, rate: None, retry_after, is_new: false });
        }
    }
    let has_bonus = has_bonus && accounts.iter().all(|(_, account)| account.strikes(now).is_none());
    let mut nearest: Option<Allowance> = None;
    for (subject, account) in accounts.iter_mut() {
        let Some(allowance) = account.windows.allowance(rules.rates(kind), has_bonus, now) else { continue };
        if allowance.left == 0 {
            let retry_after = account.strike(rules, allowance.wait, now);
            return Err(Refused { subject: *subject, rate: Some(allowance.rate), retry_after, is_new: true });
        }
        nearest = Some(nearest.map_or(allowance, |nearest| nearest.nearer(allowance)));
    }
    for (_, account) in accounts {
        account.count(rules, kind, now);
    }
    Ok(nearest.map(|nearest| Allowance { left: nearest.left - 1, ..nearest }))
}
