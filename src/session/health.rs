//! The health of a connection: a score from 0 to 1, half of it for latency, three tenths for errors, two tenths for activity.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::model::connection::HealthStatus;

/// What the parts of the score weigh.
const WEIGHTS: (f64, f64, f64) = (0.5, 0.3, 0.2);
/// From this score on a connection is healthy.
const HEALTHY: f64 = 0.7;
/// From this score on it is degraded; below it is unhealthy.
const DEGRADED: f64 = 0.4;
/// Bad latencies and error rates still score; from this many times as bad on they do not.
const NOTHING_AT: f64 = 2.0;

/// How connections are judged.
#[derive(Clone, Copy, Debug)]
pub struct Standards {
    /// The mean round trip up to which latency scores full.
    pub good_latency: Duration,
    /// The mean round trip from twice which on it scores nothing.
    pub bad_latency: Duration,
    /// The part of frames that fail from twice which on errors score nothing, from 0 to 1.
    pub bad_error_rate: f64,
    /// Samples of latency, and of frames, that are remembered; at most 128.
    pub samples: usize,
    /// Silence up to which activity scores full.
    pub good_silence: Duration,
    /// Silence from which on it scores nothing.
    pub bad_silence: Duration,
    /// How often a connection is judged.
    pub interval: Duration,
    /// How often in a row it may be found unhealthy before it ends.
    pub strikes: u32,
}

/// What is remembered of a connection.
#[derive(Debug)]
pub struct Health {
    standards: Standards,
    /// In microseconds.
    round_trips: VecDeque<u32>,
    /// Of the latest frames, the newest in the lowest bit, whether each failed.
    failures: u128,
    frames: usize,
    active_at: Instant,
    strikes: u32,
}

/// What a connection is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    /// From 0, bad, to 1, good.
    pub score: f64,
    /// What the score means.
    pub status: HealthStatus,
    /// The mean round trip; `None` until one was measured.
    pub latency: Option<Duration>,
    /// The part of frames that failed, from 0 to 1.
    pub error_rate: f64,
    /// How long the viewer has said nothing.
    pub silence: Duration,
}

impl Health {
    /// Of a connection that begins.
    pub fn new(standards: Standards) -> Self {
        let (round_trips, failures, frames, strikes) = Default::default();
        Self { standards, round_trips, failures, frames, active_at: Instant::now(), strikes }
    }

    /// A ping was answered.
    pub fn measure(&mut self, round_trip: Duration) {
        if self.round_trips.len() >= self.standards.samples {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX));
        self.act();
    }

    /// A frame was sent or taken, or failed to be.
    pub fn count(&mut self, has_failed: bool) {
        self.failures = (self.failures << 1) | u128::from(has_failed);
        self.frames = (self.frames + 1).min(self.standards.samples);
    }

    /// The viewer said something.
    pub fn act(&mut self) {
        self.active_at = Instant::now();
    }

    /// What the connection is like now.
    pub fn condition(&self) -> Condition {
        let Standards { good_latency, bad_latency, bad_error_rate, good_silence, bad_silence, .. } = self.standards;
        let sum: u64 = self.round_trips.iter().copied().map(u64::from).sum();
        let latency = sum.checked_div(self.round_trips.len() as u64).map(Duration::from_micros);
        let error_rate = self.error_rate();
        let silence = self.active_at.elapsed();
        let (for_latency, for_errors, for_activity) = WEIGHTS;
        let score = for_latency
            * latency.map_or(1.0, |latency| fall(latency, good_latency, bad_latency.mul_f64(NOTHING_AT)))
            + for_errors * (1.0 - error_rate / (NOTHING_AT * bad_error_rate)).clamp(0.0, 1.0)
            + for_activity * fall(silence, good_silence, bad_silence);
        Condition { score, status: status(score), latency, error_rate, silence }
    }

    /// Judges the connection, as is done at every interval: false when it was unhealthy too often in a row.
    pub fn judge(&mut self) -> bool {
        let is_unhealthy = self.condition().status == HealthStatus::Unhealthy;
        self.strikes = if is_unhealthy { self.strikes + 1 } else { 0 };
        self.strikes < self.standards.strikes
    }

    fn error_rate(&self) -> f64 {
        let remembered = 1_u128.checked_shl(self.frames as u32).map_or(u128::MAX, |bit| bit - 1);
        let failed = (self.failures & remembered).count_ones();
        if self.frames == 0 { 0.0 } else { f64::from(failed) / self.frames as f64 }
    }
}

