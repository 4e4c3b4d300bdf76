//! Who is signed in right now: a short-lived view of the store, from which an end on this node is dropped at once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache;

use crate::{
    error::Result,
    live::signal::{Signal, Signals},
    model::{clock::Clock, credential::Digest, ids::SessionId, session::Identity, user::Role},
    store::Store,
};

/// How long the end of a session on another node may go unseen here.
const FRESH_FOR: Duration = Duration::from_secs(3);
/// Sessions that are remembered at most.
const CAPACITY: u64 = 100_000;

/// Knows who signed-in sessions act as. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identities {
    store: Store,
    clock: Clock,
    known: Cache<SessionId, Identity>,
    /// Whose API keys were shown. What is remembered here stays true: a key that is worth nothing any more has no identity.
    keys: Cache<Digest, SessionId>,
    /// Counts ends, so that a read that was under way meanwhile is not remembered.
    ends: Arc<AtomicU64>,
    signals: Signals,
}

impl Identities {
    /// Knows what the store knows, and signals the ends that happen on this node.
    pub fn new(store: Store, clock: Clock, signals: Signals) -> Self {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(FRESH_FOR).build();
        let keys = Cache::builder().max_capacity(CAPACITY).time_to_live(FRESH_FOR).build();
        Self { store, clock, known, keys, ends: Arc::default(), signals }
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

    /// What those of the sessions that are open may do, as the store has it.
    pub(crate) async fn roles(&self, sessions: &[SessionId]) -> Result<HashMap<SessionId, Role>> {
        self.store.roles_of_open(sessions, self.clock.now()).await
    }

    /// What stands for a session where this API key is shown; `None` when it is nobody's.
    pub(crate) async fn session_of_key(&self, api_key: &str) -> Result<Option<SessionId>> {
        let digest = Digest::of(api_key);
        if let Some(known) = self.keys.get(&digest).await {
            return Ok(Some(known));
        }
        let found = self.store.key_holder(&digest).await?.map(SessionId::from);
        if let Some(session) = found {
            self.keys.insert(digest, session).await;
        }
        Ok(found)
    }

    /// Forgets what a signal says is over.
    pub(crate) async fn forget(&self, signal: Signal) {
        match signal {
            Signal::SessionEnded(session) => {
                self.ends.fetch_add(1, Ordering::SeqCst);
                self.known.invalidate(&session).await;
            }
            Signal::UserEnded(_) | Signal::RoleChanged(..) | Signal::Doubtful => {
                self.ends.fetch_add(1, Ordering::SeqCst);
                self.known.invalidate_all();
            }
            Signal::MembershipEnded(..)
            | Signal::ConversationEnded(_)
            | Signal::ConnectionClosed(_)
            | Signal::RunStopping(_) => {}
        }
    }

    /// Makes the end of sessions, already stored, felt at once on this node.
    pub(crate) async fn end(&self, sessions: &[SessionId]) {
        for session in sessions {
            self.tell(Signal::SessionEnded(*session)).await;
        }
    }

    /// Makes what became of an account, already stored, felt at once on this node.
    pub(crate) async fn tell(&self, signal: Signal) {
        self.forget(signal).await;
        self.signals.send(signal);
    }
}
