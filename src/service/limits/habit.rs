//! How somebody usually sends: what earns a bonus, and what is unlike it.

use std::{collections::VecDeque, time::Duration};

use crate::model::clock::Timestamp;

/// Who waits so long between two messages, on average, looks human.
const HUMAN_PAUSE: Duration = Duration::from_millis(500);
/// What is sent within so long is one burst.
const BURST: Duration = Duration::from_secs(10);
/// How far from the mean a burst is no surprise, in standard deviations.
const DEVIATIONS: f64 = 2.0;
/// The least that a standard deviation is taken for, in messages: a habit as even as a clock's must not make one more an event.
const LEAST_DEVIATION: f64 = 1.0;

/// What one message says about its sender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Impression {
    /// Whether the latest messages look human.
    pub(super) is_human: bool,
    /// The burst that this message made, when it is unlike those before.
    pub(super) anomaly: Option<Anomaly>,
}

/// A burst unlike those before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anomaly {
    /// Messages within the last 10 s.
    pub(super) burst: usize,
    /// How many there usually are.
    pub(super) mean: f64,
}

/// When somebody's latest messages came, oldest first.
#[derive(Debug, Default)]
pub(super) struct Habit(VecDeque<Timestamp>);

impl Habit {
    /// Judges one more message by the `judged` intervals before it. An anomaly begins the history anew, which costs the bonus
    /// until it is long enough again.
    pub(super) fn note(&mut self, at: Timestamp, judged: usize) -> Impression {
        let anomaly = if self.0.len() > judged { self.anomaly(at) } else { None };
        if anomaly.is_some() {
            self.0.clear();
        }
        while self.0.len() > judged {
            self.0.pop_front();
        }
        self.0.push_back(at);
        let is_human = self.0.len() > judged && self.0.front().is_some_and(|first| is_human(at.since(*first), judged));
        Impression { is_human, anomaly }
    }

    fn anomaly(&self, at: Timestamp) -> Option<Anomaly> {
        let burst = 1 + self.0.iter().rev().take_while(|before| at.since(**before) < BURST).count();
        // The first of those known come without what was before them: their bursts would look too small.
        let known_from = *self.0.front()? + BURST;
        let mut first = 0;
        let mut bursts = Vec::with_capacity(self.0.len());
        for (nth, message) in self.0.iter().enumerate() {
            while message.since(self.0[first]) >= BURST {
                first += 1;
            }
            if *message >= known_from {
                bursts.push((nth + 1 - first) as f64);
            }
        }
        if bursts.is_empty() {
            return None;
        }
        let mean = bursts.iter().sum::<f64>() / bursts.len() as f64;
        let variance = bursts.iter().map(|burst| (burst - mean).powi(2)).sum::<f64>() / bursts.len() as f64;
        let most = mean + DEVIATIONS * variance.sqrt().max(LEAST_DEVIATION);
        (burst as f64 > most).then_some(Anomaly { burst, mean })
    }
}

fn is_human(time: Duration, intervals: usize) -> bool {
    time >= HUMAN_PAUSE.saturating_mul(u32::try_from(intervals).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGED: usize = 50;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    /// The impressions of messages that come this long after each other.
    fn send(habit: &mut Habit, from: i64, pause: i64, count: i64) -> Vec<Impression> {
        (1..=count).map(|nth| habit.note(at(from + nth * pause), JUDGED)).collect()
    }

    #[test]
    fn who_takes_time_looks_human_once_there_are_enough_messages() {
        let seen = send(&mut Habit::default(), 0, 500, 60);
        assert!(seen[..50].iter().all(|seen| !seen.is_human));
        assert!(seen[50..].iter().all(|seen| seen.is_human));
        assert!(send(&mut Habit::default(), 0, 499, 60).iter().all(|seen| !seen.is_human));
    }

    #[test]
    fn a_burst_unlike_those_before_is_an_anomaly_once_and_costs_the_bonus() {
        let mut habit = Habit::default();
        assert!(send(&mut habit, 0, 5000, 60).iter().all(|seen| seen.anomaly.is_none()));
        // Two in 10 s are usual, four are no surprise, five are one.
        let burst = send(&mut habit, 300_000, 100, 10);
        let found: Vec<usize> = burst.iter().filter_map(|seen| seen.anomaly).map(|anomaly| anomaly.burst).collect();
        assert_eq!(found, [5]);
        assert!(!burst[9].is_human);
        let later = send(&mut habit, 400_000, 5000, 60);
        assert!(!later[30].is_human && later[50].is_human);
    }

    #[test]
    fn who_always_sends_in_bursts_surprises_nobody() {
        let mut habit = Habit::default();
        for burst in 0..30 {
            let seen = send(&mut habit, burst * 60_000, 300, 6);
            assert!(seen.iter().all(|seen| seen.anomaly.is_none()), "{burst}: {seen:?}");
        }
    }
}