fn status(score: f64) -> HealthStatus {
    match score {
        score if score >= HEALTHY => HealthStatus::Healthy,
        score if score >= DEGRADED => HealthStatus::Degraded,
        _ => HealthStatus::Unhealthy,
    }
}

/// 1 up to `full`, 0 from `none` on, and straight in between.
fn fall(value: Duration, full: Duration, none: Duration) -> f64 {
    let (value, full, none) = (value.as_secs_f64(), full.as_secs_f64(), none.as_secs_f64());
    if none <= full { f64::from(value <= full) } else { ((none - value) / (none - full)).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARDS: Standards = Standards {
        good_latency: Duration::from_millis(100),
        bad_latency: Duration::from_millis(500),
        bad_error_rate: 0.1,
        samples: 100,
        good_silence: Duration::from_secs(30),
        bad_silence: Duration::from_secs(60),
        interval: Duration::from_secs(30),
        strikes: 3,
    };

    fn scored(round_trip_ms: u64, failed: usize) -> Condition {
        let mut health = Health::new(STANDARDS);
        health.measure(Duration::from_millis(round_trip_ms));
        (0..100).for_each(|nth| health.count(nth < failed));
        health.condition()
    }

    #[tokio::test(start_paused = true)]
    async fn half_the_score_is_latency_three_tenths_errors_and_two_tenths_activity() {
        let table = [
            (0, 0, 1.0, HealthStatus::Healthy),
            (100, 0, 1.0, HealthStatus::Healthy),
            (550, 0, 0.75, HealthStatus::Healthy),
            (1000, 0, 0.5, HealthStatus::Degraded),
            (5000, 0, 0.5, HealthStatus::Degraded),
            (100, 10, 0.85, HealthStatus::Healthy),
            (100, 20, 0.7, HealthStatus::Healthy),
            (100, 90, 0.7, HealthStatus::Healthy),
            (1000, 10, 0.35, HealthStatus::Unhealthy),
            (1000, 20, 0.2, HealthStatus::Unhealthy),
        ];
        for (round_trip_ms, failed, score, status) in table {
            let condition = scored(round_trip_ms, failed);
            assert!((condition.score - score).abs() < 1e-9, "{round_trip_ms} ms, {failed} %: {}", condition.score);
            assert_eq!(condition.status, status, "{round_trip_ms} ms, {failed} %");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_takes_its_part_away_between_one_heartbeat_and_the_limit() {
        let health = Health::new(STANDARDS);
        for (passed, score) in [(30, 1.0), (15, 0.9), (15, 0.8), (100, 0.8)] {
            tokio::time::advance(Duration::from_secs(passed)).await;
            assert!((health.condition().score - score).abs() < 1e-6, "{}", health.condition().score);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_viewer_tells_of_its_link_the_score_is_one() {
        let mut health = Health::new(STANDARDS);
        (0..300).for_each(|_| health.measure(Duration::MAX));
        assert_eq!(health.condition().score, 0.5);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_latest_samples_count() {
        let mut health = Health::new(STANDARDS);
        (0..300).for_each(|_| health.count(true));
        (0..300).for_each(|_| health.measure(Duration::from_secs(5)));
        assert_eq!(health.condition().error_rate, 1.0);
        (0..90).for_each(|_| health.count(false));
        (0..100).for_each(|_| health.measure(Duration::from_millis(20)));
        let condition = health.condition();
        assert_eq!((condition.error_rate, condition.latency), (0.1, Some(Duration::from_millis(20))));
    }

    #[tokio::test(start_paused = true)]
    async fn three_strikes_in_a_row_are_too_many() {
        let mut health = Health::new(STANDARDS);
        (0..100).for_each(|_| health.count(true));
        health.measure(Duration::from_secs(5));
        assert!(health.judge() && health.judge());
        (0..100).for_each(|_| health.count(false));
        assert!(health.judge());
        (0..100).for_each(|_| health.count(true));
        assert!(health.judge() && health.judge() && !health.judge());
    }
}
