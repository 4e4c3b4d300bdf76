//! Servers that hand what is published on a channel to everybody who joined it: ours, and three of other people. Each is one
//! process, publishes what is posted to it, and pings its sockets as often as it is told to.

mod centrifugo;
mod colloquy;
mod events;
mod fastapi;
mod nchan;
mod notifications;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use reqwest::{Client, RequestBuilder};
use tokio_tungstenite::tungstenite::Message;

pub(crate) use self::{
    centrifugo::{Centrifugo, SECRET},
    colloquy::Colloquy,
    events::Events,
    fastapi::FastApi,
    nchan::Nchan,
    notifications::Notifications,
};
use super::{
    audience::Audience,
    caller::{self, AT_ONCE, Socket},
    process::Process,
};

/// How often sockets are pinged where it does not matter.
pub(crate) const SELDOM: Duration = Duration::from_secs(600);

/// A running server.
pub(crate) trait Broadcaster: Sized {
    /// What it is called in tables.
    const NAME: &str;

    /// Starts it.
    async fn start(heartbeat: Duration) -> Result<Self>;

    /// What is measured.
    fn process(&self) -> &Process;

    /// Channels to join, in any order.
    async fn channels(&self, count: usize) -> Result<Vec<String>>;

    /// How sockets join a channel.
    fn door(&self, channel: &str) -> Door;

    /// What publishes a text on a channel.
    fn post(&self, client: &Client, channel: &str, text: &str) -> RequestBuilder;

    /// Joins each channel with a socket of its own, whose texts are read and shown to `heard`.
    async fn audience(&self, channels: &[String], heard: impl FnMut(&str) + Send + 'static) -> Result<Audience> {
        let doors: Vec<Door> = channels.iter().map(|channel| self.door(channel)).collect();
        let opened =
            move || stream::iter(doors).enumerate().map(|(index, door)| door.enter(index)).buffer_unordered(AT_ONCE);
        Audience::gather(opened, heard).await
    }
}

/// How sockets join a channel.
pub(crate) struct Door {
    server: SocketAddr,
    path: String,
    /// What is said first.
    hello: Option<String>,
    /// What is part of the text that says that the socket has joined; without one it has with the handshake.
    welcome: Option<&'static str>,
}

impl Door {
    async fn enter(self, index: usize) -> Result<Socket> {
        let target = format!("ws://{}{}", self.server, self.path);
        let mut socket = caller::open(index, self.server, &target).await?;
        if let Some(hello) = self.hello {
            socket.send(Message::text(hello)).await?;
        }
        if let Some(welcome) = self.welcome {
            while !caller::next(&mut socket).await?.contains(welcome) {}
        }
        Ok(socket)
    }
}

/// Names for channels of servers that take any.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("channel{number}")).collect()
}

/// A file of this repository.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
