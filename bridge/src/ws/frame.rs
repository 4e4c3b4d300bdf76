//! Frames: JSON or protobuf on the socket, always protobuf towards the core.

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost_reflect::MessageDescriptor;
use tokio_tungstenite::tungstenite::Message;

use super::{
    client_frame::ClientFrames,
    fault::Fault,
    link::{Link, Reports},
    server_frame::ServerFrames,
};
use crate::{
    refusal::{Reason, Refusal},
    schema::{Schema, SchemaError},
    transcode::Malformed,
};

const CONNECT: &str = "/colloquy.v1.SessionService/Connect";

/// The form of the frames on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subprotocol {
    /// Text messages of JSON.
    Json,
    /// Binary messages of `ClientFrame` and `ServerFrame`.
    Proto,
}

impl Subprotocol {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "colloquy.v1.json",
            Self::Proto => "colloquy.v1.proto",
        }
    }

    /// The first one of a client's list that is spoken here.
    pub(crate) fn choose<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        offered.into_iter().find_map(|name| [Self::Json, Self::Proto].into_iter().find(|known| known.name() == name))
    }
}

/// A frame for the client.
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    /// Whether it asks the client to come back.
    pub(crate) reconnect: bool,
}

/// Reads and writes the frames of the contract.
pub(crate) struct Frames {
    path: PathAndQuery,
    client: ClientFrames,
    server: ServerFrames,
    reports: Reports,
}

impl Frames {
    /// Finds the frames in the contract.
    pub(crate) fn new(schema: &Schema) -> Result<Self, SchemaError> {
        Ok(Self {
            path: PathAndQuery::from_static(CONNECT),
            client: ClientFrames::new(schema)?,
            server: ServerFrames::new(schema)?,
            reports: Reports::new(schema)?,
        })
    }

    /// The path of the RPC that carries them.
    pub(crate) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// Encodes a client's message for the core.
    pub(crate) fn read(&self, protocol: Subprotocol, message: &Message) -> Result<Bytes, Fault> {
        match (protocol, message) {
            (Subprotocol::Json, Message::Text(text)) => self.client.read_json(text.as_bytes()),
            (Subprotocol::Proto, Message::Binary(frame)) => self.client.read_proto(frame),
            (Subprotocol::Json, _) => Err(Refusal::new(Reason::InvalidMessage, "frames are text messages here").into()),
            (Subprotocol::Proto, _) => {
                Err(Refusal::new(Reason::InvalidMessage, "frames are binary messages here").into())
            }
        }
    }

    /// A request that tells the core what a link did.
    pub(crate) fn report(&self, link: &mut Link) -> Bytes {
        self.reports.write(link)
    }

    /// What is said to a message of more than `limit` bytes.
    pub(crate) fn too_large(&self, message: &Message, limit: usize) -> Fault {
        let id = match message {
            Message::Text(text) => self.client.id_in_json(text.as_bytes()),
            Message::Binary(frame) => self.client.id_in_proto(frame),
            _ => None,
        };
        Fault::from(Refusal::new(Reason::MessageTooLarge, format!("a frame has at most {limit} bytes"))).in_reply_to(id)
    }

    /// Decodes a response of the core for the client; `None` for a frame that this contract does not know yet.
    pub(crate) fn write(&self, protocol: Subprotocol, response: &Bytes) -> Result<Option<Outgoing>, Malformed> {
        let frame = self.server.unwrap(response)?;
        let payload = self.server.payload(frame)?;
        let message = match (protocol, &payload) {
            (Subprotocol::Json, Some(payload)) => Message::text(self.server.to_json(frame, payload)?),
            (Subprotocol::Json, None) => return Ok(None),
            (Subprotocol::Proto, _) => Message::Binary(response.slice_ref(frame)),
        };
        Ok(Some(Outgoing { message, reconnect: payload.is_some_and(|payload| payload.asks_to_reconnect()) }))
    }

    /// An error frame of the bridge's own.
    pub(crate) fn error(&self, protocol: Subprotocol, fault: &Fault) -> Option<Message> {
        self.own(protocol, self.server.error(fault))
    }

    /// A frame of the bridge's own that asks the client to come back after so many milliseconds.
    pub(crate) fn reconnect(&self, protocol: Subprotocol, after_ms: i64, reason: &str) -> Option<Message> {
        self.own(protocol, self.server.reconnect(after_ms, reason))
    }

    fn own(&self, protocol: Subprotocol, frame: Vec<u8>) -> Option<Message> {
        match protocol {
            Subprotocol::Json => {
                let payload = self.server.payload(&frame).ok()??;
                self.server.to_json(&frame, &payload).ok().map(Message::text)
            }
            Subprotocol::Proto => Some(Message::Binary(frame.into())),
        }
    }
}

/// The number of a field that the bridge relies on.
pub(super) fn number(message: &MessageDescriptor, field: &'static str) -> Result<u32, SchemaError> {
    message.get_field_by_name(field).map(|field| field.number()).ok_or(SchemaError::Missing(field))
}
