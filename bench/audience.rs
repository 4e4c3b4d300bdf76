//! Many sockets, read on one thread of their own: every server has the same readers, and the rest of the machine.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::{SinkExt as _, Stream, StreamExt as _, TryStreamExt as _};
use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use super::caller::Socket;

/// How Centrifugo asks for a sign of life, and what it wants to hear.
const SIGN_OF_LIFE: &str = "{}";

/// Sockets that are being read; they close with their handle.
pub(crate) struct Audience {
    _stop: oneshot::Sender<()>,
}

impl Audience {
    /// Opens sockets on a thread and goes on reading them there; each text is shown to `heard`.
    pub(crate) async fn gather<S>(
        open: impl FnOnce() -> S + Send + 'static,
        heard: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self>
    where
        S: Stream<Item = Result<Socket>>,
    {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel::<Result<()>>();
        std::thread::spawn(move || {
            // Without a runtime `ready` goes, which says enough.
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                let readers = read_all(open(), heard).await;
                let (told, _readers) =
                    readers.map_or_else(|error| (Err(error), None), |readers| (Ok(()), Some(readers)));
                if ready.send(told).is_ok() {
                    // The end of the handle is the end of this.
                    let _ = stopped.await;
                }
            });
        });
        is_ready.await.context("the readers' thread has ended")??;
        Ok(Self { _stop: stop })
    }
}

async fn read_all(
    sockets: impl Stream<Item = Result<Socket>>,
    heard: impl FnMut(&str) + Send + 'static,
) -> Result<JoinSet<()>> {
    let heard = Arc::new(Mutex::new(heard));
    let mut readers = JoinSet::new();
    let mut sockets = std::pin::pin!(sockets);
    while let Some(socket) = sockets.try_next().await? {
        readers.spawn(read(socket, heard.clone()));
    }
    Ok(readers)
}

/// Reads until the socket ends: whoever misses something says so.
async fn read(mut socket: Socket, heard: Arc<Mutex<impl FnMut(&str)>>) {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == SIGN_OF_LIFE => drop(socket.send(Message::text(SIGN_OF_LIFE)).await),
            Message::Text(text) => heard.lock().unwrap_or_else(PoisonError::into_inner)(&text),
            _ => {}
        }
    }
}

/// Counts what is expected of many sockets, and knows when the last of it was there.
pub(crate) struct Round {
    missing: AtomicUsize,
    over: watch::Sender<Instant>,
}

impl Round {
    /// A counter that expects nothing yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { missing: AtomicUsize::new(0), over: watch::Sender::new(Instant::now()) })
    }

    /// Notes one of them.
    pub(crate) fn hear(&self) {
        if self.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over.send_replace(Instant::now());
        }
    }

    /// Does what is to be noted so often, and returns how long it took until the last time.
    pub(crate) async fn run(
        &self,
        times: usize,
        limit: Duration,
        act: impl Future<Output = Result<()>>,
    ) -> Result<Duration> {
        let mut over = self.over.subscribe();
        self.missing.store(times, Ordering::Relaxed);
        let begun = Instant::now();
        let heard = async { Ok(tokio::time::timeout(limit, over.changed()).await) };
        let ((), heard) = tokio::try_join!(act, heard)?;
        heard.with_context(|| format!("{} of {times} are missing", self.missing.load(Ordering::Relaxed)))??;
        let last = *over.borrow();
        Ok(last - begun)
    }
}
