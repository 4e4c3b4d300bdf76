//! What must happen on the server at once, one round trip each. Offsets are exact up to 2^53.

use std::sync::LazyLock;

use redis::Script;

use super::history::Bounds;
use crate::{
    live::redis::{Away, Redis},
    model::topic::{Epoch, Position, Topic},
};

/// How long the place of a topic is kept after its last event or viewer, and at least as long as its history: viewers of a quiet
/// topic do not have to recover when it wakes up.
const PLACE_TTL_MS: u64 = 7 * 24 * 3600 * 1000;

/// Keys: place, history. Arguments: the epoch of a topic that has none, the body, the channel, and the bounds of the
/// history: events, bytes, milliseconds; then how long to keep the place. Returns the event's epoch and offset.
static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local body = ARGV[2]
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
    epoch = ARGV[1]
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0)
end
local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
local length = redis.call('RPUSH', KEYS[2], body)
local weight = #body
if length > 1 then
    weight = weight + tonumber(redis.call('HGET', KEYS[1], 'weight'))
end
while length > tonumber(ARGV[4]) or weight > tonumber(ARGV[5]) do
    weight = weight - #redis.call('LPOP', KEYS[2])
    length = length - 1
end
redis.call('HSET', KEYS[1], 'weight', weight)
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('PUBLISH', ARGV[3], string.format('%s %.0f %s', epoch, offset, body))
return {epoch, offset}
",
    )
});

/// Keys: place, history. Arguments: the epoch of a topic that has none, how long to keep the place, the epoch and the
/// offset that the caller knows. Returns the topic's epoch and offset, then the bodies after the known offset, as far as
/// they are kept; none for another epoch.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
    epoch = ARGV[1]
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local offset = tonumber(redis.call('HGET', KEYS[1], 'offset'))
local missed = offset - tonumber(ARGV[4])
local bodies = {}
if epoch == ARGV[3] and missed > 0 then
    bodies = redis.call('LRANGE', KEYS[2], string.format('%.0f', -missed), -1)
end
return {epoch, offset, bodies}
",
    )
});

/// Keys: place, history. Arguments: the epoch that begins, the offset at which it does, the channel, how long to keep the
/// place. Returns the epoch and the offset before.
static BEGIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local before = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'offset', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[3], string.format('%s %s ', ARGV[1], ARGV[2]))
return before
",
    )
});

/// What the server keeps of a topic.
#[derive(Debug)]
pub(super) struct Kept {
    /// Where its log stands.
    pub(super) position: Position,
    /// The bodies of the latest events, up to that position.
    pub(super) bodies: Vec<String>,
}

impl Kept {
    /// The offset of the first body.
    pub(super) fn first(&self) -> u64 {
        (self.position.offset + 1).saturating_sub(self.bodies.len() as u64)
    }
}

/// Appends an event to a topic's log, which keeps to the bounds, and tells all nodes; returns its place.
pub(super) async fn publish(redis: &Redis, bounds: Bounds, topic: &Topic, body: &str) -> Result<Position, Away> {
    let keys = redis.keys();
    let mut call = PUBLISH.key(keys.place(topic));
    call.key(keys.history(topic)).arg(new_epoch()).arg(body).arg(keys.channel(topic));
    let age_ms = bounds.age.as_millis() as u64;
    call.arg(bounds.events).arg(bounds.bytes).arg(age_ms).arg(PLACE_TTL_MS.max(age_ms));
    let (epoch, offset): (String, u64) = redis.script("publish", &call).await?;
    position(&epoch, offset)
}

/// Tells all nodes something that is not kept.
pub(super) async fn tell(redis: &Redis, topic: &Topic, payload: &str) -> Result<(), Away> {
    let tell = redis::Cmd::new().arg("PUBLISH").arg(redis.keys().channel(topic)).arg(payload).to_owned();
    redis.command("whisper", &tell).await
}

/// Where a topic's log stands, and what came after a place in it.
pub(super) async fn read(redis: &Redis, topic: &Topic, known: Option<Position>) -> Result<Kept, Away> {
    let keys = redis.keys();
    let mut call = READ.key(keys.place(topic));
    call.key(keys.history(topic)).arg(new_epoch()).arg(PLACE_TTL_MS);
    call.arg(known.map_or_else(String::new, |known| known.epoch.to_string()));
    call.arg(known.map_or(0, |known| known.offset));
    let (epoch, offset, bodies): (String, u64, Vec<String>) = redis.script("read_topic", &call).await?;
    Ok(Kept { position: position(&epoch, offset)?, bodies })
}

/// Begins an epoch at a position, and tells all nodes; returns the position before.
pub(super) async fn begin(redis: &Redis, topic: &Topic, at: Position) -> Result<Option<Position>, Away> {
    let keys = redis.keys();
    let mut call = BEGIN.key(keys.place(topic));
    call.key(keys.history(topic)).arg(at.epoch.to_string()).arg(at.offset).arg(keys.channel(topic)).arg(PLACE_TTL_MS);
    let before: (Option<String>, Option<u64>) = redis.script("begin_epoch", &call).await?;
    match before {
        (Some(epoch), Some(offset)) => position(&epoch, offset).map(Some),
        _ => Ok(None),
    }
}

fn new_epoch() -> String {
    Epoch(rand::random()).to_string()
}

fn position(epoch: &str, offset: u64) -> Result<Position, Away> {
    match epoch.parse() {
        Ok(epoch) => Ok(Position { epoch, offset }),
        Err(_) => {
            tracing::error!(epoch, "redis holds an epoch that is none of ours");
            Err(Away)
        }
    }
}
