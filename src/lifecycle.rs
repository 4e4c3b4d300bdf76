//! Start and stop: soft stop, grace, hard stop. Every task of the process is tracked here.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Spawns the process's tasks and tells them to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    work: TaskTracker,
    helpers: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Lifecycle {
    /// Runs a task that the soft stop waits for: something that begins and ends.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.work.spawn(work)
    }

    /// Runs a task that others need until they have ended: it goes on until the hard stop.
    pub fn spawn_helper<F>(&self, helper: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.helpers.spawn(helper)
    }

    /// Cancelled when the process begins to stop: take nothing new on, say a last word, end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when the grace is over: settle at once.
    pub fn stopped(&self) -> &CancellationToken {
        &self.hard
    }

    /// Begins to stop, gives what is under way `grace` to end, and then everything `settle` to end at once.
    pub async fn stop(&self, grace: Duration, settle: Duration) {
        self.soft.cancel();
        self.work.close();
        self.helpers.close();
        if tokio::time::timeout(grace, self.work.wait()).await.is_err() {
            tracing::warn!(tasks = self.work.len(), "tasks outlived the grace");
        }
        self.hard.cancel();
        let all = async { tokio::join!(self.work.wait(), self.helpers.wait()) };
        if tokio::time::timeout(settle, all).await.is_err() {
            tracing::error!(tasks = self.work.len() + self.helpers.len(), "tasks did not end");
        }
    }
}

/// Completes when the operating system asks the process to end.
pub async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
