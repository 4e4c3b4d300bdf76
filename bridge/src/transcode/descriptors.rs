//! Makes the tables from descriptors.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as Type, MessageDescriptor};

use super::{
    json,
    table::{Enum, EnumId, EnumValue, Field, Kind, Label, Message, MessageId, Shape, Tables},
    wire::Tag,
};
use crate::naming::Naming;

/// The enum whose only value is `null`.
const NULL: &str = "google.protobuf.NullValue";

/// The tables of every message of a pool.
pub(super) fn tables(pool: &DescriptorPool) -> Tables {
    let messages: Vec<_> = pool.all_messages().collect();
    let enums: Vec<_> = pool.all_enums().collect();
    let maker = Maker {
        message_ids: messages.iter().enumerate().map(|(at, m)| (m.full_name().to_owned(), MessageId(at))).collect(),
        enum_ids: enums.iter().enumerate().map(|(at, e)| (e.full_name().to_owned(), EnumId(at))).collect(),
        enums: enums.iter().map(enumeration).collect(),
    };
    Tables {
        messages: messages.iter().map(|message| maker.message(message)).collect(),
        enums: maker.enums,
        ids: maker.message_ids,
    }
}

struct Maker {
    message_ids: HashMap<String, MessageId>,
    enum_ids: HashMap<String, EnumId>,
    enums: Vec<Enum>,
}

impl Maker {
    fn message(&self, message: &MessageDescriptor) -> Message {
        let mut descriptors: Vec<_> = message.fields().filter(|field| !field.is_group()).collect();
        descriptors.sort_by_key(FieldDescriptor::number);

        let mut absent = Vec::new();
        let mut names = Names::default();
        let mut fields = Vec::new();
        for (index, descriptor) in descriptors.iter().enumerate() {
            let mut field = self.field(message, descriptor);
            let start = absent.len();
            self.put_absent(&field, &mut absent);
            field.absent = start..absent.len();
            names.add(index, descriptor, &field.name);
            fields.push(field);
        }
        Message { shape: shape(message.full_name()), fields, absent, names: names.sorted() }
    }

    fn field(&self, message: &MessageDescriptor, field: &FieldDescriptor) -> Field {
        let name = Naming::of(field).written(field);
        let mut key = vec![b','];
        json::put_string(&name, &mut key);
        key.push(b':');
        let kind = self.kind(field.kind());
        let label = if field.is_map() {
            Label::Map
        } else if field.is_list() {
            Label::List
        } else if field.supports_presence() {
            Label::Explicit
        } else {
            Label::Implicit
        };
        let oneof = field.containing_oneof().and_then(|oneof| message.oneofs().position(|other| other == oneof));
        let tag = Tag::new(field.number(), kind.wire_type());
        Field { number: field.number(), tag, kind, label, oneof, name, key, absent: 0..0 }
    }

    /// Appends what is written when the field is absent.
    fn put_absent(&self, field: &Field, out: &mut Vec<u8>) {
        let zero = match (field.label, field.kind) {
            (Label::Explicit, _) => return,
            (Label::List, _) => b"[]",
            (Label::Map, _) => b"{}",
            (Label::Implicit, Kind::Enum(id)) => self.enums[id.0].json(0).unwrap_or(b"0"),
            (Label::Implicit, Kind::Null) => b"null",
            (Label::Implicit, Kind::Bool) => b"false",
            (Label::Implicit, Kind::String | Kind::Bytes) => b"\"\"",
            (Label::Implicit, Kind::Float | Kind::Double) => b"0.0",
            (Label::Implicit, _) => b"0".as_slice(),
        };
        out.extend_from_slice(&field.key);
        out.extend_from_slice(zero);
    }

    fn kind(&self, kind: Type) -> Kind {
        match kind {
            Type::Bool => Kind::Bool,
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Sint32 => Kind::Sint32,
            Type::Sint64 => Kind::Sint64,
            Type::Fixed32 => Kind::Fixed32,
            Type::Fixed64 => Kind::Fixed64,
            Type::Sfixed32 => Kind::Sfixed32,
            Type::Sfixed64 => Kind::Sfixed64,
            Type::Float => Kind::Float,
            Type::Double => Kind::Double,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Enum(enumeration) if enumeration.full_name() == NULL => Kind::Null,
            Type::Enum(enumeration) => Kind::Enum(self.enum_ids[enumeration.full_name()]),
            Type::Message(message) => Kind::Message(self.message_ids[message.full_name()]),
        }
    }
}

/// The names that a message's fields take. A name stands before another field's alias.
#[derive(Default)]
struct Names {
    names: BTreeMap<String, usize>,
    aliases: Vec<(String, usize)>,
}

impl Names {
    fn add(&mut self, index: usize, field: &FieldDescriptor, written: &str) {
        self.names.extend([(field.name().to_owned(), index), (written.to_owned(), index)]);
        self.aliases.extend(Naming::of(field).taken(field).into_iter().map(|alias| (alias, index)));
    }

    fn sorted(mut self) -> Vec<(String, usize)> {
        for (alias, index) in self.aliases {
            self.names.entry(alias).or_insert(index);
        }
        self.names.into_iter().collect()
    }
}

fn shape(full_name: &str) -> Shape {
    match full_name.strip_prefix("google.protobuf.") {
        Some("Timestamp") => Shape::Timestamp,
        Some("Duration") => Shape::Duration,
        Some("FieldMask") => Shape::FieldMask,
        Some("Struct") => Shape::Struct,
        Some("Value") => Shape::Value,
        Some("ListValue") => Shape::ListValue,
        Some("Any") => Shape::Unsupported,
        Some("BoolValue" | "StringValue" | "BytesValue" | "FloatValue" | "DoubleValue") => Shape::Wrapper,
        Some("Int32Value" | "Int64Value" | "UInt32Value" | "UInt64Value") => Shape::Wrapper,
        _ => Shape::Object,
    }
}

fn enumeration(enumeration: &EnumDescriptor) -> Enum {
    let values = enumeration.values().map(|value| {
        let short = without_prefix(value.name(), enumeration.name()).to_ascii_lowercase();
        let mut json = Vec::new();
        json::put_string(&short, &mut json);
        EnumValue { number: value.number(), name: value.name().to_owned(), short, json }
    });
    Enum { values: values.collect() }
}

/// A value's name without the enum's: `USER` of `MESSAGE_ROLE_USER` and `MessageRole`.
fn without_prefix<'v>(value: &'v str, enumeration: &str) -> &'v str {
    let mut rest = value;
    for letter in enumeration.chars() {
        rest = rest.strip_prefix('_').unwrap_or(rest);
        match rest.strip_prefix(|other: char| other.eq_ignore_ascii_case(&letter)) {
            Some(after) => rest = after,
            None => return value,
        }
    }
    match rest.strip_prefix('_') {
        Some(short) if !short.is_empty() => short,
        _ => value,
    }
}
