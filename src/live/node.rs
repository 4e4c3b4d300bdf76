//! The register of nodes: each says that it lives every few seconds, and whoever is silent for too long counts as gone.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::Script;
use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval},
};

use super::redis::{Away, Redis};
use crate::model::ids::NodeId;

/// Keys: the nodes. Arguments: this node, and how long it counts as alive from now on, in milliseconds. Returns whether it
/// did until now, the nodes that are alive, and those that are gone without their part having been taken out.
static BEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_now = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local was_alive = until_now and tonumber(until_now) > now
local alive = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
return {was_alive and 1 or 0, alive, gone}
",
    )
});

/// Keys: the nodes, what this node holds. Arguments: this node. Others take out what it still holds.
static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('ZREM', KEYS[1], ARGV[1])
else
    redis.call('ZADD', KEYS[1], 0, ARGV[1])
end
",
    )
});

/// Who lives, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The nodes that live, this one included.
    pub alive: BTreeSet<NodeId>,
    /// Nodes that are gone and whose part has not been taken out yet.
    pub gone: BTreeSet<NodeId>,
    /// How often this node was not known to be alive when it said so: its part may have been taken out.
    pub lapses: u64,
}

/// Knows which nodes live. Cheap to clone.
///
/// Without Redis this process is the only node. While Redis is away, the nodes stay those that were known last.
#[derive(Clone, Debug)]
pub struct Nodes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Option<Redis>,
    ttl: Duration,
    census: watch::Sender<Census>,
    hurry: Notify,
}

impl Nodes {
    /// Others learn within `ttl` that a node is gone.
    pub fn new(redis: Option<Redis>, ttl: Duration) -> Self {
        let this = redis.as_ref().map_or_else(NodeId::generate, Redis::node);
        let census = Census { alive: [this].into(), ..Census::default() };
        Self(Arc::new(Inner { redis, ttl, census: watch::Sender::new(census), hurry: Notify::new() }))
    }

    /// Tells who comes and goes.
    pub fn changes(&self) -> watch::Receiver<Census> {
        self.0.census.subscribe()
    }

    /// The nodes that live right now, this one included.
    pub async fn alive(&self) -> BTreeSet<NodeId> {
        if let Some(redis) = &self.0.redis {
            // The server is away: what was known last is what there is to know.
            let _ = self.beat(redis).await;
        }
        self.0.census.borrow().alive.clone()
    }

    /// Says that this node lives, and learns who else does, for as long as it is polled.
    pub async fn keep(&self) {
        let Some(redis) = &self.0.redis else { return std::future::pending().await };
        let mut returns = redis.changes();
        // Some signs may be late, or lost with the server, before a node counts as gone.
        let mut ticks = interval((self.0.ttl / 6).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = returns.changed() => {}
                () = self.0.hurry.notified() => {}
            }
            if redis.is_up() {
                // A failure was logged and counted where it happened.
                let _ = self.beat(redis).await;
            }
        }
    }

    /// Asks for a sign of this node at once: it seems not to be known.
    pub(super) fn hurry(&self) {
        self.0.hurry.notify_one();
    }

    /// Leaves in order: the others know at once.
    pub(super) async fn leave(&self) {
        let Some(redis) = &self.0.redis else { return };
        let keys = redis.keys();
        let mut call = LEAVE.key(keys.nodes());
        call.key(keys.held(redis.node())).arg(redis.node().to_string());
        // They notice it by themselves otherwise.
        let _: Result<(), Away> = redis.script("leave_nodes", &call).await;
    }

    async fn beat(&self, redis: &Redis) -> Result<(), Away> {
        let lease = self.0.ttl * 2 / 3;
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut call = BEAT.key(redis.keys().nodes());
        call.arg(redis.node().to_string()).arg(lease_ms);
        let (was_alive, alive, gone): (bool, Vec<String>, Vec<String>) = redis.script("beat", &call).await?;
        let read = |names: Vec<String>| names.iter().filter_map(|name| name.parse().ok()).collect();
        let (alive, gone): (BTreeSet<NodeId>, BTreeSet<NodeId>) = (read(alive), read(gone));
        metrics::gauge!("colloquy_nodes").set(alive.len() as f64);
        self.0.census.send_if_modified(|census| {
            let lapses = census.lapses + u64::from(!was_alive);
            let new = Census { alive, gone, lapses };
            let is_new = *census != new;
            *census = new;
            // Whoever takes out the part of a node may have been cut short: they are told again.
            is_new || !census.gone.is_empty()
        });
        Ok(())
    }
}
