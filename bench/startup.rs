//! From the start of the process to its ready file, with a database that exists; beside `colloquy --version`, which is what
//! any start of the program costs.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::process::Command;

use super::{
    caller::Caller,
    process::{Node, PROGRAM},
    table::{Samples, Table},
};

const STARTS: usize = 10;
const BUDGET_MS: f64 = 300.0;

pub(crate) async fn measure() -> Result<Table> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder, &[]).await?;
    Caller::register(&node).await?.conversations(100).await?;
    node.process.end().await?;

    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let node = Node::start(&folder, &[]).await?;
        ours.push(node.ready_after);
        node.process.end().await?;
        peer.push(version().await?);
    }
    let (ours, peer): (Samples, Samples) = (ours.into_iter().collect(), peer.into_iter().collect());
    let title =
        format!("startup: to the ready file with an existing database, {STARTS} starts, beside `colloquy --version`");
    let median = ours.quantile_ms(0.5);
    Ok(Table::new(title)
        .row("median", "ms", median, peer.quantile_ms(0.5))
        .row("slowest", "ms", ours.quantile_ms(1.0), peer.quantile_ms(1.0))
        .budget("median", "ms", BUDGET_MS, median))
}

async fn version() -> Result<Duration> {
    let started = Instant::now();
    let status = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).kill_on_drop(true).status().await?;
    ensure!(status.success(), "colloquy --version failed");
    Ok(started.elapsed())
}
