//! A slow reader, which comes back when it is told to, and puts answers together from what it gets.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::DuplexStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::{
    WORD,
    link::{self, Pace},
};
use crate::{
    broadcast::Colloquy,
    caller::{self, PATIENCE},
};

type Socket = WebSocketStream<DuplexStream>;

/// Somebody who reads slowly.
pub(super) struct Reader<'a> {
    server: &'a Colloquy,
    topic: String,
    /// How fast it reads while answers stream.
    slow: Pace,
    pace: watch::Sender<Pace>,
    socket: Socket,
    /// Carry its connections.
    tasks: JoinSet<()>,
    /// The last frame that was seen, by its offset, and the topic's epoch.
    seen: Option<(u64, String)>,
    /// How long to stay away, as the server said.
    after: Duration,
    /// Answers so far, by their ids.
    texts: HashMap<String, String>,
    /// Those that have ended.
    ended: HashMap<String, String>,
    /// The longest piece, in bytes.
    longest: usize,
    /// How often it had to come back.
    returns: usize,
}

impl<'a> Reader<'a> {
    /// Joins a conversation, and reads at this pace from then on.
    pub(super) async fn join(server: &'a Colloquy, conversation: &str, slow: Pace) -> Result<Self> {
        let topic = format!("conversation:{conversation}");
        let (sender, mut tasks) = (watch::Sender::new(Pace::Free), JoinSet::new());
        let socket = enter(server, &topic, None, &sender, &mut tasks).await?;
        let mut reader = Self {
            server,
            topic,
            slow,
            pace: sender,
            socket,
            tasks,
            seen: None,
            after: Duration::ZERO,
            texts: HashMap::new(),
            ended: HashMap::new(),
            longest: 0,
            returns: 0,
        };
        while reader.seen.is_none() {
            reader.next().await?;
        }
        reader.pace.send_replace(slow);
        Ok(reader)
    }

    /// Reads everything as fast as it comes, from where it is, until it has as many answers as there were; they are to be the
    /// same, and to have come as they do to somebody so slow.
    pub(super) async fn finish(mut self, answers: &HashMap<String, String>) -> Result<()> {
        self.pace.send_replace(Pace::Free);
        while self.ended.len() < answers.len() {
            self.next().await.with_context(|| format!("after {} answers", self.ended.len()))?;
        }
        ensure!(self.ended == *answers, "what it has is not what was said");
        match self.slow {
            Pace::Free => {}
            Pace::Slow => {
                ensure!(self.longest >= 2 * WORD, "no pieces were joined: the longest has {} bytes", self.longest)
            }
            Pace::Stopped => ensure!(self.returns > 0, "it was let read nothing"),
        }
        Ok(())
    }

    /// Takes the next frame, from another connection when this one has ended.
    async fn next(&mut self) -> Result<()> {
        match timeout(PATIENCE, self.socket.next()).await.context("no frame came")? {
            Some(Ok(Message::Text(text))) => self.take(&caller::frame(&text)?).await,
            Some(Ok(_)) => Ok(()),
            None | Some(Err(_)) => {
                self.returns += 1;
                sleep(std::mem::take(&mut self.after)).await;
                let seen = self.seen.as_ref();
                self.socket = enter(self.server, &self.topic, seen, &self.pace, &mut self.tasks).await?;
                Ok(())
            }
        }
    }

    async fn take(&mut self, frame: &Value) -> Result<()> {
        let data = &frame["data"];
        if let (Some(offset), Some((seen, _))) = (frame["offset"].as_u64(), &mut self.seen) {
            *seen = offset;
        }
        match frame["type"].as_str().context("a frame without a type")? {
            "subscription.confirmed" => self.subscribed(&data["topics"][0]).await?,
            "reconnect" => self.after = Duration::from_millis(data["after_ms"].as_u64().context("no pause")?),
            "token" => {
                let answer = self.texts.entry(text(data, "message_id")?).or_default();
                ensure!(data["index"] == answer.len(), "a piece at {} of {} bytes", data["index"], answer.len());
                let piece = text(data, "content")?;
                self.longest = self.longest.max(piece.len());
                answer.push_str(&piece);
            }
            "snapshot" => {
                self.texts.insert(text(data, "message_id")?, text(data, "content")?);
            }
            "end" => {
                let id = text(data, "message_id")?;
                let answer = self.texts.remove(&id).context("the end of an answer that was not seen")?;
                self.ended.insert(id, answer);
            }
            "history" => {
                for message in data["messages"].as_array().context("no messages")? {
                    if message["role"] == "assistant" && message["status"] == "complete" {
                        self.ended.insert(text(message, "id")?, text(message, "content")?);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What follows begins where it was, or else the history has what it missed.
    async fn subscribed(&mut self, topic: &Value) -> Result<()> {
        let epoch = text(topic, "epoch")?;
        let latest = topic["offset"].as_u64().context("a topic without an offset")?;
        let recovered = topic["recovered"] == true;
        match &mut self.seen {
            Some(_) if recovered => {}
            seen => *seen = Some((latest, epoch)),
        }
        if !recovered {
            self.texts.clear();
            let conversation = self.topic.trim_start_matches("conversation:");
            let wanted =
                json!({ "type": "history", "id": "h", "data": { "conversation_id": conversation, "limit": 100 } });
            self.socket.send(Message::text(wanted.to_string())).await?;
        }
        Ok(())
    }
}

/// Connects and subscribes, behind what was seen if anything was.
async fn enter(
    server: &Colloquy,
    topic: &str,
    seen: Option<&(u64, String)>,
    pace: &watch::Sender<Pace>,
    tasks: &mut JoinSet<()>,
) -> Result<Socket> {
    let stream = link::connect(server.node.http, pace.subscribe(), tasks).await?;
    let target = format!("ws://{}/api/v1/ws?token={}", server.node.http, server.caller.token);
    let (mut socket, _) = timeout(PATIENCE, Box::pin(client_async(target, stream))).await??;
    let mut place = json!({ "topic": topic });
    if let Some((offset, epoch)) = seen {
        (place["offset"], place["epoch"]) = (json!(offset), json!(epoch));
    }
    let subscribe = json!({ "type": "subscribe", "id": "s", "data": { "topics": [place] } });
    socket.send(Message::text(subscribe.to_string())).await?;
    Ok(socket)
}

fn text(data: &Value, field: &str) -> Result<String> {
    Ok(data[field].as_str().with_context(|| format!("no {field} in {data}"))?.to_owned())
}
