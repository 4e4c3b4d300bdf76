//! How a socket is kept.

use std::time::Duration;

use crate::config::{MAX_FRAME_CAP, Settings};

/// How many times the size that is taken a message may have to be refused by an answer: what is larger is not read to its end.
const READ_FACTOR: usize = 4;

/// What the settings say of sockets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hygiene {
    pub(super) max_frame_bytes: usize,
    pub(super) ping_interval: Duration,
    pub(super) silence_limit: Duration,
    pub(super) send_timeout: Duration,
    pub(super) window_bytes: usize,
    pub(super) reconnects_per_second: u32,
    pub(super) shutdown_grace: Duration,
}

impl From<&Settings> for Hygiene {
    fn from(settings: &Settings) -> Self {
        Self {
            max_frame_bytes: settings.max_frame_bytes,
            ping_interval: settings.ping_interval,
            silence_limit: settings.silence_limit,
            send_timeout: settings.send_timeout,
            window_bytes: settings.window_bytes,
            reconnects_per_second: settings.reconnects_per_second,
            shutdown_grace: settings.shutdown_grace,
        }
    }
}

impl Hygiene {
    /// The largest message that is read at all, in bytes.
    pub(super) fn max_read_bytes(&self) -> usize {
        self.max_frame_bytes.saturating_mul(READ_FACTOR).min(MAX_FRAME_CAP)
    }
}
