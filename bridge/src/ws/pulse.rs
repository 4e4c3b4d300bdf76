//! Signs of life of a client: when it gave the last, when it is asked for one, and how long it takes to answer.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::hygiene::Hygiene;

/// When a client was heard, and when it is pinged.
pub(super) struct Pulse {
    ping_interval: Duration,
    silence_limit: Duration,
    heard: Instant,
    ping_at: Instant,
    /// The last ping, until it is answered.
    asked: Option<Ping>,
}

/// What a ping carried, and when it was sent. Nobody knows the number who did not get it.
struct Ping {
    number: u64,
    at: Instant,
}

impl Pulse {
    /// Of a client that was heard just now.
    pub(super) fn new(hygiene: &Hygiene) -> Self {
        let now = Instant::now();
        Self {
            ping_interval: hygiene.ping_interval,
            silence_limit: hygiene.silence_limit,
            heard: now,
            ping_at: now + hygiene.ping_interval,
            asked: None,
        }
    }

    /// The client gave a sign of life.
    pub(super) fn beat(&mut self, now: Instant) {
        self.heard = now;
    }

    /// How long the client took to answer the last ping; `None` for a pong that answers nothing.
    pub(super) fn answer(&mut self, pong: &[u8]) -> Option<Duration> {
        let ping = self.asked.take_if(|ping| pong == ping.number.to_be_bytes())?;
        Some(ping.at.elapsed())
    }

    /// The client gave a sign of life after a while: a ping is due.
    pub(super) fn hurry(&mut self, now: Instant) {
        (self.heard, self.ping_at) = (now, now);
    }

    /// What to ping the client with, if that is due.
    pub(super) fn ping(&mut self, now: Instant) -> Option<Bytes> {
        if now < self.ping_at {
            return None;
        }
        self.ping_at = now + self.ping_interval;
        let number: u64 = rand::random();
        self.asked = Some(Ping { number, at: now });
        Some(Bytes::copy_from_slice(&number.to_be_bytes()))
    }

    /// Whether the client gave no sign of life for too long.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        now >= self.lost_at()
    }

    /// When something is due, if nothing happens before.
    pub(super) fn due_at(&self) -> Instant {
        self.ping_at.min(self.lost_at())
    }

    fn lost_at(&self) -> Instant {
        self.heard + self.silence_limit
    }
}
