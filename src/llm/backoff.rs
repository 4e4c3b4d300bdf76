//! How long to wait before a provider is called again.

use std::time::Duration;

use super::failure::{Clock, Failure, Reason, Retry};

/// The wait before the first retry; each further one doubles it.
const FIRST: Duration = Duration::from_millis(400);

/// No wait of our own is longer.
const LONGEST: Duration = Duration::from_secs(8);

/// A provider that asks for more than this is given up instead: someone is looking at an empty answer, and a fallback
/// may be configured.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// The wait before retry number `retry` (from 0) after a failure, or `None` when another try is useless.
///
/// `random` in 0..1 takes up to half of the wait away, so that callers who failed together do not return together.
/// What the provider asked for is a lower bound; there the random part is added, a quarter at most.
pub(super) fn wait(failure: &Failure, retry: u32, random: f64) -> Option<Duration> {
    let asked = match failure {
        Failure::UnknownModel(_) | Failure::Rejected(_) | Failure::Denied(_) => return None,
        // The time for the whole answer is used up.
        Failure::Timeout(Clock::Total) => return None,
        // Its purpose is that nobody waits for this provider.
        Failure::Unavailable { reason: Reason::BreakerOpen, .. } => return None,
        Failure::Unavailable { retry, .. } => *retry,
        Failure::Timeout(_) | Failure::Protocol(_) => Retry::Backoff,
    };
    match asked {
        Retry::Never => None,
        Retry::After(asked) if asked > LONGEST_ASKED => None,
        Retry::After(asked) => Some(asked.mul_f64(1.0 + random / 4.0)),
        Retry::Backoff => {
            let full = FIRST.saturating_mul(2u32.saturating_pow(retry)).min(LONGEST);
            Some(full.mul_f64(1.0 - random / 2.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::failure::Breach, *};

    fn unavailable(retry: Retry) -> Failure {
        Failure::Unavailable { reason: Reason::Status(429, None), retry, source: None }
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let failure = Failure::Protocol(Breach::Truncated);
        let waits: Vec<u128> = (0..7).filter_map(|retry| wait(&failure, retry, 0.0)).map(|w| w.as_millis()).collect();
        assert_eq!(waits, [400, 800, 1600, 3200, 6400, 8000, 8000]);
        assert_eq!(wait(&failure, u32::MAX, 0.0), Some(LONGEST));
        assert_eq!(wait(&failure, 0, 1.0), Some(FIRST / 2));
    }

    #[test]
    fn the_provider_is_heard() {
        let two = Duration::from_secs(2);
        assert_eq!(wait(&unavailable(Retry::After(two)), 0, 0.0), Some(two));
        assert_eq!(wait(&unavailable(Retry::After(two)), 5, 1.0), Some(two * 5 / 4));
        assert_eq!(wait(&unavailable(Retry::After(Duration::from_secs(31))), 0, 0.0), None);
        assert_eq!(wait(&unavailable(Retry::Never), 0, 0.0), None);
    }

    #[test]
    fn a_refusal_spent_time_and_an_open_breaker_are_final() {
        let retry = Retry::After(Duration::from_secs(1));
        let breaker = Failure::Unavailable { reason: Reason::BreakerOpen, retry, source: None };
        assert_eq!(wait(&breaker, 0, 0.0), None);
        assert_eq!(wait(&Failure::Rejected(Reason::Status(400, None)), 0, 0.0), None);
        assert_eq!(wait(&Failure::Timeout(Clock::Total), 0, 0.0), None);
        assert!(wait(&Failure::Timeout(Clock::Connect), 0, 0.0).is_some());
    }
}
