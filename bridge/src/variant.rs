//! Frames and events that differ by their `type`: the members of a `oneof` that carry `(colloquy.v1.frame_type)`.

use prost_reflect::{ExtensionDescriptor, MessageDescriptor, Value};

use crate::transcode::{MessageId, Transcoder};

/// A member of the `oneof`.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// Its `type` in JSON.
    pub(crate) name: String,
    /// Its field number.
    pub(crate) number: u32,
    /// What it holds.
    pub(crate) message: MessageId,
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
            let message = transcoder.message(field.kind().as_message()?.full_name())?;
            Some(Variant { name, number: field.number(), message })
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
