//! Live connections as their owners and operators see them, and what a node counts of its own.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    clock::Timestamp,
    ids::{ConnectionId, UserId},
};

/// What a health score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// From 0.7 on.
    Healthy,
    /// From 0.4 on.
    Degraded,
    /// Below.
    Unhealthy,
}

impl HealthStatus {
    /// As operators read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What carries a live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// A WebSocket of a bridge's.
    WebSocket,
    /// A stream of gRPC.
    Grpc,
}

/// A live connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Names it.
    pub id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The name of the node that has it.
    #[serde(default)]
    pub node: String,
    /// What carries it; nodes of an earlier version do not tell.
    pub transport: Option<Transport>,
    /// When it began; nodes of an earlier version do not tell.
    pub since: Option<Timestamp>,
    /// From 0, bad, to 1, good.
    pub score: f64,
    /// What the score means.
    pub status: HealthStatus,
    /// The mean round trip; `None` until one was measured.
    pub latency: Option<Duration>,
    /// The part of frames that failed, from 0 to 1.
    pub error_rate: f64,
    /// When its user said something last, pongs included.
    pub last_activity: Timestamp,
}

/// What a node counts of its live connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeReport {
    /// Those that are open.
    pub connections: u64,
    /// Topics that are viewed.
    pub topics: u64,
    /// Frames taken and handed over since the node started, by type.
    pub frames: BTreeMap<String, u64>,
    /// Frames refused since the node started, by code.
    pub errors: BTreeMap<String, u64>,
    /// The latest round trips, in microseconds.
    pub round_trips: Vec<u32>,
    /// Frames that wait, by lane, the most important first.
    pub waiting: [u64; 4],
}

impl NodeReport {
    /// Adds what another node knows. A topic that is viewed on both counts twice.
    pub fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.topics += other.topics;
        for (name, count) in other.frames {
            *self.frames.entry(name).or_default() += count;
        }
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.round_trips.extend(other.round_trips);
        for (here, there) in self.waiting.iter_mut().zip(other.waiting) {
            *here += there;
        }
    }
}
