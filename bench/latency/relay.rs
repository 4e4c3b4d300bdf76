//! The peer: reads an answer as it comes and writes each piece to its one viewer, with no log, no bus and no accounts.

use anyhow::{Context as _, Result};
use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use crate::process;

/// Serves until the process that started this one is gone.
pub(crate) async fn serve(upstream: &str) -> Result<()> {
    let client = reqwest::Client::builder().http1_only().no_proxy().build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let url = format!("{upstream}/chat/completions");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut relays = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (client, url) = (client.clone(), url.clone());
            // A viewer that gets no end says so itself.
            relays.spawn(async move { drop(relay(stream, &client, &url).await) });
        }
    });
    process::answer_at(address).await
}

async fn relay(stream: TcpStream, client: &reqwest::Client, url: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = Box::pin(accept_async(stream)).await?;
    let body = json!({ "model": "clock", "stream": true, "messages": [{ "role": "user", "content": "?" }] });
    let mut response = client.post(url).json(&body).send().await?;
    let mut unread = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        unread.extend_from_slice(&bytes);
        while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = unread.drain(..end + 2).collect();
            let data = event.trim_ascii().strip_prefix(b"data: ").context("an event without data")?;
            let Ok(chunk) = serde_json::from_slice::<Value>(data) else { continue };
            if let Some(piece) = chunk["choices"][0]["delta"]["content"].as_str() {
                socket.send(Message::text(piece)).await?;
            }
        }
    }
    // An empty text is the end.
    Ok(socket.send(Message::text("")).await?)
}
