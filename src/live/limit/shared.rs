//! What all nodes count together on the server: one script for everything that a check is about. It lends the node a share of
//! what is left, to be spent without asking.

use std::{sync::LazyLock, time::Duration};

use redis::Script;
use tokio::{sync::OwnedMutexGuard, time::Instant};

use super::{FIRST_PAUSE, Kind, LONGEST_PAUSE, Refused, Rules, Subject, memory::Account, windows};
use crate::{
    live::redis::{Away, Redis},
    model::limit::{Allowance, Rate, Violation},
};

/// How long a share may be spent; what is left of it then goes back with the next question, or by itself.
const SHARE_LIFE: Duration = Duration::from_secs(5);
/// For how long a refusal is repeated without asking again.
const REFUSAL_LIFE: Duration = Duration::from_secs(1);
/// Violations that are listed at most, the latest.
const MOST_LISTED: usize = 1000;

/// Keys: the index of violators; then of each subject its windows, a hash of counts by `window:part`, and its strikes, a hash.
///
/// Arguments: how long a share lives, the bonus in percent, how long violations last, the first and the longest pause, and the
/// number of windows; for each window its length and limit; for each subject its name, and of its last share the time at which it was counted, how
/// many it was, how many of them were used, and how long ago the last. Times are in milliseconds, by the server's clock.
///
/// First what was not used of the last shares goes back, and what was used is counted at the time when it was. Then one of each
/// subject's windows has no room: a violation is noted, and nobody gets anything; or each subject gets a share of a quarter of what
/// is left, and at least of one. A share is counted at the end of its life, so that it counts for as long as any of it may.
static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local life, percent, ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first, longest = tonumber(ARGV[4]), tonumber(ARGV[5])
local windows, length, limit, widest = tonumber(ARGV[6]), {}, {}, 0
for w = 1, windows do
    length[w], limit[w] = tonumber(ARGV[5 + 2 * w]), tonumber(ARGV[6 + 2 * w])
    widest = math.max(widest, length[w])
end
local subjects = {}
for s = 1, (#KEYS - 1) / 2 do
    local at = 6 + 2 * windows + 5 * (s - 1)
    subjects[s] = {
        counts = KEYS[2 * s], strikes = KEYS[2 * s + 1], name = ARGV[at + 1], counted_at = tonumber(ARGV[at + 2]),
        granted = tonumber(ARGV[at + 3]), used = tonumber(ARGV[at + 4]), used_at = now - tonumber(ARGV[at + 5]),
    }
end
local function field(w, at)
    return string.format('%d:%d', w, math.floor(at / (length[w] / 10)))
end
local function add(key, w, at, count)
    if redis.call('HINCRBY', key, field(w, at), count) <= 0 then
        redis.call('HDEL', key, field(w, at))
    end
end
for _, subject in ipairs(subjects) do
    for w = 1, windows do
        local counted = subject.granted > 0 and redis.call('HGET', subject.counts, field(w, subject.counted_at))
        if counted and tonumber(counted) >= subject.granted then
            add(subject.counts, w, subject.counted_at, -subject.granted)
            if subject.used > 0 then
                add(subject.counts, w, subject.used_at, subject.used)
            end
        end
    end
end
for s, subject in ipairs(subjects) do
    local strikes = redis.call('HMGET', subject.strikes, 'count', 'until')
    if strikes[1] then
        percent = 100
        if tonumber(strikes[2]) > now then
            return {0, s, tonumber(strikes[2]) - now, 0, 0}
        end
    end
end
local answer = {1}
for s, subject in ipairs(subjects) do
    local counted, parts = {}, {}
    for w = 1, windows do
        counted[w], parts[w] = 0, {}
    end
    local entries = redis.call('HGETALL', subject.counts)
    for e = 1, #entries, 2 do
        local w, part = string.match(entries[e], '(%d+):(%d+)')
        w = tonumber(w)
        if w <= windows then
            local gone_at = (tonumber(part) + 1) * (length[w] / 10) + length[w]
            if gone_at <= now then
                redis.call('HDEL', subject.counts, entries[e])
            else
                counted[w] = counted[w] + tonumber(entries[e + 1])
                table.insert(parts[w], {gone_at, tonumber(entries[e + 1])})
            end
        end
    end
    local nearest, left, wait = 0, math.huge, 0
    for w = 1, windows do
        local most = math.floor(limit[w] * percent / 100)
        local free, until_free = math.max(most - counted[w], 0), 0
        table.sort(parts[w], function(a, b) return a[1] < b[1] end)
        for _, part in ipairs(parts[w]) do
            until_free = part[1] - now
            counted[w] = counted[w] - part[2]
            if counted[w] < most then break end
        end
        if free < left or (free == left and until_free > wait) then
            nearest, left, wait = w, free, until_free
        end
    end
    if left < 1 then
        local count = redis.call('HINCRBY', subject.strikes, 'count', 1)
        local pause = math.max(math.min(first * 2 ^ (count - 1), longest), math.min(wait, longest))
        redis.call('HSET', subject.strikes, 'until', string.format('%d', now + pause))
        redis.call('PEXPIRE', subject.strikes, math.max(ttl, pause))
        redis.call('ZADD', KEYS[1], now + math.max(ttl, pause), subject.name)
        redis.call('PEXPIRE', KEYS[1], math.max(ttl, longest))
        return {0, s, pause, nearest, 1}
    end
    subject.share = math.max(1, math.floor(left / 4))
    subject.counted_at = now
    if subject.share > 1 then
        subject.counted_at = now + life
    end
    for _, number in ipairs({subject.share, subject.counted_at, left - subject.share, nearest, wait, percent}) do
        table.insert(answer, number)
    end
end
for _, subject in ipairs(subjects) do
    for w = 1, windows do
        add(subject.counts, w, subject.counted_at, subject.share)
    end
    redis.call('PEXPIRE', subject.counts, math.ceil(widest * 1.1) + life)
end
return answer
",
    )
});

