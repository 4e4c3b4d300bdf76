//! What clients send: `{"type","id","timestamp","data"}` or a `ClientFrame`, wrapped for the core.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use prost_reflect::FieldDescriptor;

use super::{fault::Fault, frame::number};
use crate::{
    input,
    naming::Naming,
    record,
    refusal::{Reason, Refusal},
    schema::{Schema, SchemaError},
    transcode::{Invalid, MessageId, Transcoder, object_members, parse_string, wire},
    variant::{Variant, Variants},
};

const CARRIER: &str = "colloquy.v1.ConnectRequest";
const FRAME: &str = "colloquy.v1.ClientFrame";
/// The members of a frame, whatever its type.
const ENVELOPE: [&str; 4] = ["type", "id", "timestamp", "data"];

/// Reads the frames of clients.
pub(crate) struct ClientFrames {
    transcoder: Arc<Transcoder>,
    /// The field of the request that holds the frame.
    carrier: u32,
    message: MessageId,
    id: u32,
    variants: Variants,
    top_level: Vec<TopLevel>,
}

/// A field of a variant that may stand beside `type` and `data`.
struct TopLevel {
    variant: u32,
    field: u32,
    names: Vec<String>,
}

/// The members of a frame in JSON.
struct Members<'a>(Vec<(Cow<'a, str>, &'a [u8])>);

impl ClientFrames {
    pub(crate) fn new(schema: &Schema) -> Result<Self, SchemaError> {
        let (frame, message) = schema.message(FRAME)?;
        Ok(Self {
            transcoder: schema.transcoder.clone(),
            carrier: number(&schema.message(CARRIER)?.0, "frame")?,
            message,
            id: number(&frame, "id")?,
            variants: Variants::of(&frame, &schema.frame_type, &schema.transcoder)
                .ok_or(SchemaError::Missing(FRAME))?,
            top_level: frame.fields().flat_map(|variant| top_level(&variant)).collect(),
        })
    }

    /// Encodes a frame of JSON as a request of the core.
    pub(crate) fn read_json(&self, text: &[u8]) -> Result<Bytes, Fault> {
        let members = Members::read(text).map_err(input::refusal)?;
        let id = members.id()?;
        self.encode(&members, id.as_deref()).map_err(|refusal| Fault::from(refusal).in_reply_to(id))
    }

    /// Wraps a `ClientFrame` as a request of the core. It is read through first: at bytes that it cannot decode, the core would
    /// end the session.
    pub(crate) fn read_proto(&self, frame: &[u8]) -> Result<Bytes, Fault> {
        self.transcoder
            .to_json(self.message, frame, &mut Vec::new())
            .map_err(|malformed| Refusal::new(Reason::InvalidMessage, malformed.to_string()))?;
        if wire::records(frame).flatten().all(|(number, _)| self.variants.by_number(number).is_none()) {
            let refusal = Refusal::new(Reason::InvalidMessageType, "the frame has no payload that a client sends");
            return Err(Fault::from(refusal).in_reply_to(self.id_in_proto(frame)));
        }
        let mut out = Vec::with_capacity(frame.len() + 8);
        wire::put_bytes(self.carrier, frame, &mut out);
        Ok(out.into())
    }

    /// The id of a frame of JSON, as far as it can be found.
    pub(crate) fn id_in_json(&self, text: &[u8]) -> Option<String> {
        Members::read(text).ok()?.id().ok()?
    }

    /// The id of a `ClientFrame`, as far as it can be found.
    pub(crate) fn id_in_proto(&self, frame: &[u8]) -> Option<String> {
        let id = record::bytes(frame, self.id).ok().filter(|id| !id.is_empty())?;
        String::from_utf8(id.to_vec()).ok()
    }

    fn encode(&self, members: &Members<'_>, id: Option<&str>) -> Result<Bytes, Refusal> {
        if let Some(doubled) = members.doubled() {
            return Err(Refusal::field(doubled, "given twice"));
        }
        let variant = self.variant(members)?;
        let data = members.get("data").filter(|data| *data != b"null").unwrap_or(b"{}");
        let mut out = Vec::with_capacity(data.len() + 64);
        wire::put_tag(self.carrier, wire::WireType::Bytes, &mut out);
        wire::put_delimited(&mut out, |out| {
            if let Some(id) = id {
                wire::put_bytes(self.id, id.as_bytes(), out);
            }
            wire::put_tag(variant.number, wire::WireType::Bytes, out);
            wire::put_delimited(out, |out| self.encode_payload(variant, data, members, out))
        })?;
        Ok(out.into())
    }

    fn variant(&self, members: &Members<'_>) -> Result<&Variant, Refusal> {
        let text = members.get("type").ok_or_else(|| Refusal::field("type", "is required"))?;
        let name = parse_string(text).map_err(|invalid| Refusal::field("type", invalid.description))?;
        self.variants.by_name(&name).ok_or_else(|| Refusal {
            reason: Reason::InvalidMessageType,
            ..Refusal::field("type", format!("a client sends no `{name}`"))
        })
    }

    /// The variant's fields: those in `data`, and those that stand beside it.
    fn encode_payload(
        &self,
        variant: &Variant,
        data: &[u8],
        members: &Members<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let start = out.len();
        self.transcoder.to_wire(variant.message, data, out).map_err(input::refusal)?;
        for (key, value) in members.beside_data() {
            let known =
                |field: &&TopLevel| field.variant == variant.number && field.names.iter().any(|name| name == key);
            let Some(field) = self.top_level.iter().find(known) else {
                return Err(Refusal::field(key, "is not a member of this frame"));
            };
            if wire::records(&out[start..]).flatten().any(|(number, _)| number == field.field) {
                return Err(Refusal::field(key, "is given by `data` already"));
            }
            let object = [b"{\"", key.as_bytes(), b"\":", value, b"}"].concat();
            self.transcoder.to_wire(variant.message, &object, out).map_err(input::refusal)?;
        }
        Ok(())
    }
}

impl<'a> Members<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Invalid> {
        object_members(text).collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// A member of the envelope that is there twice.
    fn doubled(&self) -> Option<&'static str> {
        ENVELOPE.into_iter().find(|name| self.0.iter().filter(|(key, _)| key == name).count() > 1)
    }

    /// The client's id for the frame: a string, or a number taken as its text.
    fn id(&self) -> Result<Option<String>, Refusal> {
        match self.get("id") {
            None | Some(b"null") => Ok(None),
            Some(number @ [b'-' | b'0'..=b'9', ..]) => Ok(Some(String::from_utf8_lossy(number).into_owned())),
            Some(text) => match parse_string(text) {
                Ok(id) => Ok(Some(id.into_owned())),
                Err(invalid) => Err(Refusal::field("id", invalid.description)),
            },
        }
    }

    /// The members that no frame has. When a client made a frame is of no use to anybody.
    fn beside_data(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let members = self.0.iter().map(|(key, value)| (&**key, *value));
        members.filter(|(key, _)| !ENVELOPE.contains(key))
    }
}

/// The fields of a frame's variant that may stand beside `data`.
fn top_level(variant: &FieldDescriptor) -> Vec<TopLevel> {
    let Some(message) = variant.kind().as_message().cloned() else { return Vec::new() };
    let fields = message.fields().filter_map(|field| {
        let naming = Some(Naming::of(&field)).filter(|naming| naming.top_level)?;
        Some(TopLevel { variant: variant.number(), field: field.number(), names: naming.taken(&field) })
    });
    fields.collect()
}
