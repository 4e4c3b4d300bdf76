//! Upkeep: what a core does now and then by itself.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::{lifecycle::Lifecycle, live::bus::Bus, service::accounts::Accounts, store::Store, tools::Tools};

/// How often what was written is moved to its place.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// How often sessions that have expired are cleared away.
const CLEAR_INTERVAL: Duration = Duration::from_secs(3600);
/// How often what is too old is dropped from memory.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Drops from memory what is too old, until shutdown.
pub(super) async fn sweep(bus: Bus, lifecycle: Lifecycle) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    while lifecycle.stopping().run_until_cancelled(ticks.tick()).await.is_some() {
        bus.sweep();
    }
}

/// Moves what was written to its place, until the hard stop.
pub(super) async fn checkpoint(store: Store, lifecycle: Lifecycle) {
    let mut ticks = tokio::time::interval(CHECKPOINT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while lifecycle.stopped().run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = store.checkpoint().await {
            tracing::warn!(error = format!("{error:?}"), "cannot move what was written to its place");
        }
    }
}

/// Clears away sessions that have expired, until shutdown.
pub(super) async fn clear_sessions(accounts: Accounts, lifecycle: Lifecycle) {
    let mut ticks = tokio::time::interval(CLEAR_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while lifecycle.stopping().run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = accounts.clear_sessions().await {
            tracing::warn!(error = format!("{error:?}"), "cannot clear sessions that have expired");
        }
    }
}

/// Closes the tools at the hard stop: runs may call them until then.
pub(super) async fn close_tools(tools: Tools, lifecycle: Lifecycle) {
    lifecycle.stopped().cancelled().await;
    tools.close().await;
}
