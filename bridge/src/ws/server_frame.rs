//! What clients get: a `ServerFrame` as it is, or as `{"type","id","timestamp",…,"data"}`.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{fault::Fault, frame::number};
use crate::{
    record,
    schema::{Schema, SchemaError},
    transcode::{Malformed, MessageId, Transcoder, wire},
    variant::{Variant, Variants},
};

const CARRIER: &str = "colloquy.v1.ConnectResponse";
const FRAME: &str = "colloquy.v1.ServerFrame";
const ERROR: &str = "error";
/// The `type` after which the end of a session asks the client to come back.
const RECONNECT: &str = "reconnect";

/// Writes frames for clients.
pub(crate) struct ServerFrames {
    transcoder: Arc<Transcoder>,
    /// The field of the response that holds the frame.
    carrier: u32,
    message: MessageId,
    id: u32,
    timestamp: u32,
    reply_to: u32,
    topic: u32,
    error: Variant,
    reconnect: Variant,
    variants: Variants,
}

/// What a frame holds.
pub(crate) struct Payload<'t, 'w> {
    variant: &'t Variant,
    wire: &'w [u8],
    /// Whether everybody who is subscribed gets the same frame.
    pub(crate) is_published: bool,
}

impl Payload<'_, '_> {
    /// Whether the end of the session that follows asks the client to come back.
    pub(crate) fn asks_to_reconnect(&self) -> bool {
        self.variant.name == RECONNECT
    }
}

impl ServerFrames {
    pub(crate) fn new(schema: &Schema) -> Result<Self, SchemaError> {
        let (frame, message) = schema.message(FRAME)?;
        let variants =
            Variants::of(&frame, &schema.frame_type, &schema.transcoder).ok_or(SchemaError::Missing(FRAME))?;
        Ok(Self {
            transcoder: schema.transcoder.clone(),
            carrier: number(&schema.message(CARRIER)?.0, "frame")?,
            message,
            id: number(&frame, "id")?,
            timestamp: number(&frame, "timestamp")?,
            reply_to: number(&frame, "reply_to")?,
            topic: number(&frame, "topic")?,
            error: variants.by_name(ERROR).cloned().ok_or(SchemaError::Missing(ERROR))?,
            reconnect: variants.by_name(RECONNECT).cloned().ok_or(SchemaError::Missing(RECONNECT))?,
            variants,
        })
    }

    /// The frame in a response of the core.
    pub(crate) fn unwrap<'a>(&self, response: &'a [u8]) -> Result<&'a [u8], Malformed> {
        record::bytes(response, self.carrier)
    }

    /// What a frame holds; `None` when this contract does not know it yet.
    pub(crate) fn payload<'a>(&self, frame: &'a [u8]) -> Result<Option<Payload<'_, 'a>>, Malformed> {
        let (mut found, mut is_published) = (None, false);
        for record in wire::records(frame) {
            let (number, wire::Value::Bytes(wire)) = record? else { continue };
            is_published |= number == self.topic;
            if let Some(variant) = self.variants.by_number(number) {
                found = Some((variant, wire));
            }
        }
        Ok(found.map(|(variant, wire)| Payload { variant, wire, is_published }))
    }

    /// The type, the fields beside the payload that are set, and the payload as `data`.
    pub(crate) fn to_json(&self, frame: &[u8], payload: &Payload<'_, '_>) -> Result<String, Malformed> {
        let mut out = Vec::with_capacity(2 * frame.len() + 64);
        let shown = payload.variant.show(payload.wire)?;
        out.extend_from_slice(b"{\"type\":");
        out.extend_from_slice(&shown.name);
        self.transcoder.fields_to_json(self.message, &self.envelope(frame)?, &mut out)?;
        out.extend_from_slice(b",\"data\":");
        self.transcoder.to_json(shown.message, shown.wire, &mut out)?;
        out.push(b'}');
        String::from_utf8(out).map_err(|_| Malformed("text is not UTF-8"))
    }

    /// A frame that tells a client what is wrong.
    pub(crate) fn error(&self, fault: &Fault) -> Vec<u8> {
        self.own(&self.error, &fault.to_json(), fault.reply_to.as_deref())
    }

    /// A frame that asks a client to come back after so many milliseconds.
    pub(crate) fn reconnect(&self, after_ms: i64, reason: &str) -> Vec<u8> {
        self.own(&self.reconnect, &json!({"after_ms": after_ms, "reason": reason}), None)
    }

    fn own(&self, variant: &Variant, data: &Value, reply_to: Option<&str>) -> Vec<u8> {
        let id = Uuid::now_v7();
        // The id was made now: it holds the time.
        let (seconds, nanos) = id.get_timestamp().map(|timestamp| timestamp.to_unix()).unwrap_or_default();
        let mut out = Vec::new();
        wire::put_bytes(self.id, id.to_string().as_bytes(), &mut out);
        wire::put_tag(self.timestamp, wire::WireType::Bytes, &mut out);
        wire::put_delimited(&mut out, |out| {
            for (number, value) in [(1, seconds), (2, u64::from(nanos))] {
                wire::put_tag(number, wire::WireType::Varint, out);
                wire::put_varint(value, out);
            }
        });
        if let Some(id) = reply_to {
            wire::put_bytes(self.reply_to, id.as_bytes(), &mut out);
        }
        let mut payload = Vec::new();
        if let Err(invalid) = self.transcoder.to_wire(variant.message, data.to_string().as_bytes(), &mut payload) {
            tracing::error!(error = %invalid, frame.type = &*variant.name, "a frame could not be made");
        }
        wire::put_bytes(variant.number, &payload, &mut out);
        out
    }

    /// The frame without its payload.
    fn envelope(&self, frame: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(128);
        for record in wire::records(frame) {
            let (number, value) = record?;
            if self.variants.by_number(number).is_none() {
                record::put(number, value, &mut out);
            }
        }
        Ok(out)
    }
}
