//! The servers that this node needs: whether they answer, and how fast.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::{live::Redis, store::Store};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is a part of this process, and answered in this time if it is asked at all.
    Embedded(Option<Duration>),
    /// It answered in this time.
    Answers(Duration),
    /// It does not answer.
    Away,
}

/// Asks the servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Servers {
    store: Store,
    redis: Option<Redis>,
}

impl Servers {
    /// Asks these.
    pub fn new(store: Store, redis: Option<Redis>) -> Self {
        Self { store, redis }
    }

    /// How the database does.
    pub async fn database(&self) -> Condition {
        let asked = Instant::now();
        match timeout(PATIENCE, self.store.ping()).await {
            Ok(Ok(())) if self.store.is_embedded() => Condition::Embedded(Some(asked.elapsed())),
            Ok(Ok(())) => Condition::Answers(asked.elapsed()),
            Ok(Err(_)) | Err(_) => Condition::Away,
        }
    }

    /// How Redis does.
    pub async fn redis(&self) -> Condition {
        match &self.redis {
            None => Condition::Embedded(None),
            Some(redis) => redis.latency().await.map_or(Condition::Away, Condition::Answers),
        }
    }
}
