//! A WebSocket of somebody's.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, handshake::client::Request},
};
use tokio_util::either::Either;

use super::{TlsClient, secrets, soon};

/// A WebSocket that speaks JSON frames.
pub(crate) struct Socket {
    stream: WebSocketStream<Either<TcpStream, Box<TlsStream<TcpStream>>>>,
    /// How it ended, for those who did not expect it.
    end: String,
}

impl Socket {
    /// Opens a socket; the handshake is always accepted.
    pub(crate) async fn open(url: &str) -> Self {
        Self::shake(url.into_client_request().unwrap(), None).await
    }

    /// Opens a socket over TLS, with this `Origin`.
    pub(crate) async fn open_over(tls: &TlsClient, url: &str, origin: &str) -> Self {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        Self::shake(request, Some(tls)).await
    }

    /// Opens a socket with this `Authorization`, as programs can and browsers cannot.
    pub(crate) async fn open_as(url: &str, authorization: &str) -> Self {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        Self::shake(request, None).await
    }

    async fn shake(request: Request, tls: Option<&TlsClient>) -> Self {
        let address: SocketAddr = request.uri().authority().unwrap().as_str().parse().unwrap();
        let connection = match tls {
            None => Either::Left(TcpStream::connect(address).await.unwrap()),
            Some(tls) => Either::Right(Box::new(tls.connect(address, &["http/1.1"]).await.unwrap())),
        };
        if let Either::Left(connection) = &connection {
            connection.set_nodelay(true).unwrap();
        }
        let (stream, _) = soon("a handshake", client_async(request, connection)).await.unwrap();
        Self { stream, end: String::new() }
    }

    /// Opens a socket by a request of this id.
    pub(crate) async fn named(url: &str, request_id: &str) -> Self {
        Self::open_with(url, "x-request-id", request_id).await
    }

    /// Opens a socket by a request with this header.
    pub(crate) async fn open_with(url: &str, header: &'static str, value: &str) -> Self {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert(header, value.parse().unwrap());
        Self::shake(request, None).await
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: Value) {
        secrets::keep_all(&frame);
        self.send_text(frame.to_string()).await;
    }

    /// Sends a frame of this type and id.
    pub(crate) async fn ask(&mut self, id: &str, frame_type: &str, data: Value) {
        self.send(json!({ "type": frame_type, "id": id, "data": data })).await;
    }

    /// Sends whatever text.
    pub(crate) async fn send_text(&mut self, text: String) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Sends whatever WebSocket message.
    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    /// Sends a frame of this type and id; `None` when the socket has ended.
    pub(crate) async fn offer(&mut self, id: &str, frame_type: &str, data: Value) -> Option<()> {
        self.offer_raw(Message::text(json!({ "type": frame_type, "id": id, "data": data }).to_string())).await
    }

    /// Sends whatever WebSocket message; `None` when the socket has ended.
    pub(crate) async fn offer_raw(&mut self, message: Message) -> Option<()> {
        self.stream.send(message).await.ok()
    }

    /// The next frame, or `None` with the socket's end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match soon("a frame", self.stream.next()).await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                end => {
                    self.end = format!("{end:?}");
                    return None;
                }
            }
        }
    }

    /// The next frame of this type; the ones before it are passed over.
    pub(crate) async fn until(&mut self, frame_type: &str) -> Value {
        loop {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("the socket ended before {frame_type:?}: {}", self.end));
            if frame["type"] == frame_type {
                return frame;
            }
        }
    }

    /// Waits for so many pings of the server's; frames before them are passed over.
    pub(crate) async fn pinged(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            match soon("a ping", self.stream.next()).await {
                Some(Ok(Message::Ping(_))) => seen += 1,
                Some(Ok(_)) => {}
                end => panic!("the socket ended before it was pinged: {end:?}"),
            }
        }
    }

    /// The frame that answers the one with this id; the ones before it are passed over.
    pub(crate) async fn answer_to(&mut self, id: &str) -> Value {
        let answer = self.answer_or_end(id).await;
        answer.unwrap_or_else(|| panic!("the socket ended before the answer to {id:?}: {}", self.end))
    }

    /// The same, or `None` with the socket's end.
    pub(crate) async fn answer_or_end(&mut self, id: &str) -> Option<Value> {
        loop {
            let frame = self.next().await?;
            if frame["reply_to"] == id {
                return Some(frame);
            }
        }
    }

    /// The code with which the server closes; frames before it are passed over.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            match soon("the close", self.stream.next()).await {
                Some(Ok(Message::Close(Some(close)))) => return close.code.into(),
                Some(Ok(Message::Close(None))) | None => panic!("closed without a code"),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("the socket broke: {error}"),
            }
        }
    }

    /// Breaks the connection off without a word.
    pub(crate) fn cut(self) {
        drop(self);
    }
}
