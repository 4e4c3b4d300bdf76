//! WebSockets: the handshake, and the way of each socket into a session.

mod client_frame;
mod farewell;
mod fault;
mod frame;
mod link;
mod server_frame;
mod socket;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_channel::mpsc;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Streaming;
use tracing::Instrument as _;
use uuid::Uuid;
use warp::reply::{Reply as _, Response};

use self::{
    farewell::{Close, Farewell},
    frame::{Frames, Subprotocol},
    socket::{Hygiene, Session, say_goodbye},
};
use crate::{
    client::Client,
    config::{AllowedOrigins, Settings},
    problem::Problem,
    refusal::{Reason, Refusal},
    schema::{Schema, SchemaError},
    visitor::Visitor,
};

/// What a socket's reader allocates up front, in bytes; larger frames make it grow.
const READ_BUFFER: usize = 512;
/// The version of the protocol (RFC 6455).
const VERSION: &str = "13";

/// Opens sockets and keeps count of them.
#[derive(Clone)]
pub(crate) struct Sockets {
    frames: Arc<Frames>,
    client: Client,
    hygiene: Hygiene,
    handshake_timeout: Duration,
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
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        let (Some(upgrade), Some(key), true) = (upgrade, key, version.is_some_and(|version| version == VERSION)) else {
            return Err(upgrade_required());
        };
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| upgrade_required())?;
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
        let protocol = Subprotocol::choose(offered.flat_map(|list| list.split(',')).map(str::trim));

        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let answer = response.headers_mut();
        answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = protocol {
            answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
        }

        let (tracker, stop) = (self.tracker.clone(), self.stop.clone());
        let address = Address::read(name.as_deref(), &query);
        // Boxed, and gone once the session is open: what a task can hold is what an idle socket costs.
        let opening = Box::pin(self.open(upgrade, protocol.unwrap_or(Subprotocol::Json), visitor, address));
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
        upgrade: OnUpgrade,
        protocol: Subprotocol,
        visitor: Visitor,
        address: Address,
    ) -> Option<Box<Session>> {
        let connection = timeout(self.handshake_timeout, upgrade).await.ok()?.ok()?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(self.hygiene.max_read_bytes()))
            .max_frame_size(Some(self.hygiene.max_read_bytes()));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
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
            self.hygiene.window_bytes(),
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
