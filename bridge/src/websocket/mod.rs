//! WebSockets, whatever is said over them: the handshake, the connection behind it, and how it is closed.
//!
//! The framing is tungstenite's. What it does not know, permessage-deflate (RFC 7692), is put around it: messages that arrive
//! compressed are inflated before it reads them, and those that leave compressed are handed to it as frames.

mod chunk;
mod compression;
mod head;
mod inflate;
mod inflater;
mod offer;
mod translation;
mod violation;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

pub use self::{compression::Compression, inflate::Inflate, violation::Violation};

/// A WebSocket over the connection that it was upgraded from.
pub type WebSocket = WebSocketStream<Inflate<TokioIo<Upgraded>>>;

/// What a socket's reader allocates up front, in bytes; larger frames make it grow.
const READ_BUFFER: usize = 512;
/// The version of the protocol (RFC 6455).
const VERSION: &str = "13";
/// The protocol's name where connections change theirs.
const PROTOCOL: &str = "websocket";
/// What connections are asked to do for it.
const UPGRADE: &str = "upgrade";
/// How long the number is that a handshake is known by.
const KEY_BYTES: usize = 16;

/// A client's handshake that can be accepted.
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
    compression: Option<Compression>,
}

impl Handshake {
    /// Reads a request; `None` where it does not ask for a WebSocket of this version, or cannot have one. Compression is
    /// agreed to where the client offers it and `compress` allows it.
    pub fn read(headers: &HeaderMap, upgrade: Option<OnUpgrade>, compress: bool) -> Option<Self> {
        headers.get(header::SEC_WEBSOCKET_VERSION).filter(|version| *version == VERSION)?;
        if !names(headers, &header::UPGRADE, PROTOCOL) || !names(headers, &header::CONNECTION, UPGRADE) {
            return None;
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
        STANDARD.decode(key).ok().filter(|key| key.len() == KEY_BYTES)?;
        let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|offers| offers.to_str().ok());
        Some(Self {
            accept: HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?,
            upgrade: upgrade?,
            compression: compress.then(|| offer::choose(offers)).flatten(),
        })
    }

    /// How messages may be compressed that the client is sent.
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// The answer that makes the connection a WebSocket.
    pub fn answer<B: Default>(&self) -> http::Response<B> {
        let mut response = http::Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static(UPGRADE));
        headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(compression) = self.compression {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, compression.answer());
        }
        response
    }

    /// Waits for the connection to become a WebSocket, on which messages of more bytes are not read, inflated or not.
    pub async fn open(self, max_message_bytes: usize) -> Result<WebSocket, hyper::Error> {
        let connection = TokioIo::new(self.upgrade.await?);
        let connection = match self.compression {
            Some(_) => Inflate::compressed(connection, max_message_bytes),
            None => Inflate::plain(connection),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_message_bytes))
            .max_frame_size(Some(max_message_bytes));
        Ok(WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await)
    }
}

/// What the answer to a request tells that should have been a handshake.
pub fn invite(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static(UPGRADE));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
}

/// Whether a header lists this name, however it is written.
fn names(headers: &HeaderMap, header: &HeaderName, name: &str) -> bool {
    let lists = headers.get_all(header).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(name))
}

/// Closes a socket and lets the client read why: what it is still sending is read away, since bytes that nobody read would make
/// the connection end before its last words arrived.
pub async fn hang_up(mut socket: WebSocket, close: CloseFrame) -> Result<(), Error> {
    socket.close(Some(close)).await?;
    // What comes now is no message to anybody: it is not worth inflating.
    let mut connection = socket.into_inner().into_inner();
    connection.shutdown().await?;
    let mut rest = [0; 512];
    while connection.read(&mut rest).await? > 0 {}
    Ok(())
}
