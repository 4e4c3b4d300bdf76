//! A viewer of one answer, who loses the link and comes back on any transport.

use colloquy::proto::{ResumeChatRequest, ResumeChatResponse};
use serde_json::{Value, json};
use tonic::Streaming;

use super::{Actor, Events, Happened, Socket, soon};

/// What carries an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Server-sent events, resumed with `Last-Event-ID`.
    Sse,
    /// A WebSocket, resumed with the topic's offset and epoch.
    WebSocket,
    /// gRPC, resumed with ResumeChat.
    Grpc,
}

/// Somebody who follows an answer.
pub(crate) struct Viewer {
    /// The text that the viewer holds: every byte of it was shown.
    pub(crate) text: String,
    /// How often the text came whole in place of what was missed.
    pub(crate) snapshots: usize,
    /// How often the topic's epoch was another than the one that the viewer came back with.
    pub(crate) epochs: usize,
    actor: Actor,
    conversation: String,
    answer: String,
    link: Option<Link>,
    /// The last offset of the conversation's topic that was seen, and its epoch: good until another transport is taken.
    place: Option<(u64, String)>,
}

enum Link {
    Sse(Box<Events>),
    WebSocket(Box<Socket>),
    Grpc(Box<Streaming<ResumeChatResponse>>),
}

impl Transport {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Sse, Self::WebSocket, Self::Grpc];

    /// Another one for each number.
    pub(crate) fn nth(number: usize) -> Self {
        Self::ALL[number % Self::ALL.len()]
    }
}

impl Viewer {
    /// Somebody who has seen nothing yet and has no link.
    pub(crate) fn new(actor: &Actor, conversation: &str, answer: &str) -> Self {
        Self {
            text: String::new(),
            snapshots: 0,
            epochs: 0,
            actor: actor.clone(),
            conversation: conversation.to_owned(),
            answer: answer.to_owned(),
            link: None,
            place: None,
        }
    }

    /// The same viewer, calling as somebody else or another node.
    pub(crate) fn by(self, actor: &Actor) -> Self {
        Self { actor: actor.clone(), ..self }
    }

    /// Comes back on a transport, after what was seen last.
    pub(crate) async fn attach(&mut self, transport: Transport) {
        self.cut();
        let after = self.text.len() as u64;
        self.link = Some(match transport {
            Transport::Sse => Link::Sse(Box::new(self.actor.resume_chat(&self.answer, after).await)),
            Transport::Grpc => {
                let request = ResumeChatRequest { message_id: self.answer.clone(), after: after.cast_signed() };
                Link::Grpc(Box::new(self.actor.chat().resume_chat(request).await.unwrap().into_inner()))
            }
            Transport::WebSocket => {
                let mut topic = json!({ "topic": format!("conversation:{}", self.conversation) });
                if let Some((offset, epoch)) = &self.place {
                    topic["offset"] = json!(offset);
                    topic["epoch"] = json!(epoch);
                }
                // Who comes to a node that is about to leave is sent away again.
                let resumed = async {
                    loop {
                        let mut socket = self.actor.socket().await;
                        socket.ask("resume", "subscribe", json!({ "topics": [topic] })).await;
                        if let Some(confirmed) = socket.answer_or_end("resume").await {
                            return (socket, confirmed);
                        }
                    }
                };
                let (socket, confirmed) = soon("a socket that stays", resumed).await;
                let state = &confirmed["data"]["topics"][0];
                if state["recovered"] == false {
                    assert_eq!(state["reason"], "epoch_changed", "{confirmed}");
                    self.epochs += 1;
                    self.place = None;
                }
                let epoch = state["epoch"].as_str().unwrap().to_owned();
                let seen = self.place.take().map_or_else(|| state["offset"].as_u64().unwrap(), |(offset, _)| offset);
                self.place = Some((seen, epoch));
                Link::WebSocket(Box::new(socket))
            }
        });
        if transport != Transport::WebSocket {
            self.place = None;
        }
    }

    /// Breaks the link off without a word.
    pub(crate) fn cut(&mut self) {
        match self.link.take() {
            Some(Link::WebSocket(socket)) => socket.cut(),
            link => drop(link),
        }
    }

    /// The next event of the answer, applied to the text, or `None` when the link ended.
    ///
    /// Panics on a double, a gap, or text that was shown and is taken back.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        let event = match self.link.as_mut().expect("a viewer without a link sees nothing") {
            Link::Sse(events) => events.next().await?,
            Link::Grpc(stream) => soon("an event", stream.message()).await.ok()??.event.unwrap().into(),
            Link::WebSocket(socket) => loop {
                let frame = socket.next().await?;
                let seen = self.place.as_mut().expect("a socket has a place");
                if let Some(offset) = frame["offset"].as_u64() {
                    assert!(offset > seen.0, "offset {offset} after {}", seen.0);
                    seen.0 = offset;
                }
                if frame["data"]["message_id"] == self.answer {
                    break happened(frame);
                }
            },
        };
        let held = std::mem::take(&mut self.text);
        self.text.clone_from(&held);
        event.apply(&mut self.text);
        assert!(self.text.starts_with(&held), "text was taken back: {held:?}, then {:?}", self.text);
        self.snapshots += usize::from(event.kind == "snapshot");
        Some(event)
    }

    /// Watches until the text has at least so many bytes.
    pub(crate) async fn until_bytes(&mut self, bytes: usize) {
        while self.text.len() < bytes {
            let event = self.next().await.expect("the answer goes on");
            assert!(!event.is_last(), "the answer ended too early: {event:?}");
        }
    }

    /// Watches until the run's last event, which is returned.
    pub(crate) async fn until_last(&mut self) -> Happened {
        loop {
            let event = self.next().await.expect("the answer comes to an end");
            if event.is_last() {
                return event;
            }
        }
    }
}

/// A frame as an event of its answer.
fn happened(mut frame: Value) -> Happened {
    let data = frame["data"].take();
    let end = data["index"].as_u64().map(|index| index + data["content"].as_str().unwrap_or_default().len() as u64);
    Happened { offset: end.unwrap_or_default(), kind: frame["type"].as_str().unwrap().to_owned(), data }
}
