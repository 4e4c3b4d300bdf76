//! A server with many sockets on one channel, and how long a text takes to the last of them; two such take turns.

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
    broadcast::{Broadcaster, SELDOM},
    caller::PATIENCE,
    table::Samples,
};

/// Left out of each server's, for caches are cold.
const WARM_UP: usize = 10;

/// A server, and everybody who is on one of its channels.
pub(crate) struct Crowd<B> {
    /// How many they are.
    pub(crate) sockets: usize,
    server: B,
    client: Client,
    channel: String,
    round: Arc<Round>,
    text: String,
    /// Bytes of what came of the last text.
    delivered: Arc<AtomicUsize>,
    _audience: Audience,
}

impl<B: Broadcaster> Crowd<B> {
    /// Starts a server and joins so many sockets, to publish texts of so many bytes.
    pub(crate) async fn gather(sockets: usize, bytes: usize) -> Result<Self> {
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

    /// Publishes the text: how long it took to the last socket.
    pub(crate) async fn publish(&self) -> Result<Duration> {
        let post = self.server.post(&self.client, &self.channel, &self.text);
        let published = async {
            post.send().await?.error_for_status()?;
            Ok(())
        };
        self.round.run(self.sockets, PATIENCE, published).await.with_context(|| format!("{} did not deliver", B::NAME))
    }

    /// Bytes of what came of the last text.
    pub(crate) fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    /// A crowd of another server's, as large, which is given to deliver what came of the last text here.
    pub(crate) async fn beside<Peer: Broadcaster>(&self) -> Result<Crowd<Peer>> {
        Crowd::gather(self.sockets, self.delivered()).await
    }
}

/// Publishes so many texts at each, in turns: how long ours took, and the peer's.
pub(crate) async fn in_turns<Ours: Broadcaster, Peer: Broadcaster>(
    ours: &Crowd<Ours>,
    peer: &Crowd<Peer>,
    texts: usize,
) -> Result<(Samples, Samples)> {
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for text in 0..WARM_UP + texts {
        // Neither always finds what the other has left.
        let (our_time, peer_time) = if text % 2 == 0 {
            let our_time = ours.publish().await?;
            (our_time, peer.publish().await?)
        } else {
            let peer_time = peer.publish().await?;
            (ours.publish().await?, peer_time)
        };
        if text >= WARM_UP {
            our_times.push(our_time);
            peer_times.push(peer_time);
        }
    }
    Ok((our_times.into_iter().collect(), peer_times.into_iter().collect()))
}
