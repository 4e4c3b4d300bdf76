//! Who is signed in right now: a short-lived view of the store, from which an end on this node is dropped at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache;
use tokio::sync::broadcast;

use crate::{
    error::Result,
    model::{clock::Clock, ids::SessionId, session::Identity},
    store::Store,
};

/// How long the end of a session on another node may go unseen here.
const FRESH_FOR: Duration = Duration::from_secs(3);
/// Sessions that are remembered at most.
const CAPACITY: u64 = 100_000;
/// Ends that a listener may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Knows who signed-in sessions act as. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identities {
    store: Store,
    clock: Clock,
    known: Cache<SessionId, Identity>,
    /// Counts ends, so that a read that was under way meanwhile is not remembered.
    ends: Arc<AtomicU64>,
    ended: broadcast::Sender<SessionId>,
}

impl Identities {
    /// Knows what the store knows.
    pub fn new(store: Store, clock: Clock) -> Self {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(FRESH_FOR).build();
        Self { store, clock, known, ends: Arc::default(), ended: broadcast::Sender::new(BACKLOG) }
    }

    /// Who the session acts as; `None` when it has ended or its user may not sign in any more.
    pub(crate) async fn find(&self, session: SessionId) -> Result<Option<Identity>> {
        if let Some(known) = self.known.get(&session).await {
            return Ok(Some(known));
        }
        let ends = self.ends.load(Ordering::SeqCst);
        let found = self.store.identity(session, self.clock.now()).await?;
        if let Some(identity) = &found {
            self.known.insert(session, identity.clone()).await;
            if self.ends.load(Ordering::SeqCst) != ends {
                self.known.invalidate(&session).await;
            }
        }
        Ok(found)
    }

    /// Makes the end of sessions, already stored, felt at once on this node.
    pub(crate) async fn end(&self, sessions: &[SessionId]) {
        self.ends.fetch_add(1, Ordering::SeqCst);
        for session in sessions {
            self.known.invalidate(session).await;
            // No listener is no fault.
            let _ = self.ended.send(*session);
        }
    }

    /// The sessions that end on this node from now on. A listener that lags behind asks for each of its own.
    pub(crate) fn ended(&self) -> broadcast::Receiver<SessionId> {
        self.ended.subscribe()
    }
}
