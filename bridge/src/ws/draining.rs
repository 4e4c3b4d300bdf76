//! What a client is draining, and whether it takes any of it.

use std::time::Duration;

use tokio::time::Instant;

/// How many answers of the bridge's own may wait for a client.
const MOST_ANSWERS: u32 = 32;

/// Messages that the socket was handed and has not written whole.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// Bytes of them as the core sent them, less those that were seen to be taken.
    pub(super) bytes: usize,
    /// Answers of the bridge's own among them, or on their way there.
    answers: u32,
    /// Since when the client takes nothing; unknown until something had to wait.
    stall: Option<Stall>,
    /// Whether the core was told that the client takes nothing.
    pub(super) has_failed: bool,
}

#[derive(Debug)]
struct Stall {
    since: Instant,
    /// Bytes that the socket had written before.
    written: u64,
    /// How often the core was told of it.
    failures: u32,
}

impl Draining {
    /// The client is to get one more answer of the bridge's own.
    pub(super) fn answer(&mut self) {
        self.answers += 1;
    }

    /// Whether the client is to take something before it is heard again.
    pub(super) fn is_full(&self) -> bool {
        self.answers >= MOST_ANSWERS
    }

    /// The socket writes no more for now and has written so many bytes in all. If they are more than before, how many of the
    /// core's bytes that makes, as near as can be told: the socket's are written in another form.
    pub(super) fn stall(&mut self, written: u64) -> Option<usize> {
        let before = self.stall.as_ref().map(|stall| stall.written);
        if before == Some(written) {
            return None;
        }
        self.stall = Some(Stall { since: Instant::now(), written, failures: 0 });
        let taken = usize::try_from(written - before?).unwrap_or(usize::MAX).min(self.bytes);
        self.bytes -= taken;
        Some(taken)
    }

    /// Counts a failed send if the client has taken nothing for `timeout`, or as long once more than when it was counted last.
    pub(super) fn fails(&mut self, now: Instant, timeout: Duration) -> bool {
        let fails = self.fails_at(timeout).is_some_and(|at| now >= at);
        if fails && let Some(stall) = &mut self.stall {
            stall.failures += 1;
            self.has_failed = true;
        }
        fails
    }

    /// When the next send counts as failed, if the client goes on taking nothing.
    pub(super) fn fails_at(&self, timeout: Duration) -> Option<Instant> {
        self.stall.as_ref().map(|stall| stall.since + timeout * (stall.failures + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_client_fails_again_and_again_only_while_it_takes_nothing() {
        let mut draining = Draining { bytes: 6, ..Draining::default() };
        assert_eq!(draining.fails_at(TIMEOUT), None, "nothing has had to wait yet");
        let mut taken = Vec::new();
        for written in 1..10 {
            taken.push(draining.stall(written));
            tokio::time::advance(TIMEOUT / 2).await;
            assert!(!draining.fails(Instant::now(), TIMEOUT));
        }
        let [one, none] = [Some(1), Some(0)];
        assert_eq!(taken, [None, one, one, one, one, one, one, none, none], "no more than the core sent");
        for _ in 0..3 {
            assert!(!draining.fails(Instant::now(), TIMEOUT));
            tokio::time::advance(TIMEOUT).await;
            assert_eq!(draining.stall(9), None);
            assert!(draining.fails(Instant::now(), TIMEOUT));
        }
        assert!(draining.stall(10).is_some() && draining.has_failed);
        assert!(!draining.fails(Instant::now(), TIMEOUT));
    }
}