/// Keys: the index of violators. Arguments: what precedes and follows a name in the key of its strikes, and how many to list. Returns names, each
/// with its count and the milliseconds that it lasts yet.
static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local listed = redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1, 'WITHSCORES')
local answer = {}
for l = 1, #listed, 2 do
    local count = redis.call('HGET', ARGV[1] .. listed[l] .. ARGV[2], 'count')
    if count then
        table.insert(answer, {listed[l], count, string.format('%d', tonumber(listed[l + 1]) - now)})
    end
end
return answer
",
    )
});

/// Keys: the index of violators, then of each subject its windows and its strikes. Arguments: the subjects' names. Forgets them.
static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
for k = 2, #KEYS do
    redis.call('DEL', KEYS[k])
end
for _, name in ipairs(ARGV) do
    redis.call('ZREM', KEYS[1], name)
end
",
    )
});

/// What the server has said of a subject, as far as it still holds.
#[derive(Debug, Default)]
pub(super) enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// What may be spent without asking.
    Share(Share),
    /// That it must wait.
    Barred {
        /// Until when.
        until: Instant,
        /// From when on to ask again: somebody may have forgiven it.
        ask_at: Instant,
    },
}

/// A part of what is left, lent to this node.
#[derive(Debug)]
pub(super) struct Share {
    granted: u32,
    used: u32,
    used_at: Instant,
    good_until: Instant,
    /// The server's time at which it is counted, in milliseconds.
    counted_at: i64,
    /// What was left besides.
    rest: Allowance,
}

impl Share {
    fn is_good(&self, now: Instant) -> bool {
        self.used < self.granted && now < self.good_until
    }

    fn allowance(&self) -> Allowance {
        Allowance { left: self.rest.left.saturating_add(self.granted - self.used), ..self.rest }
    }
}

type Locked = (Subject, OwnedMutexGuard<Account>);

/// Decides by what the server has said lately; `None` when it must be asked.
pub(super) fn recall(accounts: &mut [Locked]) -> Option<Result<Option<Allowance>, Refused>> {
    let now = Instant::now();
    for (subject, account) in accounts.iter() {
        if let Told::Barred { until, ask_at } = &account.told
            && now < *ask_at
            && now < *until
        {
            let retry_after = *until - now;
            return Some(Err(Refused { subject: *subject, rate: None, retry_after, is_new: false }));
        }
    }
    let is_good = |(_, account): &Locked| matches!(&account.told, Told::Share(share) if share.is_good(now));
    accounts.iter().all(is_good).then(|| Ok(spend(accounts, now)))
}

