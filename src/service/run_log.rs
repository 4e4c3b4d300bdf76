//! The log of runs: one writer commits the pieces of all runs together, and a piece is shown only after its commit.

use std::{collections::HashSet, future::Future, sync::Arc};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::insist::insist;
use crate::{
    error::{Error, Result},
    lifecycle::Lifecycle,
    model::{
        clock::Clock,
        ids::{MessageId, NodeId},
    },
    store::{Chunk, Store},
};

/// Pieces that wait for the writer; a run waits when there are more.
const BACKLOG: usize = 1024;
/// Pieces that are committed together at most.
const GROUP: usize = 256;

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    /// It is in the log and may be shown.
    Written,
    /// The run belongs to another node now; nothing was written.
    NotOwned,
}

impl Logged {
    /// What became of a write that says whether the run is still this node's.
    pub(super) fn of(is_owned: bool) -> Self {
        if is_owned { Self::Written } else { Self::NotOwned }
    }
}

/// Appends to the log. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct RunLog {
    entries: mpsc::Sender<Entry>,
    /// Held by whoever writes to many runs at once: two statements that do must not wait for each other's rows.
    turn: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Entry {
    chunk: Chunk,
    done: oneshot::Sender<Result<Logged>>,
}

impl RunLog {
    /// Starts the writer; it ends when nobody can append any more.
    pub(super) fn start(store: Store, node: NodeId, clock: Clock, lifecycle: &Lifecycle) -> Self {
        let (sender, entries) = mpsc::channel(BACKLOG);
        let turn = Arc::<Mutex<()>>::default();
        let writer = Writer { store, node, clock, turn: turn.clone() };
        lifecycle.spawn_helper(writer.write(entries, lifecycle.stopped().clone()));
        Self { entries: sender, turn }
    }

    /// Does something to many runs at once, apart from what the writer does.
    pub(super) async fn apart<T>(&self, act: impl Future<Output = T>) -> T {
        let _turn = self.turn.lock().await;
        act.await
    }

    /// Appends a piece and returns once it is committed.
    pub(super) async fn append(&self, message_id: MessageId, offset: u64, content: &str) -> Result<Logged> {
        let (done, answer) = oneshot::channel();
        let offset = i64::try_from(offset).map_err(Error::internal)?;
        let chunk = Chunk { message_id, offset, content: content.to_owned() };
        let gone = || Error::internal(anyhow::anyhow!("the writer of the run log is gone"));
        self.entries.send(Entry { chunk, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

struct Writer {
    store: Store,
    node: NodeId,
    clock: Clock,
    turn: Arc<Mutex<()>>,
}

impl Writer {
    async fn write(self, mut entries: mpsc::Receiver<Entry>, stopped: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP);
        // At the hard stop the runs settle what they hold; nothing is appended any more.
        while let Some(taken) = stopped.run_until_cancelled(entries.recv_many(&mut group, GROUP)).await
            && taken > 0
        {
            metrics::histogram!("colloquy_run_log_group_size").record(taken as f64);
            let (chunks, waiting): (Vec<Chunk>, Vec<_>) =
                group.drain(..).map(|entry| (entry.chunk, entry.done)).unzip();
            let result = self.commit(&chunks).await;
            for (chunk, done) in chunks.iter().zip(waiting) {
                let answer = match &result {
                    Ok(lost) if lost.contains(&chunk.message_id) => Ok(Logged::NotOwned),
                    Ok(_) => Ok(Logged::Written),
                    Err(error) => Err(Error::Unavailable { part: "store", source: anyhow::anyhow!("{error}") }),
                };
                // A run that was cancelled does not wait for its answer.
                let _ = done.send(answer);
            }
        }
    }

    async fn commit(&self, chunks: &[Chunk]) -> Result<HashSet<MessageId>> {
        let _turn = self.turn.lock().await;
        insist("run log", || self.store.append_chunks(self.node, chunks, self.clock.now())).await
    }
}
