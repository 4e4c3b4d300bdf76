//! From publishing an event to its last delivery, to many sockets on one channel; beside nchan, Centrifugo and FastAPI, which
//! take turns with ours event by event.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use reqwest::Client;

use super::{
    audience::{Audience, Round},
    broadcast::{Broadcaster, Centrifugo, Colloquy, FastApi, Nchan, SELDOM},
    caller::PATIENCE,
    table::{Samples, Table},
};

/// Sockets, and events that each server has with so many.
const ROUNDS: [(usize, usize); 3] = [(100, 300), (1000, 150), (5000, 50)];
/// Left out of each server's, for caches are cold.
const WARM_UP: usize = 10;
/// Bytes of a message of ours.
const CONTENT: usize = 300;
/// Sockets, and the peer, of the budget.
const BUDGET: (usize, &str) = (1000, Nchan::NAME);

pub(crate) async fn measure() -> Result<Table> {
    let title = format!(
        "fanout: from publishing to the last of so many sockets on one channel, beside {}, {} and {} in turns",
        Nchan::NAME,
        Centrifugo::NAME,
        FastApi::NAME
    );
    let mut table = Table::new(title);
    for (sockets, events) in ROUNDS {
        let ours = Crowd::<Colloquy>::gather(sockets, CONTENT).await?;
        // The frame that it becomes is what the others are given to deliver.
        ours.publish().await?;
        table = beside::<Nchan>(table, &ours, events).await?;
        table = beside::<Centrifugo>(table, &ours, events).await?;
        table = beside::<FastApi>(table, &ours, events).await?;
    }
    Ok(table)
}

async fn beside<Peer: Broadcaster>(table: Table, ours: &Crowd<Colloquy>, events: usize) -> Result<Table> {
    let peer = Crowd::<Peer>::gather(ours.sockets, ours.delivered.load(Ordering::Relaxed)).await?;
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for event in 0..WARM_UP + events {
        // Neither always finds what the other has left.
        let (our_time, peer_time) = if event % 2 == 0 {
            let our_time = ours.publish().await?;
            (our_time, peer.publish().await?)
        } else {
            let peer_time = peer.publish().await?;
            (ours.publish().await?, peer_time)
        };
        if event >= WARM_UP {
            our_times.push(our_time);
            peer_times.push(peer_time);
        }
    }
    let (our_times, peer_times): (Samples, Samples) =
        (our_times.into_iter().collect(), peer_times.into_iter().collect());
    let figure = format!("{} sockets, {}", ours.sockets, Peer::NAME);
    let table = [("p50", 0.5), ("p99", 0.99)].into_iter().fold(table, |table, (name, quantile)| {
        let (ours, peer) = (our_times.quantile_ms(quantile), peer_times.quantile_ms(quantile));
        table.row(format!("{figure}, {name}"), "ms", ours, peer)
    });
    Ok(if (ours.sockets, Peer::NAME) == BUDGET {
        let (p99, allowed) = (our_times.quantile_ms(0.99), peer_times.quantile_ms(0.99));
        table.budget(&format!("p99 to {} sockets, as {}'s", ours.sockets, Peer::NAME), "ms", allowed, p99)
    } else {
        table
    })
}

/// A server, and everybody who is on one of its channels.
struct Crowd<B> {
    server: B,
    client: Client,
    channel: String,
    sockets: usize,
    round: Arc<Round>,
    text: String,
    /// Bytes of what came of the last text.
    delivered: Arc<AtomicUsize>,
    _audience: Audience,
}

impl<B: Broadcaster> Crowd<B> {
    async fn gather(sockets: usize, bytes: usize) -> Result<Self> {
        let server = B::start(SELDOM).await.with_context(|| format!("cannot start {}", B::NAME))?;
        let channel = server.channels(1).await?.remove(0);
        let round = Round::new();
        let delivered = Arc::new(AtomicUsize::new(0));
        let (heard, length) = (round.clone(), delivered.clone());
        let hear = move |text: &str| {
            length.store(text.len(), Ordering::Relaxed);
            heard.hear();
        };
        let audience = server.audience(&vec![channel.clone(); sockets], hear).await?;
        let client = Client::builder().http1_only().no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { server, client, channel, sockets, round, text: "x".repeat(bytes), delivered, _audience: audience })
    }

    async fn publish(&self) -> Result<Duration> {
        let post = self.server.post(&self.client, &self.channel, &self.text);
        let published = async {
            post.send().await?.error_for_status()?;
            Ok(())
        };
        self.round.run(self.sockets, PATIENCE, published).await.with_context(|| format!("{} did not deliver", B::NAME))
    }
}
