//! How much of the limits somebody has used, as all nodes count it on the server.

use std::sync::LazyLock;

use redis::Script;

use super::{Kind, Rules, Subject, shared};
use crate::live::redis::{Away, Redis};

/// Keys: a subject's windows. Arguments: the length of each window in milliseconds. Returns how many each holds now.
static USED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local used = {}
for w = 1, #ARGV do
    used[w] = 0
end
local entries = redis.call('HGETALL', KEYS[1])
for e = 1, #entries, 2 do
    local w, part = string.match(entries[e], '(%d+):(%d+)')
    w = tonumber(w)
    if w <= #ARGV and (tonumber(part) + 1) * (ARGV[w] / 10) + ARGV[w] > now then
        used[w] = used[w] + tonumber(entries[e + 1])
    end
end
return used
",
    )
});

/// What a subject has used of each limit of a kind, shares that nodes hold included.
pub(super) async fn used(redis: &Redis, rules: &Rules, kind: Kind, subject: Subject) -> Result<Vec<u32>, Away> {
    let mut call = USED.key(redis.keys().counts(&shared::name(kind, subject)));
    for rate in rules.rates(kind) {
        call.arg(shared::millis(rate.window));
    }
    redis.script("used_limits", &call).await
}
