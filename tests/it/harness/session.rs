//! A session on whichever transport carries it: the same frames, told apart by nothing but what they show.

use colloquy::proto::{
    ClientFrame, Message as Posted, RunEnded, RunStarted, ServerFrame, Subscribe, SubscriptionConfirmed, Token,
    TopicPosition, client_frame, server_frame::Payload,
};
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{Actor, Native, Socket, soon};

/// What carries a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carrier {
    /// A WebSocket of JSON frames.
    Json,
    /// A WebSocket of protobuf frames.
    Proto,
    /// A stream of gRPC.
    Native,
}

/// A session of somebody's.
pub(crate) enum Session {
    Json(Box<Socket>),
    Proto(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Native(Box<Native>),
}

/// What a frame shows of a conversation, the same on every transport.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    Confirmed { epoch: String, recovered: bool },
    Started { answer: String },
    Token { answer: String, index: usize, content: String },
    Ended { answer: String, length: usize },
    Message { id: String, seq: i64, content: String },
    Other(String),
}

/// A frame: what it shows, and its topic and offset if it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) place: Option<(String, usize)>,
    pub(crate) shown: Shown,
}

impl Session {
    /// Opens a session.
    pub(crate) async fn open(actor: &Actor, carrier: Carrier) -> Self {
        match carrier {
            Carrier::Json => Self::Json(Box::new(Socket::open(&actor.socket_url("")).await)),
            Carrier::Proto => {
                let mut request = actor.socket_url("").into_client_request().unwrap();
                request.headers_mut().insert("sec-websocket-protocol", "colloquy.v1.proto".parse().unwrap());
                let opening = connect_async_with_config(request, None, true);
                Self::Proto(Box::new(soon("a handshake", opening).await.unwrap().0))
            }
            Carrier::Native => Self::Native(Box::new(Native::open(actor, None).await)),
        }
    }

    /// Subscribes to a topic, from a place on.
    pub(crate) async fn subscribe(&mut self, position: TopicPosition) {
        if let Self::Json(socket) = self {
            let TopicPosition { topic, offset, epoch } = position;
            let mut since = json!({ "topic": topic });
            if let Some(offset) = offset {
                since["offset"] = json!(offset);
            }
            if let Some(epoch) = epoch {
                since["epoch"] = json!(epoch);
            }
            return socket.ask("subscribe", "subscribe", json!({ "topics": [since] })).await;
        }
        let payload = client_frame::Payload::Subscribe(Subscribe { events: Vec::new(), topics: vec![position] });
        match self {
            Self::Json(_) => {}
            Self::Proto(socket) => {
                let frame = ClientFrame { id: "subscribe".to_owned(), timestamp: None, payload: Some(payload) };
                socket.send(Message::binary(frame.encode_to_vec())).await.unwrap();
            }
            Self::Native(native) => native.ask(payload),
        }
    }

    /// The next frame, or `None` with the session's end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        match self {
            Self::Json(socket) => socket.next().await.map(Frame::from),
            Self::Proto(socket) => loop {
                match soon("a frame", socket.next()).await?.ok()? {
                    Message::Binary(bytes) => return Some(ServerFrame::decode(bytes).unwrap().into()),
                    Message::Close(_) => return None,
                    _ => {}
                }
            },
            Self::Native(native) => native.try_next().await.unwrap().map(Frame::from),
        }
    }

    /// Ends the session as a client does that means it, and waits until it has ended.
    pub(crate) async fn leave(mut self) {
        match &mut self {
            Self::Json(socket) => socket.send_raw(Message::Close(None)).await,
            Self::Proto(socket) => socket.send(Message::Close(None)).await.unwrap(),
            Self::Native(native) => native.hang_up(),
        }
        while self.next().await.is_some() {}
    }

    /// Breaks the session off without a word.
    pub(crate) fn cut(self) {
        drop(self);
    }
}

impl From<Value> for Frame {
    fn from(frame: Value) -> Self {
        let place = frame["offset"].as_u64().map(|offset| (text(&frame["topic"]), offset as usize));
        let data = &frame["data"];
        let number = |name: &str| data[name].as_u64().unwrap() as usize;
        let answer = text(&data["message_id"]);
        let shown = match frame["type"].as_str().unwrap() {
            "subscription.confirmed" => {
                let state = &data["topics"][0];
                Shown::Confirmed { epoch: text(&state["epoch"]), recovered: state["recovered"] == true }
            }
            "start" => Shown::Started { answer },
            "token" => Shown::Token { answer, index: number("index"), content: text(&data["content"]) },
            "end" => Shown::Ended { answer, length: number("content_length") },
            "message" => {
                let (id, content) = (text(&data["id"]), text(&data["content"]));
                Shown::Message { id, seq: data["seq"].as_i64().unwrap(), content }
            }
            other => Shown::Other(other.to_owned()),
        };
        Self { place, shown }
    }
}

impl From<ServerFrame> for Frame {
    fn from(frame: ServerFrame) -> Self {
        let place = frame.offset.map(|offset| (frame.topic.unwrap_or_default(), offset as usize));
        let shown = match frame.payload.unwrap() {
            Payload::SubscriptionConfirmed(SubscriptionConfirmed { mut topics, .. }) => {
                let state = topics.remove(0);
                Shown::Confirmed { epoch: state.epoch, recovered: state.recovered }
            }
            Payload::Start(RunStarted { message_id: answer, .. }) => Shown::Started { answer },
            Payload::Token(Token { message_id: answer, index, content, .. }) => {
                Shown::Token { answer, index: index as usize, content }
            }
            Payload::End(RunEnded { message_id: answer, content_length, .. }) => {
                Shown::Ended { answer, length: content_length as usize }
            }
            Payload::Message(Posted { id, seq, content, .. }) => Shown::Message { id, seq, content },
            Payload::Reconnect(_) => Shown::Other("reconnect".to_owned()),
            Payload::Snapshot(_) => Shown::Other("snapshot".to_owned()),
            Payload::Error(error) => Shown::Other(format!("error {}", error.code)),
            _ => Shown::Other(String::new()),
        };
        Self { place, shown }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
