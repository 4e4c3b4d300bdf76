//! The bridge's settings.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use crate::tls::ServerTls;

/// The content type of Prometheus' text format.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders the process's metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The largest WebSocket message that is read at all, whatever the settings, in bytes; a larger one ends the connection.
pub const MAX_FRAME_CAP: usize = 1 << 20;

/// What the bridge can be told. Everything is finite by default.
#[derive(Clone)]
pub struct Settings {
    /// The node's name, told by the detailed health page.
    pub node: String,
    /// TLS of the listener; HTTP in plain text without it.
    pub tls: Option<ServerTls>,
    /// The largest WebSocket frame that is taken, in bytes; at most [`MAX_FRAME_CAP`]. One of more than four times as many
    /// bytes ends the connection, so that what is never finished does not pile up.
    pub max_frame_bytes: usize,
    /// Whether WebSocket messages may be compressed, for clients that offer it.
    pub compress_sockets: bool,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// The largest response message of the core, in bytes.
    pub max_response_bytes: usize,
    /// How long a call may take. Calls that wait for an answer need over two minutes; shorter limits are the core's.
    pub request_deadline: Duration,
    /// How long a WebSocket may take to upgrade and to be accepted by the core, and a client to send a request's head.
    pub handshake_timeout: Duration,
    /// How often a WebSocket is pinged.
    pub ping_interval: Duration,
    /// How long a WebSocket may say nothing, pongs included, and take nothing.
    pub silence_limit: Duration,
    /// How long a client may read nothing of what it was sent.
    pub drain_limit: Duration,
    /// How long a client may take nothing of a frame before the core is told that a send failed.
    pub send_timeout: Duration,
    /// Bytes that are taken of the core for one WebSocket beyond what the client took.
    pub window_bytes: usize,
    /// How many clients a second come back, of those whom the bridge sends away together.
    pub reconnects_per_second: u32,
    /// How long an event stream may be silent before it gets a comment.
    pub sse_keep_alive: Duration,
    /// How long requests, event streams and sockets may go on after the stop signal.
    pub shutdown_grace: Duration,
    /// Whether the address that the nearest proxy put last in `X-Forwarded-For` is believed.
    pub trust_forwarded_for: bool,
    /// What makes the core believe the client addresses that this bridge reports.
    pub bridge_key: Option<HeaderValue>,
    /// Which web pages of other origins may use the bridge.
    pub allowed_origins: AllowedOrigins,
    /// Whether the detailed health page and the metrics are for those only who are signed in.
    pub pages_need_login: bool,
    /// What `/metrics` answers; without it there is no such page.
    pub metrics: Option<RenderMetrics>,
}

/// Which web pages of other origins may use the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// All: a request is authorised by its bearer token alone, which no browser adds by itself.
    Any,
    /// Those listed, such as `https://chat.example`.
    Only(Vec<HeaderValue>),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "colloquy".to_owned(),
            tls: None,
            max_frame_bytes: 64 * 1024,
            compress_sockets: true,
            max_body_bytes: 1 << 20,
            max_response_bytes: 64 << 20,
            request_deadline: Duration::from_secs(130),
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            silence_limit: Duration::from_secs(60),
            drain_limit: Duration::from_secs(30),
            send_timeout: Duration::from_secs(2),
            window_bytes: 64 * 1024,
            reconnects_per_second: 500,
            sse_keep_alive: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(10),
            trust_forwarded_for: false,
            bridge_key: None,
            allowed_origins: AllowedOrigins::Any,
            pages_need_login: true,
            metrics: None,
        }
    }
}
