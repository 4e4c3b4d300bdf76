//! A bridge on a free port, and clients for it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use colloquy_bridge::{Settings, Upstream, serve};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;

use super::core::{Core, core};

/// A running bridge.
pub(crate) struct Bridge {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Waits for what has to happen within moments.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it happens within ten seconds")
}

/// A bridge with its defaults, and its core.
pub(crate) async fn bridge() -> (Bridge, Core) {
    bridge_with(Settings::default()).await
}

/// A bridge, and its core.
pub(crate) async fn bridge_with(settings: Settings) -> (Bridge, Core) {
    let (core, upstream) = core();
    (bridge_to(upstream, settings).await, core)
}

/// A bridge to a core elsewhere.
pub(crate) async fn bridge_to(upstream: Upstream, settings: Settings) -> Bridge {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    let shutdown = stop.clone();
    running.spawn(async move { serve(listener, upstream, settings, shutdown).await.unwrap() });
    let client = Client::builder(TokioExecutor::new()).build_http();
    Bridge { address, client, stop, running }
}

impl Bridge {
    /// Sends a request and reads the head of the answer.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon(self.client.request(request.body(Full::from(body.to_owned())).unwrap())).await.unwrap()
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (head, body) = self.open(method, path, headers, body).await.into_parts();
        let body = soon(body.collect()).await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// Sends a request whose answer nobody reads; it lasts as long as the connection that is returned.
    pub(crate) async fn hanging(&self, path: &str) -> TcpStream {
        let mut stream = soon(TcpStream::connect(self.address)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: bridge\r\n\r\n");
        soon(stream.write_all(request.as_bytes())).await.unwrap();
        stream
    }

    /// Opens a socket that speaks JSON.
    pub(crate) async fn socket(&self, path: &str) -> Socket {
        self.socket_with(path, &[]).await.0
    }

    /// Opens a socket with these headers; also the headers of the answer.
    pub(crate) async fn socket_with(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> (Socket, HeaderMap) {
        let stream = soon(TcpStream::connect(self.address)).await.unwrap();
        self.handshake(stream, path, headers).await
    }

    /// Opens a socket for which the kernel keeps as little as it can on the client's side.
    pub(crate) async fn narrow_socket(&self, path: &str) -> Socket {
        let stream = TcpSocket::new_v4().unwrap();
        stream.set_recv_buffer_size(4096).unwrap();
        let stream = soon(stream.connect(self.address)).await.unwrap();
        self.handshake(stream, path, &[]).await.0
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> (Socket, HeaderMap) {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, response) = soon(client_async(request, stream)).await.unwrap();
        (Socket { socket }, response.headers().clone())
    }

    /// Gives the stop signal.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the bridge has ended.
    pub(crate) async fn ended(mut self) {
        soon(self.running.join_next()).await.unwrap().unwrap();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of an error answer, whose shape is checked.
    pub(crate) fn error(&self) -> String {
        let error = &self.json()["error"];
        assert_eq!(error["request_id"], self.header("x-request-id"));
        assert!(error["message"].is_string() && error["details"].is_array(), "{error}");
        assert_eq!(self.header("content-type"), "application/json");
        error["code"].as_str().unwrap().to_owned()
    }

    /// The first detail of this type in an error answer.
    pub(crate) fn detail(&self, kind: &str) -> Value {
        let details = self.json()["error"]["details"].as_array().unwrap().clone();
        details.into_iter().find(|detail| detail["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
    }
}

/// The client's side of a socket.
pub(crate) struct Socket {
    socket: WebSocketStream<TcpStream>,
}

impl Socket {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_message(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        soon(self.socket.send(message)).await.unwrap();
    }

    /// The next message that is not a ping.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            match soon(self.socket.next()).await.expect("the socket is open").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            message => panic!("{message:?} is not a frame"),
        }
    }

    /// The code of the close that comes next.
    pub(crate) async fn closed(&mut self) -> u16 {
        match self.message().await {
            Message::Close(Some(close)) => close.code.into(),
            message => panic!("{message:?} is not a close"),
        }
    }

    /// Leaves without a word.
    pub(crate) async fn leave(mut self) {
        soon(self.socket.close(None)).await.unwrap();
    }

    /// Waits for a ping, which the next look at the socket answers; what it carries.
    pub(crate) async fn pinged(&mut self) -> Bytes {
        match soon(self.socket.next()).await.expect("the socket is open").unwrap() {
            Message::Ping(payload) => payload,
            message => panic!("{message:?} is not a ping"),
        }
    }

    /// Reads nothing, and so answers no pings, until the server has ended its side.
    pub(crate) async fn deaf_until_closed(&mut self) {
        let stream = self.stream();
        soon(async {
            while !stream.ready(Interest::READABLE).await.unwrap().is_read_closed() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The connection, for who frames messages alone.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.into_inner()
    }

    /// The connection itself.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}
