//! The peer: writes each text that it gets to all its sockets, and knows nothing else.

use anyhow::{Context as _, Result};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinSet,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use crate::process;

/// Texts that may wait for a socket.
const BACKLOG: usize = 64;

/// Serves until the process that started this one is gone.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let cried = broadcast::Sender::new(BACKLOG);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut sockets = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let cried = cried.clone();
            // A viewer that gets nothing more says so itself.
            sockets.spawn(async move { drop(pass_on(stream, cried).await) });
        }
    });
    process::answer_at(address).await
}

async fn pass_on(stream: TcpStream, cried: broadcast::Sender<Message>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut heard = cried.subscribe();
    let mut socket = Box::pin(accept_async(stream)).await?;
    loop {
        tokio::select! {
            text = heard.recv() => socket.send(text?).await?,
            text = socket.next() => {
                let text = text.context("the socket has ended")??;
                if text.is_text() {
                    // Nobody listens: everybody has gone.
                    let _ = cried.send(text);
                }
            },
        }
    }
}
