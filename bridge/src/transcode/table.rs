//! What the transcoder knows of each message and enum, laid out for looking up.

use std::{collections::HashMap, ops::Range};

use super::{
    error::Malformed,
    wire::{Tag, WireType},
};

/// Names a message type to the [`Transcoder`](super::Transcoder) that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(pub(super) usize);

/// Names an enum type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EnumId(pub(super) usize);

/// Every message and enum of a pool.
pub(super) struct Tables {
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Enum>,
    pub(super) ids: HashMap<String, MessageId>,
}

/// A message type.
pub(super) struct Message {
    pub(super) shape: Shape,
    /// By ascending number, as encoders write them.
    pub(super) fields: Vec<Field>,
    /// What is written for every field that is absent, in the order of `fields`.
    pub(super) absent: Vec<u8>,
    /// Every name that is taken, sorted, with the index of its field.
    pub(super) names: Vec<(String, usize)>,
}

/// How a message looks in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// An object of its fields.
    Object,
    /// The value of its one field.
    Wrapper,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    /// `google.protobuf.Any`, which has no form here.
    Unsupported,
}

/// A field of a message.
pub(super) struct Field {
    pub(super) number: u32,
    /// What a record of one value begins with.
    pub(super) tag: Tag,
    pub(super) kind: Kind,
    pub(super) label: Label,
    pub(super) oneof: Option<usize>,
    /// The name that is written.
    pub(super) name: String,
    /// A comma and the name as a key: `,"name":`.
    pub(super) key: Vec<u8>,
    /// Where in [`Message::absent`] the field's part is; empty when an absent field is not written.
    pub(super) absent: Range<usize>,
}

/// How often a field can stand and what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Absent is the same as zero.
    Implicit,
    /// Absent is not the same as zero: messages, `optional` fields and members of a `oneof`.
    Explicit,
    List,
    Map,
}

/// How many values a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Single,
    Packed,
}

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    String,
    Bytes,
    Enum(EnumId),
    /// `google.protobuf.NullValue`, whose one value is `null`.
    Null,
    /// A message; of a map, the message of its entries.
    Message(MessageId),
}

/// An enum type.
pub(super) struct Enum {
    pub(super) values: Vec<EnumValue>,
}

/// A value of an enum.
pub(super) struct EnumValue {
    pub(super) number: i32,
    pub(super) name: String,
    /// The name without the enum's, in lower case.
    pub(super) short: String,
    /// The short name in quotes.
    pub(super) json: Vec<u8>,
}

impl Tables {
    pub(super) fn id(&self, full_name: &str) -> Option<MessageId> {
        self.ids.get(full_name).copied()
    }

    #[inline]
    pub(super) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0]
    }

    #[inline]
    pub(super) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id.0]
    }
}

impl Message {
    /// The index of the field with this tag, or with this number and another wire type; `hint` is looked at first.
    #[inline]
    pub(super) fn by_tag(&self, tag: Tag, hint: usize) -> Option<usize> {
        match self.fields.get(hint) {
            Some(field) if field.tag == tag => Some(hint),
            _ => self.fields.binary_search_by_key(&tag.number(), |field| field.number).ok(),
        }
    }

    /// The index of the field that takes this name; `hint` is looked at first.
    #[inline]
    pub(super) fn by_name(&self, name: &str, hint: usize) -> Option<usize> {
        match self.fields.get(hint) {
            Some(field) if field.name == name => Some(hint),
            _ => {
                let at = self.names.binary_search_by(|(taken, _)| taken.as_str().cmp(name)).ok()?;
                Some(self.names[at].1)
            }
        }
    }
}

impl Field {
    /// Whether a record with this tag holds one value or, packed, a list of them.
    #[inline]
    pub(super) fn check(&self, tag: Tag) -> Result<Packing, Malformed> {
        if tag == self.tag {
            Ok(Packing::Single)
        } else if self.label == Label::List && tag == Tag::new(self.number, WireType::Bytes) {
            Ok(Packing::Packed)
        } else {
            Err(Malformed("unexpected wire type"))
        }
    }
}

impl Kind {
    pub(super) fn wire_type(self) -> WireType {
        match self {
            Self::Bool | Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 => WireType::Varint,
            Self::Sint32 | Self::Sint64 | Self::Enum(_) | Self::Null => WireType::Varint,
            Self::Fixed32 | Self::Sfixed32 | Self::Float => WireType::Fixed32,
            Self::Fixed64 | Self::Sfixed64 | Self::Double => WireType::Fixed64,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Bytes,
        }
    }

    /// Whether a list of it can share one record.
    pub(super) fn is_packable(self) -> bool {
        self.wire_type() != WireType::Bytes
    }
}

impl Enum {
    /// The short name of a value, in quotes.
    #[inline]
    pub(super) fn json(&self, number: i32) -> Option<&[u8]> {
        self.values.iter().find(|value| value.number == number).map(|value| value.json.as_slice())
    }

    /// The value with this short or full name.
    pub(super) fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|value| value.short == name || value.name == name).map(|value| value.number)
    }

    /// The short names, for an error to list.
    pub(super) fn short_names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| value.short.as_str())
    }
}
