//! How much a connection may send: what counts, and when it has gone too far.

use std::time::Duration;

use tokio::time::Instant;

use super::command::Command;
use crate::{
    error::{Error, Result},
    live::place::Place,
    model::{caller::Caller, limit::Network},
    service::limits::Limits,
};

/// Frames that are refused one after the other before the connection ends.
const MOST_REFUSED: u32 = 500;

/// Where a connection comes from, and the place that it has.
#[derive(Debug)]
pub struct Entrance {
    /// The address, when it is known.
    pub network: Option<Network>,
    /// Given up with the connection.
    pub place: Place,
}

/// What a connection has sent.
#[derive(Debug)]
pub(super) struct Pace {
    entrance: Entrance,
    pings: Pings,
    refused: u32,
}

impl Pace {
    pub(super) fn new(entrance: Entrance, free_pings: u32) -> Self {
        Self { entrance, pings: Pings::new(free_pings, Instant::now()), refused: 0 }
    }

    /// Counts a frame, unless it is one that does not count.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when it is too many; [`Error::Flooded`] when there were too many of those, and the connection ends.
    pub(super) async fn admit(&mut self, limits: &Limits, caller: &Caller, command: &Result<Command>) -> Result<()> {
        match command {
            Ok(Command::Heartbeat { .. }) => return Ok(()),
            Ok(Command::Ping { .. }) if self.pings.is_free(Instant::now()) => return Ok(()),
            _ => {}
        }
        match limits.frame(caller, self.entrance.network).await {
            Ok(()) => {
                self.refused = 0;
                Ok(())
            }
            Err(Error::RateLimited { retry_after, .. }) if self.refused >= MOST_REFUSED => {
                Err(Error::Flooded { retry_after })
            }
            Err(refusal) => {
                self.refused += 1;
                Err(refusal)
            }
        }
    }
}

/// Pings that do not count: so many a second.
#[derive(Debug)]
struct Pings {
    per_second: u32,
    /// Free ones that are left, in parts of one.
    left: f64,
    since: Instant,
}

impl Pings {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, left: per_second.into(), since: now }
    }

    fn is_free(&mut self, now: Instant) -> bool {
        let most = f64::from(self.per_second);
        let passed: Duration = now.saturating_duration_since(self.since);
        self.left = (self.left + passed.as_secs_f64() * most).min(most);
        self.since = now;
        let is_free = self.left >= 1.0;
        if is_free {
            self.left -= 1.0;
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pings_a_second_are_free_for_ever_and_more_are_not() {
        let start = Instant::now();
        let free = |pause_ms: u64, count: u32| {
            let mut pings = Pings::new(2, start);
            (0..count).filter(|nth| pings.is_free(start + Duration::from_millis(pause_ms) * *nth)).count()
        };
        assert_eq!(free(500, 200), 200);
        assert_eq!(free(0, 105), 2);
        assert_eq!(free(9, 105), 3);
    }
}
