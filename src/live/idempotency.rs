//! Idempotency keys: what was done under a key is done once, and told again to whoever tries again.

use std::time::Duration;

use moka::future::Cache;

use super::redis::Redis;
use crate::model::credential::Digest;

/// How long a key is remembered.
const TTL: Duration = Duration::from_secs(86_400);
/// How long a claim holds on the server that is not settled: its node may have died before it did anything.
const CLAIM_TTL: Duration = Duration::from_secs(60);
/// Keys that one process remembers at most; what was used least goes first.
const CAPACITY: u64 = 100_000;

/// Remembers keys. Cheap to clone.
///
/// With Redis on all nodes; while it is away, on each by itself.
#[derive(Clone, Debug)]
pub struct Idempotency {
    redis: Option<Redis>,
    here: Cache<Digest, String>,
}

impl Idempotency {
    /// Nothing has been done yet.
    pub fn new(redis: Option<Redis>) -> Self {
        Self { redis, here: Cache::builder().max_capacity(CAPACITY).time_to_live(TTL).build() }
    }

    /// Takes a key for the caller, who leaves word of what is being done; or, when it was taken before, the word that was left.
    pub async fn claim(&self, key: Digest, word: &str) -> Option<String> {
        let entry = self.here.entry(key).or_insert(word.to_owned()).await;
        if !entry.is_fresh() {
            return Some(entry.into_value());
        }
        let redis = self.redis.as_ref()?;
        let name = redis.keys().idempotency(&key);
        let ttl = CLAIM_TTL.as_secs();
        let claim = redis::Cmd::new().arg("SET").arg(&name).arg(word).arg("NX").arg("EX").arg(ttl).to_owned();
        let is_ours: Option<String> = redis.command("claim_key", &claim).await.ok()?;
        if is_ours.is_some() {
            return None;
        }
        let found: Option<String> = redis.command("get_key", &redis::Cmd::get(&name)).await.ok()?;
        if let Some(word) = &found {
            self.here.insert(key, word.clone()).await;
        }
        found
    }

    /// Leaves another word under a key that was claimed.
    pub async fn settle(&self, key: Digest, word: &str) {
        self.here.insert(key, word.to_owned()).await;
        if let Some(redis) = &self.redis {
            let put = redis::Cmd::set_ex(redis.keys().idempotency(&key), word, TTL.as_secs());
            // The word of the claim stays otherwise.
            let _: Result<(), _> = redis.command("settle_key", &put).await;
        }
    }
}
