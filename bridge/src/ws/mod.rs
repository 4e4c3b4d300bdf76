//! WebSockets: the handshake, and the way of each socket into a session.

mod cache;
mod client_frame;
mod draining;
mod farewell;
mod fault;
mod frame;
mod hygiene;
mod link;
mod open;
mod patience;
mod pulse;
mod server_frame;
mod socket;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_channel::mpsc;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Streaming;
use tracing::Instrument as _;
use uuid::Uuid;
use warp::reply::Response;

#[cfg(feature = "fuzzing")]
pub(crate) use self::client_frame::ClientFrames;
use self::{
    farewell::{Close, Farewell},
    frame::{Frames, Protocol, Subprotocol},
    hygiene::Hygiene,
    socket::{Session, say_goodbye},
};
use crate::{
    client::Client,
    config::{AllowedOrigins, Settings},
    problem::Problem,
    refusal::{Reason, Refusal},
    schema::{Schema, SchemaError},
    visitor::Visitor,
    websocket,
};

/// Opens sockets and keeps count of them.
#[derive(Clone)]
pub(crate) struct Sockets {
    frames: Arc<Frames>,
    client: Client,
    hygiene: Hygiene,
    handshake_timeout: Duration,
    compress: bool,
    allowed_origins: AllowedOrigins,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// A request for a socket.
pub(crate) struct Handshake {
    pub(crate) headers: HeaderMap,
    /// The query as it was sent; empty without one.
    pub(crate) query: String,
    /// What follows `/ws/`: a conversation's id or a token.
    pub(crate) name: Option<String>,
    pub(crate) visitor: Visitor,
    /// Absent where the connection cannot be upgraded.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// What a socket's address says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Address {
    credential: Option<String>,
    conversation: Option<String>,
}

impl Sockets {
    pub(crate) fn new(
        schema: &Schema,
        client: Client,
        settings: &Settings,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, SchemaError> {
        Ok(Self {
            frames: Arc::new(Frames::new(schema)?),
            client,
            hygiene: Hygiene::from(settings),
            handshake_timeout: settings.handshake_timeout,
            compress: settings.compress_sockets,
            allowed_origins: settings.allowed_origins.clone(),
            tracker,
            stop,
        })
    }

    /// How many sockets are open.
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Answers a handshake. Whatever is wrong beyond the handshake itself is told by close codes, which browsers can read.
    pub(crate) fn upgrade(self, handshake: Handshake) -> Result<Response, Problem> {
        let Handshake { headers, query, name, visitor, upgrade } = handshake;
        if !self.allows(headers.get(header::ORIGIN)) {
            return Err(Refusal::new(Reason::PermissionDenied, "this origin is not allowed").into());
        }
        let handshake = websocket::Handshake::read(&headers, upgrade, self.compress).ok_or_else(upgrade_required)?;
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
        let chosen = Subprotocol::choose(offered.flat_map(|list| list.split(',')).map(str::trim));

        let mut response: Response = handshake.answer();
        if let Some(chosen) = chosen {
            let name = HeaderValue::from_static(chosen.name());
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        }
        let protocol =
            Protocol { subprotocol: chosen.unwrap_or(Subprotocol::Json), compression: handshake.compression() };

        let (tracker, stop) = (self.tracker.clone(), self.stop.clone());
        let address = Address::read(name.as_deref(), &query);
        // Boxed, and gone once the session is open: what a task can hold is what an idle socket costs.
        let opening = Box::pin(self.open(handshake, protocol, visitor, address));
        let socket = async move {
            if let Some(session) = opening.await {
                session.run(stop).await;
            }
        };
        tracker.spawn(socket.instrument(tracing::Span::current()));
        Ok(response)
    }

    fn allows(&self, origin: Option<&HeaderValue>) -> bool {
        match (&self.allowed_origins, origin) {
            (AllowedOrigins::Any, _) | (_, None) => true,
            (AllowedOrigins::Only(allowed), Some(origin)) => allowed.contains(origin),
        }
    }

    /// Turns the connection into a socket and opens its session; `None` when there is none to open, which the client was told.
    async fn open(
        self,
        handshake: websocket::Handshake,
        protocol: Protocol,
        visitor: Visitor,
        address: Address,
    ) -> Option<Box<Session>> {
        let opened = timeout(self.handshake_timeout, handshake.open(self.hygiene.max_read_bytes()));
        let socket = opened.await.ok()?.ok()?;
        let (requests, incoming) = mpsc::channel(0);
        let connected = tokio::select! {
            // A session that is open is the core's to end.
            biased;
            connected = timeout(self.handshake_timeout, self.connect(visitor, address, incoming)) => {
                connected.unwrap_or_else(|_| Err(Close::Unavailable.into()))
            }
            () = self.stop.cancelled() => Err(Close::GoingAway.into()),
        };
        match connected {
            Ok(upstream) => {
                Some(Box::new(Session::new(self.frames, protocol, self.hygiene, socket, upstream, requests)))
            }
            Err(farewell) => {
                say_goodbye(socket, &self.frames, protocol, farewell).await;
                None
            }
        }
    }

    /// Opens a session at the core.
    async fn connect(
        &self,
        visitor: Visitor,
        address: Address,
        requests: mpsc::Receiver<Bytes>,
    ) -> Result<Streaming<Bytes>, Farewell> {
        let visitor = match address.credential {
            _ if visitor.has_credential() => visitor,
            Some(credential) => {
                let mut bearer = HeaderValue::try_from(format!("Bearer {credential}")).map_err(|_| Close::Policy)?;
                bearer.set_sensitive(true);
                visitor.with_credential(bearer)
            }
            None => return Err(Farewell::no_credential()),
        };
        let session = self.client.session(
            self.frames.path(),
            &visitor,
            address.conversation.as_deref(),
            self.hygiene.window_bytes,
            requests,
        );
        session.await.map_err(|status| Farewell::of_status(&status))
    }
}

impl Address {
    /// Reads `/ws/{name}?query`. A ticket is taken before a token, and both before one in the path.
    fn read(name: Option<&str>, query: &str) -> Self {
        let query = |name| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
        };
        let name = name.map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned());
        let (conversation, token) = match name {
            Some(name) if Uuid::parse_str(&name).is_ok() => (Some(name), None),
            name => (None, name),
        };
        Self {
            credential: query("ticket").or_else(|| query("token")).or(token),
            conversation: conversation.or_else(|| query("conversation_id")).or_else(|| query("session_id")),
        }
    }
}

fn upgrade_required() -> Problem {
    let refusal =
        Refusal::new(Reason::InvalidMessage, "this is a websocket: send a version 13 handshake over http/1.1");
    Problem::with_http(StatusCode::UPGRADE_REQUIRED, refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_conversation_or_shows_a_token() {
        const ID: &str = "0190f3c2-7d1e-7b6a-9b0e-3f2d1c0b9a88";
        let table = [
            (None, "", None, None),
            (Some(ID), "", None, Some(ID)),
            (Some("a.b%2Dc"), "", Some("a.b-c"), None),
            (Some("path"), "token=query", Some("query"), None),
            (Some(ID), "token=t&ticket=k", Some("k"), Some(ID)),
            (None, "token=a%20b&conversation_id=c", Some("a b"), Some("c")),
            (None, "session_id=s&ticket=", None, Some("s")),
        ];
        for (name, query, credential, conversation) in table {
            let expected =
                Address { credential: credential.map(str::to_owned), conversation: conversation.map(str::to_owned) };
            assert_eq!(Address::read(name, query), expected, "{name:?}?{query}");
        }
    }
}
