//! Leaves a provider alone for a while once it has failed several times in a row.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A circuit breaker: closed until `threshold` failures in a row, then open for `open_for`, then open but for one probe.
pub(super) struct Breaker {
    threshold: u32,
    open_for: Duration,
    state: Mutex<State>,
}

enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One call is let through to see whether the provider is back.
    Probing,
}

/// Leave to make one call. Dropped without a verdict, the call was given up by its caller and proves nothing.
pub(super) struct Pass {
    breaker: Arc<Breaker>,
    probe: bool,
}

impl Breaker {
    pub(super) fn new(threshold: u32, open_for: Duration) -> Arc<Self> {
        Arc::new(Self { threshold, open_for, state: Mutex::new(State::Closed { failures: 0 }) })
    }

    /// Leave for a call, or how long there will be none.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Pass, Duration> {
        let now = Instant::now();
        let mut state = self.state();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if until <= now => {
                *state = State::Probing;
                true
            }
            State::Open { until } => return Err(until - now),
            // The probe's end is not known; it will most likely be soon.
            State::Probing => return Err(Duration::from_secs(1)),
        };
        Ok(Pass { breaker: Arc::clone(self), probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so that a panic elsewhere cannot leave a half-made state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The provider speaks: a probe has found it back. Failures counted before still stand until an answer is complete,
    /// since a provider that begins answers and never ends them is no better.
    pub(super) fn alive(&mut self) {
        if std::mem::take(&mut self.probe) {
            *self.breaker.state() = State::Closed { failures: 0 };
        }
    }

    /// The answer is complete.
    pub(super) fn succeeded(mut self) {
        self.alive();
        if let State::Closed { failures } = &mut *self.breaker.state() {
            *failures = 0;
        }
    }

    /// The call failed through the provider's fault.
    pub(super) fn failed(mut self) {
        let mut state = self.breaker.state();
        let opens = match &mut *state {
            State::Closed { failures } => {
                *failures += 1;
                *failures >= self.breaker.threshold
            }
            State::Probing => self.probe,
            // A call from before the breaker opened.
            State::Open { .. } => false,
        };
        if opens {
            *state = State::Open { until: Instant::now() + self.breaker.open_for };
        }
        drop(state);
        self.probe = false;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe {
            // The next call is the probe.
            *self.breaker.state() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const HALF_MINUTE: Duration = Duration::from_secs(30);

    fn opened() -> Arc<Breaker> {
        let breaker = Breaker::new(2, HALF_MINUTE);
        for _ in 0..2 {
            breaker.enter().ok().unwrap().failed();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it() {
        let breaker = Breaker::new(2, HALF_MINUTE);
        breaker.enter().ok().unwrap().failed();
        breaker.enter().ok().unwrap().succeeded();
        breaker.enter().ok().unwrap().failed();
        assert!(breaker.enter().is_ok());
        breaker.enter().ok().unwrap().failed();
        assert_eq!(breaker.enter().err(), Some(HALF_MINUTE));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_begin_and_never_end_open_it() {
        let breaker = Breaker::new(2, HALF_MINUTE);
        for _ in 0..2 {
            let mut pass = breaker.enter().ok().unwrap();
            pass.alive();
            pass.failed();
        }
        assert!(breaker.enter().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_closes_it() {
        let breaker = opened();
        advance(HALF_MINUTE).await;
        let mut probe = breaker.enter().ok().unwrap();
        assert!(breaker.enter().is_err(), "only one probe at a time");
        probe.alive();
        assert!(breaker.enter().is_ok(), "closed by the first sign of life");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_again() {
        let breaker = opened();
        advance(HALF_MINUTE).await;
        breaker.enter().ok().unwrap().failed();
        assert_eq!(breaker.enter().err(), Some(HALF_MINUTE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_given_up_makes_room_for_the_next() {
        let breaker = opened();
        advance(HALF_MINUTE).await;
        drop(breaker.enter().ok().unwrap());
        assert!(breaker.enter().is_ok());
    }
}
