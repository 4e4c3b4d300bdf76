//! The sockets whose sessions are open.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// The least time over which clients come back whom a bridge sends away together, in milliseconds.
const LEAST_SPREAD_MS: u64 = 1000;
/// The most.
const MOST_SPREAD_MS: u64 = 60_000;

/// Sessions that are open in this process.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// An open session, counted for as long as it lives.
pub(super) struct Open;

impl Open {
    pub(super) fn count() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("colloquy_sockets_open").increment(1.0);
        Self
    }

    /// The milliseconds over which all of them come back when so many do each second.
    pub(super) fn spread_ms(per_second: u32) -> Range<u64> {
        let spread = OPEN.load(Ordering::Relaxed) * 1000 / u64::from(per_second.max(1));
        0..spread.clamp(LEAST_SPREAD_MS, MOST_SPREAD_MS)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("colloquy_sockets_open").decrement(1.0);
    }
}
