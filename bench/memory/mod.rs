//! What an idle WebSocket occupies, signed in and subscribed to a conversation of its own; beside a server that only keeps
//! its sockets open.

pub(crate) mod plain;

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    caller::{self, Caller, Socket},
    process::{Node, Peer},
    table::Table,
};

/// The name of the peer.
pub(crate) const PLAIN: &str = "plain";
const SOCKETS: usize = 5000;
/// Opened and closed before anything is counted, so that what every process has once is there.
const WARM_UP: usize = 100;
/// In which what is under way comes to rest.
const REST: Duration = Duration::from_secs(2);
const BUDGET_KIB: f64 = 12.0;

pub(crate) async fn measure() -> Result<Table> {
    let ours = ours().await?;
    let peer = plain().await?;
    let title = format!(
        "memory: resident, per idle WebSocket of {SOCKETS}, beside tokio-tungstenite with its default settings"
    );
    Ok(Table::new(title).row("per socket", "KiB", ours, peer).budget("per socket", "KiB", BUDGET_KIB, ours))
}

async fn ours() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder, &[]).await?;
    let caller = Caller::register(&node).await?;
    let conversations = caller.conversations(SOCKETS).await?;
    drop(caller.sockets(&conversations[..WARM_UP]).await?);
    tokio::time::sleep(REST).await;
    let before = node.process.resident_kib()?;
    let sockets = caller.sockets(&conversations).await?;
    tokio::time::sleep(REST).await;
    let after = node.process.resident_kib()?;
    drop(sockets);
    node.process.end().await?;
    Ok((after - before) / SOCKETS as f64)
}

async fn plain() -> Result<f64> {
    let peer = Peer::start(&[PLAIN]).await?;
    let target = format!("ws://{}/", peer.address);
    drop(open(&peer, &target, WARM_UP).await?);
    tokio::time::sleep(REST).await;
    let before = peer.process.resident_kib()?;
    let sockets = open(&peer, &target, SOCKETS).await?;
    tokio::time::sleep(REST).await;
    let after = peer.process.resident_kib()?;
    drop(sockets);
    peer.process.end().await?;
    Ok((after - before) / SOCKETS as f64)
}

async fn open(peer: &Peer, target: &str, count: usize) -> Result<Vec<Socket>> {
    let opened = stream::iter(0..count).map(|index| caller::open(index, peer.address, target));
    opened.buffer_unordered(16).try_collect().await
}
