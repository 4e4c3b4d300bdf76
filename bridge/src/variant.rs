//! Frames and events that differ by their `type`: the members of a `oneof` that carry `(colloquy.v1.frame_type)`.

use prost_reflect::{ExtensionDescriptor, MessageDescriptor, Value};

use crate::transcode::{MessageId, Transcoder};

/// The field that names an answer.
const ANSWER: &str = "message_id";

/// A member of the `oneof`.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// Its `type` in JSON.
    pub(crate) name: String,
    /// Its field number.
    pub(crate) number: u32,
    /// What it holds.
    pub(crate) message: MessageId,
    /// The field of what it holds that names the answer it is about.
    pub(crate) answer: Option<u32>,
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
            Some(Variant { name, number: field.number(), message, answer })
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
