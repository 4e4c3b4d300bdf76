//! Presence on the server, for all nodes together: one script for each change. What a node holds lies together with the
//! register of nodes, so that the part of one that is gone is taken out at once, and only once.

use std::{collections::HashMap, sync::LazyLock};

use redis::Script;

use super::{
    CHOICE_TTL,
    table::{Kept, Part, Wish, status},
};
use crate::{
    live::redis::{Away, Keys, Redis},
    model::{
        ids::{ConversationId, NodeId, UserId},
        presence::{Status, StatusChange},
    },
};

/// Entries that are taken out of a node's part at once.
pub(super) const BURIAL: usize = 200;
/// The field of what a user chose.
const CHOICE: &str = "choice";

/// Keys: the nodes, the user, what this node holds. Arguments: this node, its part or nothing, the entry of what it holds, a
/// new choice or nothing, how long a choice is kept of somebody who is not there. Returns the user's fields after this, and
/// the choice before; nothing when this node does not count as alive.
static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local chosen = redis.call('HGET', KEYS[2], 'choice')
if ARGV[2] ~= '' then
    local time = redis.call('TIME')
    local until_now = redis.call('ZSCORE', KEYS[1], ARGV[1])
    if not until_now or tonumber(until_now) <= time[1] * 1000 + math.floor(time[2] / 1000) then
        return false
    end
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
    redis.call('SADD', KEYS[3], ARGV[3])
else
    redis.call('HDEL', KEYS[2], ARGV[1])
    redis.call('SREM', KEYS[3], ARGV[3])
end
if ARGV[4] == 'online' then
    redis.call('HDEL', KEYS[2], 'choice')
elseif ARGV[4] ~= '' then
    redis.call('HSET', KEYS[2], 'choice', ARGV[4])
end
if redis.call('HLEN', KEYS[2]) == redis.call('HEXISTS', KEYS[2], 'choice') then
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
else
    redis.call('PERSIST', KEYS[2])
end
return {redis.call('HGETALL', KEYS[2]), chosen or 'online'}
",
    )
});

/// Keys: the nodes, the view, what this node holds. Arguments: this node, whether it has the view, the entry of what it
/// holds. Returns on how many other nodes the user views the conversation; nothing when this node does not count as alive.
static SETTLE_VIEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if ARGV[2] == '1' then
    local time = redis.call('TIME')
    local until_now = redis.call('ZSCORE', KEYS[1], ARGV[1])
    if not until_now or tonumber(until_now) <= time[1] * 1000 + math.floor(time[2] / 1000) then
        return false
    end
    redis.call('SADD', KEYS[2], ARGV[1])
    redis.call('SADD', KEYS[3], ARGV[3])
    return redis.call('SCARD', KEYS[2]) - 1
end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[3])
return redis.call('SCARD', KEYS[2])
",
    )
});

/// Keys: the nodes, what the node that is gone holds. Arguments: that node, how many entries to take out, the root of all
/// entries, how long a choice is kept of somebody who is not there. Returns what was taken out: each entry, what it was, and
/// what is left of it. Of a node that is alive nothing is taken.
static BURY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local until_now = redis.call('ZSCORE', KEYS[1], ARGV[1])
if until_now and tonumber(until_now) > time[1] * 1000 + math.floor(time[2] / 1000) then
    return {}
end
local taken = {}
for _, entry in ipairs(redis.call('SPOP', KEYS[2], ARGV[2])) do
    local key = ARGV[3] .. entry
    if string.sub(entry, 1, 5) == 'user:' then
        local was = redis.call('HGET', key, ARGV[1])
        redis.call('HDEL', key, ARGV[1])
        if redis.call('HLEN', key) == 1 and redis.call('HEXISTS', key, 'choice') == 1 then
            redis.call('PEXPIRE', key, ARGV[4])
        end
        taken[#taken + 1] = {entry, was or '', redis.call('HGETALL', key)}
    else
        redis.call('SREM', key, ARGV[1])
        taken[#taken + 1] = {entry, '', redis.call('SMEMBERS', key)}
    end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('ZREM', KEYS[1], ARGV[1])
end
return taken
",
    )
});

/// Keys: users. Returns the fields of each.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found = {}
for nth, key in ipairs(KEYS) do
    found[nth] = redis.call('HGETALL', key)
end
return found
",
    )
});

/// What went with a node.
#[derive(Debug)]
pub(super) enum Buried {
    /// A user, who is something else now.
    User(UserId, Status),
    /// The last view of a conversation that a user had.
    View(ConversationId, UserId),
}

/// Tells the others what a user is here; what they keep of the user then. `None` when they do not count this node as alive.
pub(super) async fn settle(redis: &Redis, user: UserId, wish: Wish) -> Result<Option<Kept>, Away> {
    let (keys, entry) = (redis.keys(), Keys::user(user));
    let mut call = SETTLE.key(keys.nodes());
    call.key(format!("{}{entry}", keys.held_root())).key(keys.held(redis.node()));
    call.arg(redis.node().to_string()).arg(written(wish.part)).arg(entry);
    call.arg(wish.choice.map_or("", Status::as_str)).arg(choice_ttl_ms());
    let answer: Option<(HashMap<String, String>, String)> = redis.script("settle_user", &call).await?;
    Ok(answer.map(|(fields, was_chosen)| {
        let (choice, elsewhere) = read(&fields, Some(redis.node()));
        Kept { was_chosen: was_chosen.parse().unwrap_or_default(), choice, elsewhere }
    }))
}

