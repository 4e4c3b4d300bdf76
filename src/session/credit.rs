//! Credit: how many bytes the link to a viewer still takes. A bridge carries the frames of many sockets on one connection to
//! the core; what a stalled socket does not take must wait here, in lanes, and not there, in a window that all share.

use std::time::Duration;

/// What the link to a viewer tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes that it takes beyond those granted before.
    pub credit: u64,
    /// How long the viewer took to answer a ping.
    pub round_trip: Option<Duration>,
    /// Times that the viewer took nothing of a frame for too long, since the last report.
    pub failed_sends: u32,
}

/// Bytes that may be sent. The last frame may overdraw them: one that is larger than any window still gets through.
#[derive(Debug)]
pub(super) struct Credit {
    /// What was granted from the start.
    window: i64,
    /// `None`: without bound.
    left: Option<i64>,
}

impl Credit {
    /// As much as was granted from the start; `None`: without bound, at the pace of the transport.
    pub(super) fn new(granted: Option<u64>) -> Self {
        let left = granted.map(saturating);
        Self { window: left.unwrap_or_default(), left }
    }

    /// Whether a frame may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.left.is_none_or(|left| left > 0)
    }

    /// Bytes that were sent and that the link has not taken, as far as is known.
    pub(super) fn in_flight(&self) -> u64 {
        let in_flight = self.left.map_or(0, |left| self.window.saturating_sub(left));
        u64::try_from(in_flight).unwrap_or_default()
    }

    /// Whether the link may have taken all that was sent: of less than half a window it does not tell.
    pub(super) fn is_slack(&self) -> bool {
        self.in_flight() <= self.window.unsigned_abs() / 2
    }

    /// A frame of so many bytes was sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(saturating(bytes as u64));
        }
    }

    /// So many bytes more may be sent.
    pub(super) fn grant(&mut self, bytes: u64) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_add(saturating(bytes));
        }
    }
}

fn saturating(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Stops sending to a viewer after some failed sends in a row, until it answers a ping.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: u32,
    failures: u32,
    is_open: bool,
}

impl Breaker {
    /// Opens after `limit` failed sends.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, failures: 0, is_open: false }
    }

    /// Whether nothing is sent.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes a report; whether the breaker opened or closed.
    pub(super) fn learn(&mut self, report: &Report) -> bool {
        let was_open = self.is_open;
        if report.credit > 0 {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(report.failed_sends);
        if report.round_trip.is_some() {
            self.failures = 0;
            self.is_open = false;
        }
        self.is_open |= self.failures >= self.limit;
        self.is_open != was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_spent_overdrawn_and_granted_again() {
        let mut credit = Credit::new(Some(100));
        credit.spend(99);
        assert!(credit.is_open());
        credit.spend(500);
        assert!(!credit.is_open());
        credit.grant(499);
        assert!(!credit.is_open());
        credit.grant(1);
        assert!(credit.is_open());
        assert_eq!((credit.in_flight(), credit.is_slack()), (99, false));
        credit.grant(49);
        assert_eq!((credit.in_flight(), credit.is_slack()), (50, true));
        credit.grant(1000);
        assert_eq!((credit.in_flight(), credit.is_slack()), (0, true));
        let mut boundless = Credit::new(None);
        boundless.spend(usize::MAX);
        assert!(boundless.is_open() && boundless.is_slack());
    }

    #[test]
    fn the_breaker_opens_after_failures_in_a_row_and_closes_with_the_answer_to_a_ping() {
        let failed = Report { failed_sends: 1, ..Report::default() };
        let drained = Report { credit: 1, ..Report::default() };
        let answered = Report { round_trip: Some(Duration::from_millis(1)), ..Report::default() };
        let mut breaker = Breaker::new(5);
        let mut learn = |reports: &[Report]| {
            let changed = reports.iter().filter(|report| breaker.learn(report)).count();
            (changed, breaker.is_open())
        };
        assert_eq!(learn(&[failed; 4]), (0, false));
        assert_eq!(learn(&[drained]), (0, false));
        assert_eq!(learn(&[failed; 4]), (0, false));
        assert_eq!(learn(&[failed]), (1, true));
        // What left after all does not say that the viewer is there.
        assert_eq!(learn(&[failed, drained]), (0, true));
        assert_eq!(learn(&[answered]), (1, false));
        assert_eq!(learn(&[answered, failed]), (0, false));
    }
}
