//! The response cache: finished answers, found again by what was asked.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;

use crate::model::credential::Digest;

/// What an entry costs besides its text, in bytes.
const OVERHEAD: usize = 128;

/// Keeps answers for a while, by the digest of all that the model was asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ResponseCache(Cache<Digest, Arc<str>>);

impl ResponseCache {
    /// A cache of this process alone, of so many bytes at most; what is asked for least goes first.
    pub fn in_memory(ttl: Duration, bytes: u64) -> Self {
        let weigh = |_: &Digest, text: &Arc<str>| u32::try_from(text.len() + OVERHEAD).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(weigh).max_capacity(bytes).time_to_live(ttl).build())
    }

    /// The answer to the same question, unless it is too old or was not kept.
    pub async fn get(&self, question: &Digest) -> Option<Arc<str>> {
        self.0.get(question).await
    }

    /// Keeps an answer, in place of the one before it.
    pub async fn put(&self, question: Digest, text: &str) {
        self.0.insert(question, text.into()).await;
    }
}
