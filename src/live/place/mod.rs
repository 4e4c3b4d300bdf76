//! Places for live connections: so many for a user and for an address over all nodes, and so many on this one.

mod shared;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};

use super::redis::Redis;
use crate::{
    error::{Error, Result},
    model::{
        ids::{ConnectionId, UserId},
        limit::Network,
    },
};

/// How often a node says which of its connections live.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Live connections at most.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// Of one user.
    pub per_user: u32,
    /// From one address.
    pub per_address: u32,
    /// On this node.
    pub per_node: u32,
}

/// Gives places to live connections. Cheap to clone.
///
/// With Redis all nodes count together, and the connections of a node that died are counted for 30 s at most; while it is away,
/// each node counts its own.
#[derive(Clone, Debug)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: PlaceLimits,
    redis: Option<Redis>,
    taken: Mutex<Taken>,
    /// Somebody has left.
    left: Notify,
}

/// The places of this node that are taken.
#[derive(Debug, Default)]
struct Taken {
    by: HashMap<Holder, HashSet<ConnectionId>>,
    count: usize,
    /// Those of them that are asked for and not given yet: the server is not told that they live, where they would be in their
    /// own way.
    asked: HashSet<ConnectionId>,
    /// Places given up that the server does not know of yet.
    left: Vec<(Holder, ConnectionId)>,
}

/// Whose places are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    User(UserId),
    Address(Network),
}

/// A place of a live connection; given up when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    id: ConnectionId,
    holders: Vec<Holder>,
}

impl Places {
    /// All are free.
    pub fn new(redis: Option<Redis>, limits: PlaceLimits) -> Self {
        Self(Arc::new(Inner { limits, redis, taken: Mutex::default(), left: Notify::new() }))
    }

    /// Takes a place for a connection.
    ///
    /// # Errors
    /// [`Error::ConnectionLimit`] of the `user`, the `address` or the `node` when there is none.
    pub async fn take(&self, user_id: UserId, network: Option<Network>) -> Result<Place> {
        let holders = [Some(Holder::User(user_id)), network.map(Holder::Address)].into_iter().flatten().collect();
        // Held from the start: whoever goes away meanwhile, or is refused, gives it up by that.
        let place = Place { places: self.clone(), id: ConnectionId::generate(), holders };
        let here = self.enter(&place);
        let full = if here.is_some_and(|full| full == NODE) {
            here
        } else if let Some(redis) = self.redis() {
            shared::take(redis, &self.0.limits, &place).await.unwrap_or(here)
        } else {
            here
        };
        match full {
            None => {
                self.taken().asked.remove(&place.id);
                Ok(place)
            }
            Some(limit) => {
                metrics::counter!("colloquy_connections_refused_total", "limit" => limit).increment(1);
                Err(Error::ConnectionLimit(limit))
            }
        }
    }

    /// How many may be connected.
    pub fn limits(&self) -> PlaceLimits {
        self.0.limits
    }

    /// The places of this node that are taken.
    pub fn used_here(&self) -> usize {
        self.taken().count
    }

    /// The places that a user has: on all nodes, or, while the server is away, on this one.
    pub async fn used_by(&self, user_id: UserId) -> usize {
        let holder = Holder::User(user_id);
        if let Some(redis) = self.redis()
            && let Ok(used) = shared::used(redis, holder).await
        {
            return used;
        }
        self.taken().by.get(&holder).map_or(0, HashSet::len)
    }

    /// Tells the server which connections of this node live, and which have left; never completes.
    pub async fn keep(self) {
        let Some(redis) = &self.0.redis else { return std::future::pending().await };
        let mut ticks = interval(SIGN_OF_LIFE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // One after the other: whoever has left is not said to live afterwards.
            let told = tokio::select! {
                _ = ticks.tick() => {
                    let living = self.living();
                    shared::renew(redis, &living).await
                }
                () = self.0.left.notified() => {
                    let left = std::mem::take(&mut self.taken().left);
                    shared::leave(redis, &left).await
                }
            };
            // While it is away there is nothing to say: what it knows dies by itself, and the next tick tells all.
            let _ = told;
        }
    }

    /// Notes a place; which limit of this node's own knowledge it is beyond, if any.
    fn enter(&self, place: &Place) -> Option<&'static str> {
        let mut taken = self.taken();
        taken.count += 1;
        taken.asked.insert(place.id);
        let mut full = None;
        for holder in place.holders.iter().rev() {
            let connections = taken.by.entry(*holder).or_default();
            connections.insert(place.id);
            if connections.len() > self.0.limits.of(*holder) as usize {
                full = Some(holder.as_str());
            }
        }
        if taken.count > self.0.limits.per_node as usize {
            full = Some(NODE);
        }
        metrics::gauge!("colloquy_connections").set(taken.count as f64);
        full
    }

    fn leave(&self, place: &Place) {
        let mut taken = self.taken();
        taken.count -= 1;
        taken.asked.remove(&place.id);
        for holder in &place.holders {
            if let Some(connections) = taken.by.get_mut(holder) {
                connections.remove(&place.id);
                if connections.is_empty() {
                    taken.by.remove(holder);
                }
            }
        }
        metrics::gauge!("colloquy_connections").set(taken.count as f64);
        if self.redis().is_some() {
            taken.left.extend(place.holders.iter().map(|holder| (*holder, place.id)));
            self.0.left.notify_one();
        }
    }

    fn living(&self) -> Vec<(Holder, ConnectionId)> {
        let taken = self.taken();
        let of = |(holder, connections): (&Holder, &HashSet<ConnectionId>)| {
            let given = connections.iter().filter(|id| !taken.asked.contains(id));
            given.map(|id| (*holder, *id)).collect::<Vec<_>>()
        };
        taken.by.iter().flat_map(of).collect()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server, while it is there.
    fn redis(&self) -> Option<&Redis> {
        self.0.redis.as_ref().filter(|redis| redis.is_up())
    }
}

/// The limit that is this node's own.
const NODE: &str = "node";

impl PlaceLimits {
    fn of(&self, holder: Holder) -> u32 {
        match holder {
            Holder::User(_) => self.per_user,
            Holder::Address(_) => self.per_address,
        }
    }
}

impl Holder {
    fn as_str(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Address(_) => "address",
        }
    }

    fn name(self) -> String {
        match self {
            Self::User(id) => format!("user:{id}"),
            Self::Address(network) => format!("address:{network}"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave(self);
    }
}
