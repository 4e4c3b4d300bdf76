//! Measures real `colloquy` processes, each figure beside a named peer of the same run: `make bench`, or
//! `cargo bench --bench colloquy -- NAME…` for some measurements only.

#![expect(clippy::print_stdout, reason = "a program that prints tables")]

mod audience;
mod broadcast;
mod caller;
mod crowd;
mod delivery;
mod fanout;
mod idle;
mod latency;
mod memory;
mod notify;
mod process;
mod provider;
mod publish;
mod requests;
mod sends;
mod servers;
mod slow;
mod startup;
mod storm;
mod table;
mod tracing;
mod viewers;

use std::{future::Future, time::Duration};

use anyhow::{Context as _, Result};

use self::table::Table;

/// How long one measurement may take.
const LIMIT: Duration = Duration::from_secs(300);
const NAMES: [&str; 15] = [
    "latency",
    "memory",
    "requests",
    "startup",
    "sends_sqlite",
    "sends_postgres",
    "delivery",
    "viewers",
    "fanout",
    "publish",
    "notify",
    "idle",
    "storm",
    "slow",
    "tracing",
];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((process::PEER, peer)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return be_peer(peer).await;
    }
    // Where tests run everything, to see that it builds is enough.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| !name.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| !NAMES.contains(name)) {
        anyhow::bail!("no measurement is called {unknown:?}: there are {}", NAMES.join(", "));
    }
    for name in NAMES.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        let table = measure(name).await.with_context(|| format!("cannot measure {name}"))?;
        println!("{table}");
    }
    Ok(())
}

async fn measure(name: &str) -> Result<Table> {
    match name {
        "latency" => bounded(latency::measure()).await,
        "memory" => bounded(memory::measure()).await,
        "requests" => bounded(requests::measure()).await,
        "startup" => bounded(startup::measure()).await,
        "sends_sqlite" => bounded(sends::on_sqlite()).await,
        "sends_postgres" => bounded(sends::on_postgres()).await,
        "delivery" => bounded(delivery::measure()).await,
        "fanout" => bounded(fanout::measure()).await,
        "publish" => bounded(publish::measure()).await,
        "notify" => bounded(notify::measure()).await,
        "idle" => bounded(idle::measure()).await,
        "storm" => bounded(storm::measure()).await,
        "tracing" => bounded(tracing::measure()).await,
        "slow" => bounded(slow::measure()).await,
        _ => bounded(viewers::measure()).await,
    }
}

/// Dropping a measurement ends the processes that it started.
async fn bounded(measurement: impl Future<Output = Result<Table>>) -> Result<Table> {
    tokio::time::timeout(LIMIT, Box::pin(measurement)).await?
}

/// The life of a process that this program started as a peer of `colloquy`.
async fn be_peer(arguments: &[String]) -> Result<()> {
    match arguments {
        [name, upstream] if name == latency::RELAY => latency::relay::serve(upstream).await,
        [name] if name == memory::PLAIN => memory::plain::serve().await,
        [name] if name == viewers::CRIER => viewers::crier::serve().await,
        _ => anyhow::bail!("no such peer"),
    }
}
