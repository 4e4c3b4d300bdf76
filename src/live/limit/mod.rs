//! How much anybody may send: sliding windows by user and by address, over all nodes, and what those must wait who sent too much.

mod memory;
mod shared;
mod usage;
mod windows;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use self::{memory::Memory, shared::Told};
use super::redis::Redis;
use crate::model::{
    clock::Clock,
    ids::UserId,
    limit::{Allowance, Network, Rate, Used, Violation},
};

/// What the first violation costs; each further one twice as much as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// What a violation costs at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is counted. Each kind has its own windows and violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames on live connections.
    Frames,
    /// Calls over gRPC and REST.
    Requests,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Frames, Self::Requests];

    /// In the plural, as people and metrics read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Requests => "requests",
        }
    }
}

/// The limits in force.
#[derive(Clone, Debug)]
pub struct Rules {
    /// For frames of one user, and of one address.
    pub frames: Vec<Rate>,
    /// For requests of one user, and of one address.
    pub requests: Vec<Rate>,
    /// How long a violation is remembered.
    pub violation_ttl: Duration,
}

impl Rules {
    /// The limits of a kind.
    pub fn rates(&self, kind: Kind) -> &[Rate] {
        match kind {
            Kind::Frames => &self.frames,
            Kind::Requests => &self.requests,
        }
    }

    /// What the violation of this number costs, when there is room again after `wait`.
    fn pause(&self, count: u32, wait: Duration) -> Duration {
        let doublings = 1u32.checked_shl(count - 1).unwrap_or(u32::MAX);
        FIRST_PAUSE.saturating_mul(doublings).max(wait).min(LONGEST_PAUSE)
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The account, when it is known.
    pub user_id: Option<UserId>,
    /// The address, when it is known.
    pub network: Option<Network>,
}

/// Whose windows are meant. Users come before addresses: so they are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// All that one user sends.
    User(UserId),
    /// All that comes from one address.
    Address(Network),
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(formatter, "user:{id}"),
            Self::Address(network) => write!(formatter, "address:{network}"),
        }
    }
}

/// Why something does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who sent too much.
    pub subject: Subject,
    /// The limit that is reached; `None` for who has to wait because of what was sent before.
    pub rate: Option<Rate>,
    /// When to come back.
    pub retry_after: Duration,
    /// Whether it is a violation of its own.
    pub is_new: bool,
}

/// Counts what is sent. Cheap to clone.
///
/// With Redis all nodes count together, each spending shares of what is left; while it is away, each counts what it sees itself,
/// including what it saw before.
#[derive(Clone, Debug)]
pub struct Limiter {
    clock: Clock,
    rules: Arc<Rules>,
    redis: Option<Redis>,
    memory: Memory,
}

impl Limiter {
    /// Has counted nothing yet.
    pub fn new(clock: Clock, redis: Option<Redis>, rules: Rules) -> Self {
        let memory = Memory::new(&rules);
        Self { clock, rules: Arc::new(rules), redis, memory }
    }

    /// The same counts, by another clock; the server has its own.
    #[must_use]
    pub fn by(&self, clock: Clock) -> Self {
        Self { clock, ..self.clone() }
    }

    /// The limits in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Counts one of a kind, unless it is too many: then this one does not count. `None` when nothing limits the sender.
    ///
    /// Somebody with a bonus, and without a violation, has a fifth more.
    ///
    /// # Errors
    /// Who must wait for how long.
    pub async fn admit(&self, kind: Kind, sender: Sender, has_bonus: bool) -> Result<Option<Allowance>, Refused> {
        let mut accounts = Vec::with_capacity(2);
        for subject in sender.subjects() {
            accounts.push((subject, self.memory.lock(kind, subject).await));
        }
        if accounts.is_empty() || self.rules.rates(kind).is_empty() {
            return Ok(None);
        }
        let (rules, now) = (&*self.rules, self.clock.now());
        if let Some(redis) = self.redis.as_ref().filter(|redis| redis.is_up()) {
            let shared = match shared::recall(&mut accounts) {
                Some(recalled) => Ok(recalled),
                None => shared::admit(redis, &mut accounts, rules, kind, has_bonus).await,
            };
            if let Ok(shared) = shared {
                if shared.is_ok() {
                    accounts.iter_mut().for_each(|(_, account)| account.count(rules, kind, now));
                }
                return shared;
            }
        }
        // What the server said before it went is not to be relied on when it is back.
        accounts.iter_mut().for_each(|(_, account)| account.told = Told::Nothing);
        memory::admit(&mut accounts, rules, kind, has_bonus, now)
    }

    /// Who sent too much lately: on all nodes, or, while the server is away, on this one.
    pub async fn violations(&self) -> Vec<Violation> {
        let mut found: BTreeMap<String, Violation> = BTreeMap::new();
        let mut add = |violation: Violation| {
            let known = found.entry(violation.identifier.clone());
            let known = known.or_insert(Violation { count: 0, ..violation.clone() });
            known.count += violation.count;
            known.ttl = known.ttl.max(violation.ttl);
        };
        if let Some(redis) = &self.redis {
            shared::violations(redis).await.into_iter().flatten().for_each(&mut add);
        }
        for (_, subject, count, ttl) in self.memory.violations(self.clock.now()).await {
            add(Violation { identifier: subject.to_string(), count, ttl });
        }
        found.into_values().collect()
    }

    /// What a user has used of each limit of a kind: on all nodes, or, while the server is away, on this one.
    pub async fn used(&self, kind: Kind, user_id: UserId) -> Vec<Used> {
        let (rules, subject) = (&*self.rules, Subject::User(user_id));
        let counts = match self.redis.as_ref().filter(|redis| redis.is_up()) {
            Some(redis) => usage::used(redis, rules, kind, subject).await.ok(),
            None => None,
        };
        let counts = match counts {
            Some(counts) => counts,
            None => self.memory.lock(kind, subject).await.used(rules, kind, self.clock.now()),
        };
        rules.rates(kind).iter().zip(counts).map(|(rate, count)| Used { rate: *rate, count }).collect()
    }

    /// Forgets all that a user has sent, and the violations. What other nodes were lent goes on for seconds.
    pub async fn reset(&self, user_id: UserId) {
        let subject = Subject::User(user_id);
        for kind in Kind::ALL {
            self.memory.forget(kind, subject).await;
        }
        if let Some(redis) = &self.redis {
            // Away, there is nothing to forget: it comes back empty, or with what fades.
            let _ = shared::forget(redis, subject).await;
        }
    }
}

impl Sender {
    fn subjects(self) -> impl Iterator<Item = Subject> {
        self.user_id.map(Subject::User).into_iter().chain(self.network.map(Subject::Address))
    }
}
