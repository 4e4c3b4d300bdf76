//! The peer: accepts WebSockets with the default settings of tokio-tungstenite and reads them.

use anyhow::Result;
use futures_util::StreamExt as _;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::accept_async;

use crate::process;

/// Serves until the process that started this one is gone.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut sockets = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            sockets.spawn(keep(stream));
        }
    });
    process::answer_at(address).await
}

async fn keep(stream: TcpStream) {
    let Ok(mut socket) = Box::pin(accept_async(stream)).await else { return };
    while let Some(Ok(_)) = socket.next().await {}
}
