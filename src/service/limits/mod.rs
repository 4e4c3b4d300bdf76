//! The rules on how much anybody may send: whose messages look human has more, and who sends too much waits.

mod habit;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::future::Cache;

use self::habit::Habit;
use crate::{
    error::{Error, Result},
    live::limit::{Kind, Limiter, Refused, Sender},
    model::{
        caller::{Caller, Origin},
        clock::Clock,
        ids::UserId,
        limit::{Allowance, Network, Rate, Used, Violation},
        page::{Page, PageRequest},
        user::Role,
    },
};

/// Users whose habits are remembered at most.
const CAPACITY: u64 = 100_000;
/// How long a habit is remembered after the last message.
const MEMORY: Duration = Duration::from_secs(3600);

/// Knows how much everybody may send. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    limiter: Limiter,
    judged: usize,
    habits: Cache<UserId, Arc<Mutex<Habit>>>,
}

impl Limits {
    /// Judges habits by the intervals between so many messages.
    pub fn new(clock: Clock, limiter: Limiter, judged: usize) -> Self {
        let habits = Cache::builder().max_capacity(CAPACITY).time_to_idle(MEMORY).build();
        Self(Arc::new(Inner { clock, limiter, judged, habits }))
    }

    /// The same counts and habits, by another clock.
    #[must_use]
    pub fn by(&self, clock: Clock) -> Self {
        let Inner { limiter, judged, habits, .. } = &*self.0;
        let (limiter, habits) = (limiter.by(clock), habits.clone());
        Self(Arc::new(Inner { clock, limiter, judged: *judged, habits }))
    }

    /// Counts a frame of a live connection. Internal services are not limited.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when it is too many; it does not count then, and must not be obeyed.
    pub async fn frame(&self, caller: &Caller, network: Option<Network>) -> Result<()> {
        if caller.role == Role::Service {
            return Ok(());
        }
        let has_bonus = self.has_bonus(caller.user_id).await;
        let sender = Sender { user_id: Some(caller.user_id), network };
        let admitted = self.0.limiter.admit(Kind::Frames, sender, has_bonus).await;
        admitted.map(drop).map_err(|refused| refusal(Kind::Frames, refused))
    }

    /// Counts a call, of a caller or, when nobody signed in, of an address alone; returns what is left. `None` when nothing
    /// limits the caller, such as an internal service.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when it is too many; it does not count then.
    pub async fn request(&self, caller: Option<&Caller>, origin: &Origin) -> Result<Option<Allowance>> {
        if caller.is_some_and(|caller| caller.role == Role::Service) {
            return Ok(None);
        }
        let sender = Sender { user_id: caller.map(|caller| caller.user_id), network: origin.address.parse().ok() };
        let admitted = self.0.limiter.admit(Kind::Requests, sender, false).await;
        admitted.map_err(|refused| refusal(Kind::Requests, refused))
    }

    /// The limits on calls.
    pub fn request_rates(&self) -> &[Rate] {
        self.0.limiter.rules().rates(Kind::Requests)
    }

    /// What a user has used of the limits on frames.
    pub(crate) async fn used_frames(&self, user_id: UserId) -> Vec<Used> {
        self.0.limiter.used(Kind::Frames, user_id).await
    }

    /// What a user has used of the limits on calls.
    pub(crate) async fn used_requests(&self, user_id: UserId) -> Vec<Used> {
        self.0.limiter.used(Kind::Requests, user_id).await
    }

    /// Who sent too much lately, by identifier.
    pub(crate) async fn violations(&self, page: &PageRequest) -> Page<Violation> {
        let mut found = self.0.limiter.violations().await;
        if let Some(after) = &page.after {
            found.retain(|violation| violation.identifier > *after);
        }
        Page::cut(found, page, |violation| violation.identifier.clone())
    }

    /// Forgets all that a user has sent, and the violations.
    pub(crate) async fn reset(&self, user_id: UserId) {
        self.0.limiter.reset(user_id).await;
    }

    /// Notes a message; whether its sender has earned a bonus.
    async fn has_bonus(&self, user_id: UserId) -> bool {
        let habit = self.0.habits.get_with(user_id, async { Arc::default() }).await;
        let seen = habit.lock().unwrap_or_else(PoisonError::into_inner).note(self.0.clock.now(), self.0.judged);
        if let Some(anomaly) = seen.anomaly {
            metrics::counter!("colloquy_rate_anomalies_total").increment(1);
            tracing::warn!(
                user_id = %user_id,
                burst = anomaly.burst,
                mean = anomaly.mean,
                "somebody sends much more than usual"
            );
        }
        seen.is_human
    }
}

fn refusal(kind: Kind, refused: Refused) -> Error {
    let Refused { subject, rate, retry_after, is_new } = refused;
    metrics::counter!("colloquy_rate_limited_total", "kind" => kind.as_str()).increment(1);
    if is_new {
        metrics::counter!("colloquy_rate_violations_total", "kind" => kind.as_str()).increment(1);
        tracing::info!(subject = %subject, kind = kind.as_str(), retry_after_ms = retry_after.as_millis(), "a limit is reached");
    }
    Error::RateLimited { subject: subject.to_string(), rate, retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        live::limit::Rules,
        model::{clock::Timestamp, ids::SessionId},
    };

    const RATE: Rate = Rate { limit: 50, window: Duration::from_secs(60) };

    fn limits() -> Limits {
        let rules = Rules { frames: vec![RATE], requests: vec![RATE], violation_ttl: Duration::from_secs(3600) };
        Limits::new(Clock::default(), Limiter::new(Clock::default(), None, rules), 10)
    }

    fn caller(role: Role) -> Caller {
        Caller {
            user_id: UserId::generate(),
            username: "alice".to_owned(),
            role,
            scopes: None,
            session_id: SessionId::generate(),
            expires_at: Timestamp::from_micros(i64::MAX),
        }
    }

    /// How many frames pass until one does not, sent so many milliseconds after each other from a time on.
    async fn send(limits: &Limits, caller: &Caller, from_ms: i64, pause_ms: i64, most: i64) -> i64 {
        for nth in 0..most {
            let clock = Clock::shifted((from_ms + nth * pause_ms) * 1000);
            if limits.by(clock).frame(caller, None).await.is_err() {
                return nth;
            }
        }
        most
    }

    #[tokio::test]
    async fn who_sends_at_an_easy_pace_has_a_fifth_more_until_a_violation() {
        let (limits, alice) = (limits(), caller(Role::User));
        assert_eq!(send(&limits, &alice, 0, 600, 100).await, 60);
        // A minute later the pause is over; the violation is not forgotten.
        assert_eq!(send(&limits, &alice, 200_000, 600, 100).await, 50);
        assert_eq!(send(&limits, &caller(Role::User), 0, 400, 100).await, 50);
    }

    #[tokio::test]
    async fn a_sudden_burst_costs_the_bonus() {
        let (limits, alice) = (limits(), caller(Role::User));
        assert_eq!(send(&limits, &alice, 0, 4000, 20).await, 20);
        // Not one more than the limit, although the last intervals but those of the burst looked human.
        assert_eq!(send(&limits, &alice, 200_000, 100, 100).await, 50);
    }

    #[tokio::test]
    async fn internal_services_are_not_limited() {
        let (limits, service) = (limits(), caller(Role::Service));
        assert_eq!(send(&limits, &service, 0, 0, 500).await, 500);
        for _ in 0..500 {
            assert_eq!(limits.request(Some(&service), &Origin::default()).await.unwrap(), None);
        }
    }
}
