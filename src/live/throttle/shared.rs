//! Attempts that are counted on the server, for all nodes together.

use std::sync::LazyLock;

use redis::Script;

use super::{Attempt, Subject, ThrottleLimits};
use crate::{
    live::redis::{Away, Redis},
    model::clock::Timestamp,
};

/// Keys: the account and, when it is known, the address. Arguments: the time, the time before which nothing counts any
/// more, how long to keep the keys in milliseconds, a name for the attempt, and the limit of each key. Returns the time of
/// the oldest attempt when there were too many; else this one is counted.
static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
for nth, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[2])
    local count = redis.call('ZCARD', key)
    if count > 0 and count >= tonumber(ARGV[4 + nth]) then
        return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    end
end
for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, ARGV[1], ARGV[4])
    redis.call('PEXPIRE', key, ARGV[3])
end
return false
",
    )
});

/// Keys: as above. Forgets all of the account's attempts, and the latest of the address's.
static FORGIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
redis.call('DEL', KEYS[1])
if KEYS[2] then
    redis.call('ZPOPMAX', KEYS[2])
end
",
    )
});

/// As [`Memory::admit`](super::memory::Memory::admit).
pub(super) async fn admit(
    redis: &Redis,
    limits: &ThrottleLimits,
    attempt: &Attempt,
) -> Result<Option<Timestamp>, Away> {
    let mut call = ADMIT.prepare_invoke();
    for key in keys(redis, attempt) {
        call.key(key);
    }
    let keep_ms = u64::try_from(limits.window.as_millis()).unwrap_or(u64::MAX).max(1);
    call.arg(attempt.at.as_micros()).arg((attempt.at - limits.window).as_micros()).arg(keep_ms);
    call.arg(uuid::Uuid::now_v7().to_string()).arg(limits.per_account).arg(limits.per_address);
    // A score comes as the text of a floating-point number; microseconds are exact in it until the year 2255.
    let oldest: Option<f64> = redis.script("admit_attempt", &call).await?;
    Ok(oldest.map(|micros| Timestamp::from_micros(micros as i64)))
}

/// As [`Memory::forgive`](super::memory::Memory::forgive).
pub(super) async fn forgive(redis: &Redis, attempt: &Attempt) -> Result<(), Away> {
    let mut call = FORGIVE.prepare_invoke();
    for key in keys(redis, attempt) {
        call.key(key);
    }
    redis.script("forgive_attempt", &call).await
}

fn keys(redis: &Redis, attempt: &Attempt) -> impl Iterator<Item = String> {
    [Some(&attempt.account), attempt.address.as_ref()].into_iter().flatten().map(|subject| match subject {
        Subject::Account(account) => redis.keys().attempts_as(account),
        Subject::Address(address) => redis.keys().attempts_from(*address),
    })
}