/// Asks the server, and returns to it what was not used.
pub(super) async fn admit(
    redis: &Redis,
    accounts: &mut [Locked],
    rules: &Rules,
    kind: Kind,
    has_bonus: bool,
) -> Result<Result<Option<Allowance>, Refused>, Away> {
    let asked_at = Instant::now();
    let rates = rules.rates(kind);
    let mut call = ADMIT.prepare_invoke();
    call.key(redis.keys().violators());
    call.arg(millis(SHARE_LIFE)).arg(if has_bonus { windows::BONUS_PERCENT } else { 100 });
    call.arg(millis(rules.violation_ttl)).arg(millis(FIRST_PAUSE)).arg(millis(LONGEST_PAUSE)).arg(rates.len());
    for rate in rates {
        call.arg(millis(rate.window)).arg(rate.limit);
    }
    for (subject, account) in accounts.iter() {
        let name = name(kind, *subject);
        call.key(redis.keys().counts(&name)).key(redis.keys().strikes(&name)).arg(name);
        match &account.told {
            Told::Share(share) => {
                let age = millis(asked_at.saturating_duration_since(share.used_at));
                call.arg(share.counted_at).arg(share.granted).arg(share.used).arg(age);
            }
            Told::Nothing | Told::Barred { .. } => {
                call.arg(0).arg(0).arg(0).arg(0);
            }
        }
    }
    let answer: Vec<i64> = redis.script("admit", &call).await?;
    let rate_of = |window: i64| rates.get(usize::try_from(window - 1).ok()?).copied();
    match answer.split_first() {
        Some((1, shares)) => {
            for ((_, account), share) in accounts.iter_mut().zip(shares.chunks(6)) {
                account.told = match *share {
                    [granted, counted_at, left, window, wait, percent] => Told::Share(Share {
                        granted: number(granted),
                        used: 0,
                        used_at: asked_at,
                        good_until: asked_at + SHARE_LIFE,
                        counted_at,
                        rest: rest(rate_of(window), left, wait, percent > 100),
                    }),
                    _ => Told::Nothing,
                };
            }
            Ok(Ok(spend(accounts, asked_at)))
        }
        Some((0, [nth, wait, window, is_new])) => {
            let retry_after = Duration::from_millis(wait.unsigned_abs());
            // What was lent went back with the question.
            accounts.iter_mut().for_each(|(_, account)| account.told = Told::Nothing);
            let nth = usize::try_from(nth - 1).unwrap_or_default().min(accounts.len() - 1);
            let (subject, account) = &mut accounts[nth];
            account.told = Told::Barred { until: asked_at + retry_after, ask_at: asked_at + REFUSAL_LIFE };
            Ok(Err(Refused { subject: *subject, rate: rate_of(*window), retry_after, is_new: *is_new == 1 }))
        }
        _ => {
            tracing::error!(?answer, "the server answered what no limit says");
            Err(Away)
        }
    }
}

/// The violations that have not faded, the latest first.
pub(super) async fn violations(redis: &Redis) -> Result<Vec<Violation>, Away> {
    const NAME: &str = "\n";
    let key = redis.keys().strikes(NAME);
    let (before, after) = key.split_once(NAME).unwrap_or_default();
    let mut call = LIST.prepare_invoke();
    call.key(redis.keys().violators()).arg(before).arg(after).arg(MOST_LISTED);
    let listed: Vec<(String, u32, u64)> = redis.script("list_violations", &call).await?;
    let violation = |(name, count, ttl_ms): (String, u32, u64)| {
        let (_, identifier) = name.split_once(':')?;
        Some(Violation { identifier: identifier.to_owned(), count, ttl: Duration::from_millis(ttl_ms) })
    };
    Ok(listed.into_iter().filter_map(violation).collect())
}

/// Forgets what was counted and noted of a subject.
pub(super) async fn forget(redis: &Redis, subject: Subject) -> Result<(), Away> {
    let mut call = FORGET.prepare_invoke();
    call.key(redis.keys().violators());
    for kind in Kind::ALL {
        let name = name(kind, subject);
        call.key(redis.keys().counts(&name)).key(redis.keys().strikes(&name)).arg(name);
    }
    redis.script("forget_limits", &call).await
}

fn spend(accounts: &mut [Locked], now: Instant) -> Option<Allowance> {
    let mut nearest: Option<Allowance> = None;
    for (_, account) in accounts {
        if let Told::Share(share) = &mut account.told {
            share.used += 1;
            share.used_at = now;
            let allowance = share.allowance();
            nearest = Some(nearest.map_or(allowance, |nearest| nearest.nearer(allowance)));
        }
    }
    nearest
}

fn rest(rate: Option<Rate>, left: i64, wait: i64, has_bonus: bool) -> Allowance {
    let rate = rate.unwrap_or(Rate { limit: u32::MAX, window: Duration::ZERO });
    let rate = windows::with_bonus(rate, has_bonus);
    Allowance { rate, left: number(left), wait: Duration::from_millis(wait.unsigned_abs()) }
}

pub(super) fn name(kind: Kind, subject: Subject) -> String {
    format!("{}:{subject}", kind.as_str())
}

fn number(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
