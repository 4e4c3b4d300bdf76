//! Analytics: what this node counts of its live connections, and what all nodes know together.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    command::{Command, Outgoing},
    lanes::Lane,
    sessions::Sessions,
};
use crate::model::connection::{HealthStatus, NodeReport};

/// Round trips that are remembered.
const SAMPLES: usize = 1000;
/// The types of frames of the contract, in order.
pub const TYPES: [&str; 40] = [
    "accepted",
    "auth.expiring",
    "auth.refresh",
    "auth.refreshed",
    "connection.established",
    "end",
    "error",
    "event",
    "heartbeat",
    "heartbeat_ack",
    "history",
    "join_session",
    "leave_session",
    "message",
    "message.accepted",
    "message.deleted",
    "message.delivered",
    "message.updated",
    "notification",
    "ping",
    "pong",
    "presence",
    "read",
    "reconnect",
    "regenerate",
    "snapshot",
    "start",
    "stop",
    "subscribe",
    "subscription.confirmed",
    "subscription.removed",
    "thinking",
    "token",
    "tool_call",
    "tool_result",
    "typing",
    "unsubscribe",
    "user.status_changed",
    "user_joined",
    "user_left",
];

/// Counts what passes on this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Analytics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    frames: [AtomicU64; TYPES.len()],
    errors: Mutex<BTreeMap<&'static str, u64>>,
    round_trips: Mutex<VecDeque<u32>>,
}

impl Default for Analytics {
    fn default() -> Self {
        let (errors, round_trips) = Default::default();
        Self(Arc::new(Inner { frames: [const { AtomicU64::new(0) }; TYPES.len()], errors, round_trips }))
    }
}

impl Analytics {
    /// A frame was taken from a viewer, as it was read.
    pub(super) fn take(&self, command: &Command) {
        self.count(command.name());
    }

    /// A frame is handed to a viewer.
    pub(super) fn hand(&self, outgoing: &Outgoing) {
        self.count(match outgoing {
            Outgoing::Event(event) => event.draft.happening.name(),
            Outgoing::Draft(draft) => draft.happening.name(),
            Outgoing::Answer(_, answer) => answer.name(),
        });
    }

    /// A frame was refused, with a code of the contract.
    pub fn refuse(&self, code: &'static str) {
        *lock(&self.0.errors).entry(code).or_default() += 1;
        metrics::counter!("colloquy_frames_refused_total", "code" => code).increment(1);
    }

    /// A ping was answered.
    pub(super) fn measure(&self, round_trip: Duration) {
        metrics::histogram!("colloquy_round_trip_seconds").record(round_trip.as_secs_f64());
        let mut round_trips = lock(&self.0.round_trips);
        if round_trips.len() >= SAMPLES {
            round_trips.pop_front();
        }
        round_trips.push_back(u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX));
    }

    fn count(&self, name: &'static str) {
        if let Ok(at) = TYPES.binary_search(&name) {
            self.0.frames[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted, the types that occurred alone; the rest of the report is empty.
    fn report(&self) -> NodeReport {
        let counts = self.0.frames.iter().map(|count| count.load(Ordering::Relaxed));
        let frames = TYPES.iter().zip(counts).filter(|(_, count)| *count > 0);
        NodeReport {
            frames: frames.map(|(name, count)| ((*name).to_owned(), count)).collect(),
            errors: lock(&self.0.errors).iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            round_trips: lock(&self.0.round_trips).iter().copied().collect(),
            ..NodeReport::default()
        }
    }
}

impl Sessions {
    /// What this node counts.
    fn report(&self) -> NodeReport {
        let waiting = self.hub.lengths().map(|length| length as u64);
        let (connections, topics) = (self.hub.connections() as u64, self.hub.topics() as u64);
        NodeReport { connections, topics, waiting, ..self.analytics.report() }
    }

    /// What all nodes count: this one now, the others when they told last.
    pub async fn counted(&self) -> NodeReport {
        let mut all = self.report();
        self.reports.others().await.into_iter().for_each(|other| all.add(other));
        all
    }
}

/// Shows what this node counts to those who watch its metrics, and leaves it for the other nodes, until the hard stop.
pub async fn tell(sessions: Sessions) {
    let stopped = sessions.lifecycle.stopped().clone();
    let mut ticks = interval(sessions.reports.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
        let (report, connections) = (sessions.report(), sessions.connections_here(None));
        for (name, count) in &report.frames {
            metrics::counter!("colloquy_frames_total", "type" => name.clone()).absolute(*count);
        }
        for (lane, waiting) in Lane::ALL.into_iter().zip(report.waiting) {
            metrics::gauge!("colloquy_frames_waiting", "lane" => lane.name()).set(waiting as f64);
        }
        for status in [HealthStatus::Healthy, HealthStatus::Degraded, HealthStatus::Unhealthy] {
            let count = connections.iter().filter(|connection| connection.status == status).count();
            metrics::gauge!("colloquy_connection_health", "status" => status.as_str()).set(count as f64);
        }
        sessions.reports.leave(&report, connections).await;
    }
    sessions.reports.withdraw().await;
}

/// A panic elsewhere leaves what was counted whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
