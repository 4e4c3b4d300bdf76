//! Places that all nodes count together, on the server: each lives for as long as its node says so.

use std::{sync::LazyLock, time::Duration};

use redis::Script;

use super::{Holder, Place, PlaceLimits};
use crate::{
    live::redis::{Away, Redis},
    model::ids::ConnectionId,
};

/// How long a place is taken without a sign of life of its node.
const LIFE: Duration = Duration::from_secs(30);
/// Places that are spoken of in one call.
const AT_ONCE: usize = 500;

/// Keys: the sorted sets of the user and, when it is known, of the address. Arguments: how long a place lives in milliseconds,
/// the connection, and the limit of each key. Returns which key is full, or 0 when a place was taken in each.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for nth, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= tonumber(ARGV[2 + nth]) then
        return nth
    end
end
for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + ARGV[1], ARGV[2])
    redis.call('PEXPIRE', key, ARGV[1])
end
return 0
",
    )
});

/// Keys: sorted sets, one for each place. Arguments: how long a place lives in milliseconds, then the connections.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for nth, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + ARGV[1], ARGV[1 + nth])
    redis.call('PEXPIRE', key, ARGV[1])
end
",
    )
});

/// Keys: sorted sets, one for each place. Arguments: the connections that give them up.
static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
for nth, key in ipairs(KEYS) do
    redis.call('ZREM', key, ARGV[nth])
end
",
    )
});

/// Keys: a sorted set. Returns how many places are taken.
static USED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')
",
    )
});

/// Takes a place; whose are all taken, if anybody's.
pub(super) async fn take(redis: &Redis, limits: &PlaceLimits, place: &Place) -> Result<Option<&'static str>, Away> {
    let mut call = TAKE.prepare_invoke();
    call.arg(life_ms()).arg(place.id.to_string());
    for holder in &place.holders {
        call.key(redis.keys().places(&holder.name())).arg(limits.of(*holder));
    }
    let full: usize = redis.script("take_place", &call).await?;
    Ok(full.checked_sub(1).and_then(|nth| place.holders.get(nth)).map(|holder| holder.as_str()))
}

/// Says which places of this node are still taken.
pub(super) async fn renew(redis: &Redis, living: &[(Holder, ConnectionId)]) -> Result<(), Away> {
    for places in living.chunks(AT_ONCE) {
        let mut call = RENEW.prepare_invoke();
        call.arg(life_ms());
        for (holder, id) in places {
            call.key(redis.keys().places(&holder.name())).arg(id.to_string());
        }
        let () = redis.script("renew_places", &call).await?;
    }
    Ok(())
}

/// Gives places up.
pub(super) async fn leave(redis: &Redis, left: &[(Holder, ConnectionId)]) -> Result<(), Away> {
    for places in left.chunks(AT_ONCE) {
        let mut call = LEAVE.prepare_invoke();
        for (holder, id) in places {
            call.key(redis.keys().places(&holder.name())).arg(id.to_string());
        }
        let () = redis.script("leave_places", &call).await?;
    }
    Ok(())
}

/// How many places are taken.
pub(super) async fn used(redis: &Redis, holder: Holder) -> Result<usize, Away> {
    redis.script("used_places", &USED.key(redis.keys().places(&holder.name()))).await
}

fn life_ms() -> u64 {
    u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX)
}
