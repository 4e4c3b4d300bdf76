//! All sockets of a gateway that restarts come back and get what they missed, while messages go on being sent; beside
//! Centrifugo, which keeps its channels' history in Redis as ours does in the core that stays. Fails when anything is lost.

mod centrifugo;
mod colloquy;
mod viewer;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;

use self::{centrifugo::CentrifugoOnRedis, colloquy::BridgeOfCore, viewer::Viewer};
use super::{
    audience::Round,
    caller::AT_ONCE,
    table::{Samples, Table},
};

const SOCKETS: usize = 5000;
/// Each with as many of the sockets.
const CHANNELS: usize = 100;
/// How often something is sent, to one channel after the other.
const PACE: Duration = Duration::from_millis(20);
/// How long it may take until all are back.
const LIMIT: Duration = Duration::from_secs(100);
/// The last text on each channel.
const LAST: &str = "That was all.";

/// A gateway that can be restarted.
trait Gateway: Sized {
    /// What those who are connected need.
    type Line: Line;

    /// Starts it, and what it is a gateway to.
    async fn start() -> Result<Self>;

    /// How it is reached, also while it is away.
    async fn line(&self) -> Result<Self::Line>;

    /// Channels to join.
    async fn channels(&self) -> Result<Vec<String>>;

    /// Asks it to end and, once it has, starts it at the same address.
    async fn restart(&mut self) -> Result<()>;
}

/// How viewers of a gateway speak with it.
trait Line: Clone + Send + Sync + 'static {
    /// Where WebSockets are opened.
    fn target(&self) -> (SocketAddr, String);

    /// What joins a channel, behind this place if any.
    fn join(&self, channel: &str, behind: Option<&Place>) -> String;

    /// What a text says.
    fn read(&self, text: &str) -> Result<Vec<Said>>;

    /// How long to wait before the next try to connect, after so many.
    fn pause(&self, tries: u32) -> Duration;

    /// Publishes a text, and returns when it is certain that it was.
    async fn publish(&self, channel: &str, text: &str) -> Result<()>;
}

/// A place on a channel.
#[derive(Clone)]
struct Place {
    epoch: String,
    offset: u64,
}

/// What viewers are told.
enum Said {
    /// The channel is joined, and has got so far; whether everything behind the place asked for follows.
    Joined { latest: Place, recovered: bool },
    /// An event.
    Event { offset: u64, is_last: bool },
    /// Come back after a while.
    ComeBack { after: Duration },
    /// Show that you are there, with this text.
    AreYouThere(&'static str),
}

/// How a gateway's viewers came back.
struct Storm {
    /// From asking it to end to having everything again, each viewer.
    back: Samples,
    /// From asking it to end to its answering again.
    away: Duration,
}

pub(crate) async fn measure() -> Result<Table> {
    let ours = storm::<BridgeOfCore>().await.context("of Colloquy")?;
    let peer = storm::<CentrifugoOnRedis>().await.context("of Centrifugo")?;
    let title = format!(
        "storm: {SOCKETS} sockets come back to a bridge that restarts and get what they missed, beside Centrifugo on Redis"
    );
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    Ok(Table::new(title)
        .row("from the signal to the restarted process's answer", "ms", ms(ours.away), ms(peer.away))
        .percentiles("from the signal to back and recovered", &ours.back, &peer.back))
}

async fn storm<G: Gateway>() -> Result<Storm> {
    let mut gateway = G::start().await?;
    let (line, channels) = (gateway.line().await?, gateway.channels().await?);
    let joined = stream::iter(0..SOCKETS).map(|index| Viewer::join(line.clone(), index, &channels[index % CHANNELS]));
    let joined: Vec<_> = joined.buffer_unordered(AT_ONCE).try_collect().await?;
    let round = Round::new();
    let mut viewers: JoinSet<_> = joined.into_iter().map(|viewer| viewer.watch(round.clone())).collect();

    let (begun, mut away) = (Instant::now(), Duration::ZERO);
    let restart = async {
        gateway.restart().await?;
        away = begun.elapsed();
        Ok(())
    };
    tokio::select! {
        all = round.run(SOCKETS, LIMIT, restart) => drop(all?),
        sent = send(&line, &channels) => sent?,
        Some(failed) = viewers.join_next() => drop(failed?.context("a viewer")?),
    }
    for channel in &channels {
        line.publish(channel, LAST).await?;
    }
    let all = async {
        let mut back = Vec::with_capacity(SOCKETS);
        while let Some(at) = viewers.join_next().await {
            back.push(at??.duration_since(begun));
        }
        anyhow::Ok(back)
    };
    let back = tokio::time::timeout(LIMIT, all).await.map_err(|_| anyhow!("somebody did not get the last text"))??;
    Ok(Storm { back: back.into_iter().collect(), away })
}

/// Sends for as long as it is let.
async fn send(line: &impl Line, channels: &[String]) -> Result<()> {
    let mut ticks = tokio::time::interval(PACE);
    for channel in channels.iter().cycle() {
        ticks.tick().await;
        line.publish(channel, "Is anybody there?").await?;
    }
    Ok(())
}
