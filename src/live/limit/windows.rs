//! Sliding windows. What is counted falls into tenths of its window, and counts until its tenth has left the window whole: for
//! its window's length and at most a tenth longer, so that no window ever holds more than its limit.

use std::{cmp::Reverse, collections::VecDeque, time::Duration};

use crate::model::{
    clock::Timestamp,
    limit::{Allowance, Rate},
};

/// Parts of a window.
const PARTS: i64 = 10;
/// What somebody with a bonus has, in percent of the limits.
pub(super) const BONUS_PERCENT: u64 = 120;

/// What was counted, for each rate in its order: the number of the part and how many, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Windows(Vec<VecDeque<(i64, u32)>>);

impl Windows {
    /// What is left of the window that is nearest to its limit; `wait` is then how long until another one fits.
    pub(super) fn allowance(&mut self, rates: &[Rate], has_bonus: bool, now: Timestamp) -> Option<Allowance> {
        self.0.resize_with(rates.len(), VecDeque::new);
        let windows = rates.iter().zip(&mut self.0).map(|(rate, parts)| allowance(*rate, parts, has_bonus, now));
        windows.min_by_key(|allowance| (allowance.left, Reverse(allowance.wait)))
    }

    /// What each window holds.
    pub(super) fn used(&mut self, rates: &[Rate], now: Timestamp) -> Vec<u32> {
        self.0.resize_with(rates.len(), VecDeque::new);
        let windows = rates.iter().zip(&mut self.0).map(|(rate, parts)| {
            forget_gone(*rate, parts, now);
            parts.iter().map(|(_, count)| *count).sum()
        });
        windows.collect()
    }

    /// Counts one.
    pub(super) fn count(&mut self, rates: &[Rate], now: Timestamp) {
        self.0.resize_with(rates.len(), VecDeque::new);
        for (rate, parts) in rates.iter().zip(&mut self.0) {
            let part = now.as_micros().div_euclid(width(*rate));
            match parts.back_mut() {
                // A clock that was set back does not make the order wrong.
                Some((last, count)) if *last >= part => *count = count.saturating_add(1),
                _ => parts.push_back((part, 1)),
            }
        }
    }
}

/// The limit of a rate, for somebody with or without a bonus.
pub(super) fn with_bonus(rate: Rate, has_bonus: bool) -> Rate {
    let percent = if has_bonus { BONUS_PERCENT } else { 100 };
    Rate { limit: u32::try_from(u64::from(rate.limit) * percent / 100).unwrap_or(u32::MAX), ..rate }
}

fn allowance(rate: Rate, parts: &mut VecDeque<(i64, u32)>, has_bonus: bool, now: Timestamp) -> Allowance {
    forget_gone(rate, parts, now);
    let gone_at = |part| gone_at(rate, part);
    let rate = with_bonus(rate, has_bonus);
    let mut counted: u64 = parts.iter().map(|(_, count)| u64::from(*count)).sum();
    let left = u64::from(rate.limit).saturating_sub(counted);
    let mut wait = Duration::ZERO;
    for (part, count) in parts {
        wait = gone_at(*part).since(now);
        counted -= u64::from(*count);
        if counted < u64::from(rate.limit) {
            break;
        }
    }
    Allowance { rate, left: u32::try_from(left).unwrap_or(u32::MAX), wait }
}

/// Forgets what has left the window.
fn forget_gone(rate: Rate, parts: &mut VecDeque<(i64, u32)>, now: Timestamp) {
    while parts.front().is_some_and(|(part, _)| gone_at(rate, *part) <= now) {
        parts.pop_front();
    }
}

/// When a part has left the window whole.
fn gone_at(rate: Rate, part: i64) -> Timestamp {
    Timestamp::from_micros((part + 1).saturating_mul(width(rate))) + rate.window
}

/// The length of a part in microseconds.
fn width(rate: Rate) -> i64 {
    i64::try_from(rate.window.as_micros()).unwrap_or(i64::MAX).div_euclid(PARTS).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: [Rate; 2] =
        [Rate { limit: 3, window: Duration::from_secs(1) }, Rate { limit: 10, window: Duration::from_secs(60) }];

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    /// Tries at these times; returns those that were allowed.
    fn try_at(times: impl IntoIterator<Item = i64>, has_bonus: bool) -> Vec<i64> {
        let mut windows = Windows::default();
        let mut allowed = Vec::new();
        for millis in times {
            if windows.allowance(&RATES, has_bonus, at(millis)).unwrap().left > 0 {
                windows.count(&RATES, at(millis));
                allowed.push(millis);
            }
        }
        allowed
    }

    #[test]
    fn each_window_has_its_limit() {
        assert_eq!(try_at([0, 1, 2, 3, 999], false), [0, 1, 2]);
        assert_eq!(try_at((0..20).map(|nth| nth * 1200), false).len(), 10);
        assert_eq!(try_at((0..20).map(|nth| nth * 1200), true).len(), 12);
    }

    #[test]
    fn the_wait_is_until_another_one_fits() {
        let mut windows = Windows::default();
        for millis in [0, 150, 160] {
            windows.count(&RATES, at(millis));
        }
        let nearest = windows.allowance(&RATES, false, at(500)).unwrap();
        assert_eq!((nearest.rate, nearest.left, nearest.wait), (RATES[0], 0, Duration::from_millis(600)));
        assert_eq!(windows.allowance(&RATES, false, at(1099)).unwrap().left, 0);
        assert_eq!(windows.allowance(&RATES, false, at(1100)).unwrap().left, 1);
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_its_limit(pauses in prop::collection::vec(0i64..400, 1..300)) {
            let times = pauses.iter().scan(0, |now, pause| { *now += pause; Some(*now) });
            let allowed = try_at(times, false);
            for rate in RATES {
                let length = rate.window.as_millis() as i64;
                for (nth, from) in allowed.iter().enumerate() {
                    let within = allowed[nth..].iter().filter(|time| **time - from < length).count();
                    prop_assert!(within <= rate.limit as usize);
                }
            }
        }
    }
}
