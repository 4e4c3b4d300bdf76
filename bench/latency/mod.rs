//! From the provider's byte to the viewer's frame, with a hundred runs at fifty pieces a second each; beside a relay that
//! keeps no log and serves no second viewer.

pub(crate) mod relay;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, future::try_join_all};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{
    caller::{self, Caller, Socket},
    process::{Node, Peer},
    provider::Provider,
    table::{Samples, Table},
};

/// The name of the peer.
pub(crate) const RELAY: &str = "relay";
const RUNS: u32 = 100;
const PIECES: u32 = 500;
/// Left out at the start, where connections are made and caches are cold.
const WARM_UP: Duration = Duration::from_secs(1);
const BUDGET_MS: f64 = 5.0;

/// What one viewer got, and when.
type Received = Vec<(Instant, Utf8Bytes)>;

pub(crate) async fn measure() -> Result<Table> {
    let ours = ours().await?;
    let peer = relayed().await?;
    let added = ours.quantile_ms(0.99) - peer.quantile_ms(0.99);
    let title = format!(
        "latency: provider's byte to viewer's frame, {RUNS} runs at 50 pieces/s, {} pieces, beside a bare relay",
        ours.len()
    );
    Ok(Table::new(title).percentiles("latency", &ours, &peer).budget("added p99", "ms", BUDGET_MS, added))
}

async fn ours() -> Result<Samples> {
    let provider = Provider::start(RUNS, PIECES).await?;
    let folder = tempfile::tempdir()?;
    let url = provider.url();
    let settings = [
        ("COLLOQUY_OPENAI_BASE_URL", url.as_str()),
        ("COLLOQUY_OPENAI_MODELS", "clock"),
        ("COLLOQUY_DEFAULT_MODEL", "openai/clock"),
    ];
    let node = Node::start(&folder, &settings).await?;
    let caller = Caller::register(&node).await?;
    let conversations = caller.conversations(RUNS as usize).await?;
    let sockets = caller.sockets(&conversations).await?;
    let received = try_join_all(sockets.into_iter().map(|mut socket| async move {
        socket.send(Message::text(r#"{"type":"message","message":"What time is it?"}"#)).await?;
        watch(socket, |text| text.starts_with(r#"{"type":"end""#)).await
    }))
    .await?;
    node.process.end().await?;
    let pieces = received.into_iter().map(|received| {
        let tokens = received.into_iter().map(|(at, text)| Ok((at, caller::frame(&text)?)));
        let tokens = tokens.filter(|token| token.as_ref().map_or(true, |(_, frame)| frame["type"] == "token"));
        tokens.map(|token| token.map(|(at, frame)| (at, content(&frame).to_owned()))).collect()
    });
    samples(&provider, pieces.collect::<Result<_>>()?)
}

async fn relayed() -> Result<Samples> {
    let provider = Provider::start(RUNS, PIECES).await?;
    let peer = Peer::start(&[RELAY, &provider.url()]).await?;
    let target = format!("ws://{}/", peer.address);
    let received = try_join_all((0..RUNS as usize).map(|index| {
        let target = &target;
        async move { watch(caller::open(index, peer.address, target).await?, str::is_empty).await }
    }))
    .await?;
    peer.process.end().await?;
    let text = |(at, text): (Instant, Utf8Bytes)| (at, text.as_str().to_owned());
    samples(&provider, received.into_iter().map(|received| received.into_iter().map(text).collect()).collect())
}

/// Reads to the last frame. Texts are kept as they are: to understand them now would take time from those that come.
async fn watch(mut socket: Socket, is_last: impl Fn(&str) -> bool) -> Result<Received> {
    let mut received = Vec::with_capacity(PIECES as usize + 10);
    loop {
        let text = caller::next(&mut socket).await?;
        let at = Instant::now();
        if is_last(&text) {
            return Ok(received);
        }
        received.push((at, text));
    }
}

fn content(frame: &serde_json::Value) -> &str {
    frame["data"]["content"].as_str().or_else(|| frame["content"].as_str()).unwrap_or_default()
}

/// How long each piece was under way, of those written while all runs were.
fn samples(provider: &Provider, received: Vec<Vec<(Instant, String)>>) -> Result<Samples> {
    let mut runs = Vec::with_capacity(received.len());
    for texts in received {
        let mut run = Vec::with_capacity(PIECES as usize);
        for (at, text) in texts {
            for moment in text.split_whitespace() {
                let moment = Duration::from_nanos(moment.parse().context("a piece is not a moment")?);
                run.push((moment, at.duration_since(provider.epoch + moment)));
            }
        }
        ensure!(run.len() == PIECES as usize, "a run had {} pieces", run.len());
        runs.push(run);
    }
    let first = runs.iter().filter_map(|run| run.first()).map(|(moment, _)| *moment).max().unwrap_or_default();
    let last = runs.iter().filter_map(|run| run.last()).map(|(moment, _)| *moment).min().unwrap_or_default();
    let counted = (first + WARM_UP)..last;
    let under_way = runs.into_iter().flatten().filter(|(moment, _)| counted.contains(moment));
    Ok(under_way.map(|(_, took)| took).collect())
}