/// Tells the others whether a user views a conversation here; whether the user does on another node. `None` when they do
/// not count this node as alive.
pub(super) async fn settle_view(
    redis: &Redis,
    conversation: ConversationId,
    user: UserId,
    is_here: bool,
) -> Result<Option<bool>, Away> {
    let (keys, entry) = (redis.keys(), Keys::view(conversation, user));
    let mut call = SETTLE_VIEW.key(keys.nodes());
    call.key(format!("{}{entry}", keys.held_root())).key(keys.held(redis.node()));
    call.arg(redis.node().to_string()).arg(u8::from(is_here)).arg(entry);
    let others: Option<i64> = redis.script("settle_view", &call).await?;
    Ok(others.map(|others| others > 0))
}

/// Takes some of the part of a node out that is gone; what changed by it, and whether there may be more.
pub(super) async fn bury(redis: &Redis, node: NodeId) -> Result<(Vec<Buried>, bool), Away> {
    let keys = redis.keys();
    let mut call = BURY.key(keys.nodes());
    call.key(keys.held(node)).arg(node.to_string()).arg(BURIAL).arg(keys.held_root()).arg(choice_ttl_ms());
    let taken: Vec<(String, String, Vec<String>)> = redis.script("bury_node", &call).await?;
    let is_more = taken.len() == BURIAL;
    Ok((taken.into_iter().filter_map(|(entry, was, left)| buried(&entry, &was, left)).collect(), is_more))
}

/// What users are.
pub(super) async fn statuses(redis: &Redis, users: &[UserId]) -> Result<Vec<Status>, Away> {
    let found = written_of(redis, users).await?;
    let known = found.iter().map(|fields| {
        let (choice, part) = read(fields, None);
        status(choice, part)
    });
    Ok(known.collect())
}

/// Whether a user has a connection on another node.
pub(super) async fn is_elsewhere(redis: &Redis, user: UserId) -> Result<bool, Away> {
    let found = written_of(redis, &[user]).await?;
    Ok(found.iter().any(|fields| read(fields, Some(redis.node())).1 != Part::Gone))
}

/// What the nodes wrote of users.
async fn written_of(redis: &Redis, users: &[UserId]) -> Result<Vec<HashMap<String, String>>, Away> {
    let mut call = READ.prepare_invoke();
    for user in users {
        call.key(format!("{}{}", redis.keys().held_root(), Keys::user(*user)));
    }
    redis.script("read_statuses", &call).await
}

/// Tells all nodes a changed status.
pub(super) async fn tell(redis: &Redis, change: StatusChange) -> Result<(), Away> {
    let Ok(text) = serde_json::to_string(&(redis.node(), change)) else { return Ok(()) };
    let tell = redis::Cmd::new().arg("PUBLISH").arg(redis.keys().statuses()).arg(text).to_owned();
    redis.command("tell_status", &tell).await
}

fn choice_ttl_ms() -> u64 {
    CHOICE_TTL.as_secs() * 1000
}

fn written(part: Part) -> &'static str {
    match part {
        Part::Gone => "",
        Part::Idle => "idle",
        Part::Active => "active",
    }
}

fn part(text: &str) -> Part {
    match text {
        "" => Part::Gone,
        "idle" => Part::Idle,
        _ => Part::Active,
    }
}

/// What a user chose, and the most that the user is on all nodes but one.
fn read(fields: &HashMap<String, String>, but: Option<NodeId>) -> (Status, Part) {
    let choice = fields.get(CHOICE).and_then(|choice| choice.parse().ok()).unwrap_or_default();
    let but = but.map(|node| node.to_string());
    let others = fields.iter().filter(|(name, _)| *name != CHOICE && Some(*name) != but.as_ref());
    (choice, others.map(|(_, text)| part(text)).max().unwrap_or_default())
}

fn buried(entry: &str, was: &str, left: Vec<String>) -> Option<Buried> {
    match entry.split_once(':')? {
        ("user", user) => {
            let mut left = left.into_iter();
            let mut fields = HashMap::new();
            while let (Some(name), Some(value)) = (left.next(), left.next()) {
                fields.insert(name, value);
            }
            let (choice, others) = read(&fields, None);
            let (before, after) = (status(choice, others.max(part(was))), status(choice, others));
            (before != after).then_some(Buried::User(user.parse().ok()?, after))
        }
        ("view", view) if left.is_empty() => {
            let (conversation, user) = view.split_once(':')?;
            Some(Buried::View(conversation.parse().ok()?, user.parse().ok()?))
        }
        _ => None,
    }
}
