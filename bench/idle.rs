//! What idle sockets cost, each joined to a channel of its own: memory of each, and processor time of a thousand; beside nchan,
//! Centrifugo and FastAPI. All ping their sockets as often.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{
    broadcast::{Broadcaster, Centrifugo, Colloquy, FastApi, Nchan},
    table::Table,
};

const SOCKETS: usize = 5000;
/// Opened and closed before anything is counted, so that what every process has once is there.
const WARM_UP: usize = 100;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// In which what is under way comes to rest.
const REST: Duration = Duration::from_secs(2);
/// In which processor time is counted: two heartbeats of each socket.
const WATCHED: Duration = Duration::from_secs(20);

/// What idle sockets cost a server.
struct Cost {
    kib_each: f64,
    processor_ms_per_thousand: f64,
}

pub(crate) async fn measure() -> Result<Table> {
    let title = format!(
        "idle: {SOCKETS} idle WebSockets, pinged each {} s, beside {}, {} and {}",
        HEARTBEAT.as_secs(),
        Nchan::NAME,
        Centrifugo::NAME,
        FastApi::NAME
    );
    // One at a time: what one does would be in the way of another.
    let (ours, nchan) = (cost::<Colloquy>().await?, cost::<Nchan>().await?);
    let (centrifugo, fastapi) = (cost::<Centrifugo>().await?, cost::<FastApi>().await?);
    let peers = [(Nchan::NAME, nchan), (Centrifugo::NAME, centrifugo), (FastApi::NAME, fastapi)];
    let memory = peers.iter().fold(Table::new(title), |table, (name, peer)| {
        table.row(format!("{name}, memory per socket"), "KiB", ours.kib_each, peer.kib_each)
    });
    let figure = format!("processor time per 1,000 sockets in {} s", WATCHED.as_secs());
    Ok(peers.iter().fold(memory, |table, (name, peer)| {
        let (ours, peer) = (ours.processor_ms_per_thousand, peer.processor_ms_per_thousand);
        table.row(format!("{name}, {figure}"), "ms", ours, peer)
    }))
}

async fn cost<B: Broadcaster>() -> Result<Cost> {
    idle::<B>().await.with_context(|| format!("cannot watch {}", B::NAME))
}

async fn idle<B: Broadcaster>() -> Result<Cost> {
    let server = B::start(HEARTBEAT).await?;
    let channels = server.channels(SOCKETS).await?;
    drop(server.audience(&channels[..WARM_UP], |_| ()).await?);
    tokio::time::sleep(REST).await;
    let before = server.process().resident_kib()?;
    let _audience = server.audience(&channels, |_| ()).await?;
    tokio::time::sleep(REST).await;
    let kib_each = (server.process().resident_kib()? - before) / SOCKETS as f64;
    let before = server.process().processor_time()?;
    tokio::time::sleep(WATCHED).await;
    let took = server.process().processor_time()?.saturating_sub(before);
    let processor_ms_per_thousand = took.as_secs_f64() * 1e3 / (SOCKETS as f64 / 1e3);
    Ok(Cost { kib_each, processor_ms_per_thousand })
}
