//! How much is put up with.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(10);

/// Bears with so many things every ten seconds.
#[derive(Debug)]
pub(super) struct Patience {
    limit: u32,
    since: Option<Instant>,
    borne: u32,
}

impl Patience {
    /// With so many.
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, since: None, borne: 0 }
    }

    /// Counts one more; whether it was one too many.
    pub(super) fn ends(&mut self) -> bool {
        let now = Instant::now();
        match self.since {
            Some(since) if now - since < WINDOW => self.borne += 1,
            _ => (self.since, self.borne) = (Some(now), 1),
        }
        self.borne > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_slowly_is_borne_for_ever() {
        let mut patience = Patience::new(3);
        for _ in 0..100 {
            assert!((0..3).all(|_| !patience.ends()));
            tokio::time::advance(WINDOW).await;
        }
        assert!((0..3).all(|_| !patience.ends()) && patience.ends());
    }
}
