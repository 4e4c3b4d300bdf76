//! A viewer who comes back when the gateway restarts, and checks that nothing is missing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{LIMIT, Line, Place, Said};
use crate::{
    audience::Round,
    caller::{self, Socket},
};

/// Somebody who has joined a channel.
pub(super) struct Viewer<L> {
    line: L,
    index: usize,
    channel: String,
    socket: Socket,
    /// The last event that was seen.
    place: Place,
}

impl<L: Line> Viewer<L> {
    /// Joins a channel as it is now.
    pub(super) async fn join(line: L, index: usize, channel: &str) -> Result<Self> {
        let mut socket = enter(&line, index, channel, None).await?;
        let place = loop {
            let said = line.read(&caller::next(&mut socket).await?)?;
            if let Some(Said::Joined { latest, .. }) = said.into_iter().next() {
                break latest;
            }
        };
        Ok(Self { line, index, channel: channel.to_owned(), socket, place })
    }

    /// Watches until the last text, coming back once; notes in the round when nothing is missing any more, and returns when
    /// that was.
    pub(super) async fn watch(mut self, round: Arc<Round>) -> Result<Instant> {
        let (mut after, mut goal, mut back) = (Duration::ZERO, None, None);
        loop {
            let Some(text) = self.next().await? else {
                ensure!(goal.is_none(), "the gateway ended a connection that had come back");
                // As browsers do; a gateway that ends waits for it.
                let _ = self.socket.get_mut().shutdown().await;
                tokio::time::sleep(after).await;
                self.socket = self.come_back().await?;
                continue;
            };
            let mut is_over = false;
            for said in self.line.read(&text)? {
                match said {
                    Said::Joined { latest, recovered } => {
                        ensure!(recovered && latest.epoch == self.place.epoch, "not recovered: {text}");
                        goal = Some(latest.offset);
                    }
                    Said::Event { offset, is_last } => {
                        ensure!(offset == self.place.offset + 1, "{offset} came after {}", self.place.offset);
                        self.place.offset = offset;
                        is_over = is_last;
                    }
                    Said::ComeBack { after: told } => after = told,
                    Said::AreYouThere(answer) => self.socket.send(Message::text(answer)).await?,
                }
            }
            if back.is_none() && goal.is_some_and(|goal| self.place.offset >= goal) {
                back = Some(Instant::now());
                round.hear();
            }
            if is_over {
                return back.context("the last text came before the others");
            }
        }
    }

    /// The next text; none when the connection has ended.
    async fn next(&mut self) -> Result<Option<Utf8Bytes>> {
        loop {
            match tokio::time::timeout(LIMIT, self.socket.next()).await.context("no frame came")? {
                Some(Ok(Message::Text(text))) => return Ok(Some(text)),
                Some(Ok(_)) => {}
                None | Some(Err(_)) => return Ok(None),
            }
        }
    }

    /// Tries until the gateway answers; whoever waits for this has a limit.
    async fn come_back(&self) -> Result<Socket> {
        let mut tries = 0;
        loop {
            match enter(&self.line, self.index, &self.channel, Some(&self.place)).await {
                Ok(socket) => return Ok(socket),
                Err(_) => tokio::time::sleep(self.line.pause(tries)).await,
            }
            tries += 1;
        }
    }
}

/// Connects and asks for the channel.
async fn enter(line: &impl Line, index: usize, channel: &str, behind: Option<&Place>) -> Result<Socket> {
    let (server, path) = line.target();
    let mut socket = caller::open(index, server, &format!("ws://{server}{path}")).await?;
    socket.send(Message::text(line.join(channel, behind))).await?;
    Ok(socket)
}
