//! Start and stop: soft stop, grace, hard stop. Every task of the process is tracked here.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Spawns the process's tasks and tells them to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    tasks: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Lifecycle {
    /// Runs a task that shutdown waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Cancelled when the process begins to stop: take nothing new on, say a last word, end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when the grace is over: settle at once.
    pub fn stopped(&self) -> &CancellationToken {
        &self.hard
    }

    /// Begins to stop, gives the tasks `grace` to end and then `settle` to end at once.
    pub async fn stop(&self, grace: Duration, settle: Duration) {
        self.soft.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "tasks outlived the grace");
        }
        self.hard.cancel();
        if tokio::time::timeout(settle, self.tasks.wait()).await.is_err() {
            tracing::error!(tasks = self.tasks.len(), "tasks did not end");
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
