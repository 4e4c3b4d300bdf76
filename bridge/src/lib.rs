//! The gateway of Colloquy: a gRPC client that serves the contract to browsers as REST, Server-Sent Events and WebSocket.
//!
//! It knows the contract's descriptors and a core, and has no message types: what an RPC takes and returns, where it is
//! served and how it is documented is read from `proto/` alone. A request passes [`serve()`] → `edge` → `rest`, `ws` or
//! `health` → `client` → the core.
//!
//! - `config` — what the bridge can be told.
//! - [`upstream`](Upstream) — the way to the core, remote or in the same process; `cores` — the choice between several;
//!   `place` — the connection to one.
//! - `serve` — the layers; `connections` — the listener and those accepted; `line` — their bytes; `tls` — what is
//!   shown and believed there; `routes` — the filters.
//! - `edge` — what is true of every request; `visitor` — who sent it.
//! - `schema` — the contract's RPCs as routes; `route` — path templates; `variant` — frames and events by their type;
//!   `naming` — names of fields in JSON.
//! - `rest` — unary RPCs; `input` — their requests; `sse` — streaming RPCs.
//! - [`websocket`] — the handshake and the connection of a socket; `ws` — sockets and their frames.
//! - `health`, `openapi`, `page` — pages about the service.
//! - `refusal` — what the bridge refuses itself; `problem` — errors over HTTP.
//! - [`transcode`] — protobuf ↔ JSON by tables; `record` — single fields of encoded messages.
//! - `fuzzing` — what fuzzers reach beside that.
//! - `client`, `codec` — calls of the core on encoded messages.

mod client;
mod codec;
mod config;
mod connections;
mod cores;
mod edge;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod input;
mod limits;
mod line;
mod naming;
mod openapi;
mod page;
mod place;
mod problem;
mod record;
mod refusal;
mod rest;
mod route;
mod routes;
mod schema;
mod serve;
mod sse;
mod tls;
mod trace;
pub mod transcode;
mod upstream;
mod variant;
mod visitor;
pub mod websocket;
mod ws;

pub use config::{AllowedOrigins, MAX_FRAME_CAP, METRICS_TYPE, RenderMetrics, Settings};
pub use connections::{ConnectionLimits, accept};
pub use serve::serve;
pub use tls::{ClientCheck, ClientFiles, ClientTls, Identity, ServerFiles, ServerTls, TlsError, TlsFile};
pub use upstream::{AddressError, Upstream, local, remote};
