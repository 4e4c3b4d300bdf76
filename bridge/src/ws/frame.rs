//! Frames: JSON or protobuf on the socket, always protobuf towards the core.

use std::ops::RangeInclusive;

use bytes::Bytes;
use http::uri::PathAndQuery;
use metrics::Counter;
use prost_reflect::MessageDescriptor;
use tokio_tungstenite::tungstenite::Message;

use super::{
    cache::{Cache, Form},
    client_frame::ClientFrames,
    fault::Fault,
    link::{Link, Reports},
    server_frame::{Payload, ServerFrames},
};
use crate::{
    refusal::{Reason, Refusal},
    schema::{Schema, SchemaError},
    transcode::Malformed,
    websocket::Compression,
};

/// The messages that are compressed, by their bytes: shorter ones are not worth it, and longer ones would hold up all that the
/// same thread does for others.
const COMPRESSED: RangeInclusive<usize> = 256..=256 * 1024;
const CONNECT: &str = "/colloquy.v1.SessionService/Connect";

/// The form of the frames on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// How frames and messages are written on a socket, as its handshake settled it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) subprotocol: Subprotocol,
    pub(crate) compression: Option<Compression>,
}

impl Protocol {
    /// What an event is written as for everybody of the same protocol; `None` where that is not worth keeping.
    fn form(self) -> Option<Form> {
        match (self.subprotocol, self.compression) {
            (subprotocol, Some(compression)) => Some(Form::Deflated(subprotocol, compression.window())),
            (Subprotocol::Json, None) => Some(Form::Json),
            (Subprotocol::Proto, None) => None,
        }
    }

    /// The message as it goes to the client.
    fn compress(self, message: Message) -> Message {
        match self.compression {
            Some(compression) if COMPRESSED.contains(&message.len()) => compression.apply(message),
            _ => message,
        }
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
    cache: Cache,
    /// Count frames of clients, and for them.
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

impl Frames {
    /// Finds the frames in the contract.
    pub(crate) fn new(schema: &Schema) -> Result<Self, SchemaError> {
        Ok(Self {
            path: PathAndQuery::from_static(CONNECT),
            client: ClientFrames::new(schema)?,
            server: ServerFrames::new(schema)?,
            reports: Reports::new(schema)?,
            cache: Cache::new(),
            received: metrics::counter!("colloquy_socket_frames_total", "direction" => "in"),
            sent: metrics::counter!("colloquy_socket_frames_total", "direction" => "out"),
        })
    }

    /// The path of the RPC that carries them.
    pub(crate) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// Encodes a client's message for the core.
    pub(crate) fn read(&self, protocol: Protocol, message: &Message) -> Result<Bytes, Fault> {
        match (protocol.subprotocol, message) {
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
    pub(crate) fn write(&self, protocol: Protocol, response: &Bytes) -> Result<Option<Outgoing>, Malformed> {
        let frame = self.server.unwrap(response)?;
        let payload = self.server.payload(frame)?;
        if protocol.subprotocol == Subprotocol::Json && payload.is_none() {
            return Ok(None);
        }
        let write = || self.message(protocol, response.slice_ref(frame), payload.as_ref());
        let shared = protocol.form().filter(|_| payload.as_ref().is_some_and(|payload| payload.is_published));
        let message = match shared {
            Some(form) => self.cache.get_or_write(form, frame, write)?,
            None => write()?,
        };
        Ok(Some(Outgoing { message, reconnect: payload.is_some_and(|payload| payload.asks_to_reconnect()) }))
    }

    fn message(
        &self,
        protocol: Protocol,
        frame: Bytes,
        payload: Option<&Payload<'_, '_>>,
    ) -> Result<Message, Malformed> {
        let message = match (protocol.subprotocol, payload) {
            (Subprotocol::Json, Some(payload)) => Message::text(self.server.to_json(&frame, payload)?),
            _ => Message::Binary(frame),
        };
        Ok(protocol.compress(message))
    }

    /// An error frame of the bridge's own.
    pub(crate) fn error(&self, protocol: Protocol, fault: &Fault) -> Option<Message> {
        self.own(protocol, self.server.error(fault))
    }

    /// A frame of the bridge's own that asks the client to come back after so many milliseconds.
    pub(crate) fn reconnect(&self, protocol: Protocol, after_ms: i64, reason: &str) -> Option<Message> {
        self.own(protocol, self.server.reconnect(after_ms, reason))
    }

    fn own(&self, protocol: Protocol, frame: Vec<u8>) -> Option<Message> {
        let message = match protocol.subprotocol {
            Subprotocol::Json => {
                let payload = self.server.payload(&frame).ok()??;
                Message::text(self.server.to_json(&frame, &payload).ok()?)
            }
            Subprotocol::Proto => Message::Binary(frame.into()),
        };
        Some(protocol.compress(message))
    }
}

/// The number of a field that the bridge relies on.
pub(super) fn number(message: &MessageDescriptor, field: &'static str) -> Result<u32, SchemaError> {
    message.get_field_by_name(field).map(|field| field.number()).ok_or(SchemaError::Missing(field))
}
