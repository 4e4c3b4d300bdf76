//! Frames and events that differ by their `type`: the members of a `oneof` that carry `(colloquy.v1.frame_type)`.

use std::borrow::Cow;

use prost_reflect::{ExtensionDescriptor, MessageDescriptor, Value};

use crate::{
    record,
    transcode::{Malformed, MessageId, Transcoder},
};

/// The `type` of what tells its own.
const OPEN: &str = "*";
/// The field that names an answer.
const ANSWER: &str = "message_id";

/// A member of the `oneof`.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// Its `type`.
    pub(crate) name: String,
    /// Its `type` as JSON.
    quoted: Vec<u8>,
    /// Its field number.
    pub(crate) number: u32,
    /// What it holds.
    pub(crate) message: MessageId,
    /// The field of what it holds that names the answer it is about.
    pub(crate) answer: Option<u32>,
    /// Where what it holds tells its own type and data.
    pub(crate) open: Option<Open>,
}

/// What tells its own type: it is not of the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    name: u32,
    data: u32,
    message: MessageId,
}

/// What a variant shows of what it holds.
pub(crate) struct Shown<'v, 'w> {
    /// The `type`, as JSON.
    pub(crate) name: Cow<'v, [u8]>,
    /// What the data is.
    pub(crate) message: MessageId,
    /// The data.
    pub(crate) wire: &'w [u8],
}

impl Variant {
    /// What is shown of `wire`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn show<'v, 'w>(&'v self, wire: &'w [u8]) -> Result<Shown<'v, 'w>, Malformed> {
        let Some(open) = self.open else {
            return Ok(Shown { name: Cow::Borrowed(&self.quoted), message: self.message, wire });
        };
        let name = str::from_utf8(record::bytes(wire, open.name)?).map_err(|_| Malformed("text is not UTF-8"))?;
        Ok(Shown { name: Cow::Owned(quoted(name)), message: open.message, wire: record::bytes(wire, open.data)? })
    }
}

/// A text as JSON, which every text can be.
fn quoted(name: &str) -> Vec<u8> {
    serde_json::to_vec(name).unwrap_or_default()
}

impl Open {
    fn of(held: &MessageDescriptor, transcoder: &Transcoder) -> Option<Self> {
        let (name, data) = (held.get_field_by_name("type")?, held.get_field_by_name("data")?);
        let message = transcoder.message(data.kind().as_message()?.full_name())?;
        Some(Self { name: name.number(), data: data.number(), message })
    }
}

/// All members of the `oneof`.
#[derive(Clone, Debug)]
pub(crate) struct Variants {
    /// By ascending number.
    members: Vec<Variant>,
}

impl Variants {
    /// The variants of `message`; `None` where no field has the `option`.
    pub(crate) fn of(
        message: &MessageDescriptor,
        option: &ExtensionDescriptor,
        transcoder: &Transcoder,
    ) -> Option<Self> {
        let member = |field: prost_reflect::FieldDescriptor| {
            field.containing_oneof()?;
            let options = field.options();
            let Value::String(name) =
                options.has_extension(option).then(|| options.get_extension(option))?.into_owned()
            else {
                return None;
            };
            let kind = field.kind();
            let held = kind.as_message()?;
            let message = transcoder.message(held.full_name())?;
            let answer = held.get_field_by_name(ANSWER).map(|field| field.number());
            let open = if name == OPEN { Some(Open::of(held, transcoder)?) } else { None };
            Some(Variant { quoted: quoted(&name), name, number: field.number(), message, answer, open })
        };
        let mut members = message.fields().filter_map(member).collect::<Vec<_>>();
        members.sort_by_key(|variant| variant.number);
        (!members.is_empty()).then_some(Self { members })
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Variant> {
        self.members.iter().find(|variant| variant.name == name)
    }

    pub(crate) fn by_number(&self, number: u32) -> Option<&Variant> {
        let at = self.members.binary_search_by_key(&number, |variant| variant.number).ok()?;
        Some(&self.members[at])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Variant> {
        self.members.iter()
    }
}
