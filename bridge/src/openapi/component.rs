//! Schemas of messages, enums and fields, in the JSON that the bridge reads and writes.

use std::{collections::BTreeMap, sync::Arc};

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comment::Comments;
use crate::{
    naming::Naming,
    record,
    transcode::{Transcoder, wire},
};

/// Which way a message goes. What is sent to the bridge is checked strictly; what it writes may have more fields tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Input,
    Output,
}

/// The schemas that others refer to, as far as something refers to them.
pub(super) struct Components<'a> {
    comments: &'a Comments,
    transcoder: Arc<Transcoder>,
    schemas: BTreeMap<String, Value>,
}

impl<'a> Components<'a> {
    pub(super) fn new(comments: &'a Comments, transcoder: Arc<Transcoder>) -> Self {
        Self { comments, transcoder, schemas: BTreeMap::new() }
    }

    /// All schemas that were referred to.
    pub(super) fn finish(self) -> Map<String, Value> {
        self.schemas.into_iter().collect()
    }

    /// A reference to the schema of a message, or the schema itself where a message is a single value in JSON.
    pub(super) fn message(&mut self, message: &MessageDescriptor, direction: Direction) -> Value {
        if let Some(schema) = self.well_known(message) {
            return schema;
        }
        let name = component_name(message, direction);
        if !self.schemas.contains_key(&name) {
            // Before its fields, which may hold messages of its own type.
            self.schemas.insert(name.clone(), Value::Null);
            let schema = self.object(message, direction, &[]);
            self.schemas.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// The schema of a message, but for the fields that come from elsewhere.
    pub(super) fn object(&mut self, message: &MessageDescriptor, direction: Direction, without: &[&str]) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields().filter(|field| !without.contains(&field.name())) {
            let name = Naming::of(&field).written(&field);
            if !field.supports_presence() || field.is_list() || field.is_map() {
                required.push(name.clone());
            }
            let schema = self.field(&field, direction);
            properties.insert(name, schema);
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if let Some(comment) = self.comment(message) {
            schema["description"] = comment.into();
        }
        match direction {
            Direction::Input => schema["additionalProperties"] = false.into(),
            Direction::Output if required.is_empty() => {}
            Direction::Output => schema["required"] = required.into(),
        }
        schema
    }

    /// The schema of a field, with its comment.
    pub(super) fn field(&mut self, field: &FieldDescriptor, direction: Direction) -> Value {
        let mut schema = self.value(field, direction);
        let comment = self.comments.on(&field.parent_file(), field.path());
        if !comment.is_empty() {
            schema["description"] = comment.into();
        }
        schema
    }

    fn value(&mut self, field: &FieldDescriptor, direction: Direction) -> Value {
        if field.is_map() {
            let entry = field.kind();
            let value = entry.as_message().map(|entry| self.one(&entry.map_entry_value_field(), direction));
            return json!({"type": "object", "additionalProperties": value});
        }
        let one = self.one(field, direction);
        if field.is_list() { json!({"type": "array", "items": one}) } else { one }
    }

    fn one(&mut self, field: &FieldDescriptor, direction: Direction) -> Value {
        match field.kind() {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "int32", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "integer", "format": "int64"}),
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "integer", "format": "int64", "minimum": 0}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Enum(_) => json!({"type": "string", "enum": self.enum_names(field)}),
            Kind::Message(message) => self.message(&message, direction),
        }
    }

    /// The names of an enum's values: those that the transcoder writes into a field of it.
    fn enum_names(&self, field: &FieldDescriptor) -> Vec<Value> {
        let name = Naming::of(field).written(field);
        let (kind, parent) = (field.kind(), field.parent_message());
        let values = kind.as_enum().into_iter().flat_map(|kind| kind.values().collect::<Vec<_>>());
        let names = values.filter_map(|value| {
            let (mut message, mut json) = (Vec::new(), Vec::new());
            record::put(field.number(), wire::Value::Varint(i64::from(value.number()).cast_unsigned()), &mut message);
            self.transcoder.to_json(self.transcoder.message(parent.full_name())?, &message, &mut json).ok()?;
            let mut object = serde_json::from_slice::<Value>(&json).ok()?;
            let written = object.get_mut(&name)?.take();
            Some(if field.is_list() { written.get(0)?.clone() } else { written })
        });
        names.collect()
    }

    /// Messages whose JSON is a single value (<https://protobuf.dev/programming-guides/json/>).
    fn well_known(&mut self, message: &MessageDescriptor) -> Option<Value> {
        Some(match message.full_name().strip_prefix("google.protobuf.")? {
            "Timestamp" => json!({"type": "string", "format": "date-time"}),
            "Duration" => json!({"type": "string", "examples": ["1.5s"]}),
            "FieldMask" => json!({"type": "string"}),
            "Struct" => json!({"type": "object"}),
            "ListValue" => json!({"type": "array"}),
            "Value" => json!({}),
            name if name.ends_with("Value") => self.one(&message.get_field_by_name("value")?, Direction::Output),
            _ => return None,
        })
    }

    fn comment(&self, message: &MessageDescriptor) -> Option<&'a str> {
        Some(self.comments.on(&message.parent_file(), message.path())).filter(|comment| !comment.is_empty())
    }
}

/// Requests are inputs by name; other messages may go both ways and have a name for each.
fn component_name(message: &MessageDescriptor, direction: Direction) -> String {
    match direction {
        Direction::Input if !message.name().ends_with("Request") => format!("{}Input", message.name()),
        _ => message.name().to_owned(),
    }
}
