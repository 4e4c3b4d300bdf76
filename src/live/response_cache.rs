//! The response cache: finished answers, found again by what was asked.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;

use super::redis::Redis;
use crate::model::credential::Digest;

/// What an entry costs besides its text, in bytes.
const OVERHEAD: usize = 128;
/// Bytes of an answer that is kept at most.
const MAX_ANSWER: usize = 256 << 10;

/// Keeps answers for a while, by the digest of all that the model was asked. Cheap to clone.
///
/// With Redis all nodes share them, and the server bounds what they occupy; while it is away there are none.
#[derive(Clone, Debug)]
pub struct ResponseCache(Keeper);

#[derive(Clone, Debug)]
enum Keeper {
    Memory(Cache<Digest, Arc<str>>),
    Redis { redis: Redis, ttl_ms: u64 },
}

impl ResponseCache {
    /// A cache whose answers are good for `ttl`; in memory it has so many bytes at most, and what is asked for least goes first.
    pub fn new(redis: Option<Redis>, ttl: Duration, bytes: u64) -> Self {
        Self(match redis {
            Some(redis) => Keeper::Redis { redis, ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1) },
            None => {
                let weigh = |_: &Digest, text: &Arc<str>| u32::try_from(text.len() + OVERHEAD).unwrap_or(u32::MAX);
                Keeper::Memory(Cache::builder().weigher(weigh).max_capacity(bytes).time_to_live(ttl).build())
            }
        })
    }

    /// The answer to the same question, unless it is too old or was not kept.
    pub async fn get(&self, question: &Digest) -> Option<Arc<str>> {
        match &self.0 {
            Keeper::Memory(cache) => cache.get(question).await,
            Keeper::Redis { redis, .. } => {
                let get = redis::Cmd::get(redis.keys().answer(question));
                let found: Option<String> = redis.command("get_answer", &get).await.ok()?;
                found.map(Into::into)
            }
        }
    }

    /// Keeps an answer, in place of the one before it; one that is larger than 256 KiB is not kept.
    pub async fn put(&self, question: Digest, text: &str) {
        if text.len() > MAX_ANSWER {
            return;
        }
        match &self.0 {
            Keeper::Memory(cache) => cache.insert(question, text.into()).await,
            Keeper::Redis { redis, ttl_ms } => {
                let put = redis::Cmd::pset_ex(redis.keys().answer(&question), text, *ttl_ms);
                // An answer that was not kept is made anew.
                let _: Result<(), _> = redis.command("put_answer", &put).await;
            }
        }
    }
}
