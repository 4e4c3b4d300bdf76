//! The message types that the tests run on, and prost-reflect's opinion of their JSON.

use std::sync::LazyLock;

use colloquy_bridge::transcode::{MessageId, Transcoder};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, SerializeOptions,
    prost::DecodeError,
};
use serde_json::{Map, Value};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcode");
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut compiler = protox::Compiler::new([here, contract]).unwrap();
    compiler.include_imports(true);
    compiler.open_files(["kinds.proto", "colloquy/v1/session.proto", "colloquy/v1/conversation.proto"]).unwrap();
    compiler.open_files(["colloquy/v1/auth.proto", "colloquy/v1/chat.proto", "colloquy/v1/user.proto"]).unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
});

static TRANSCODER: LazyLock<Transcoder> = LazyLock::new(|| Transcoder::new(&POOL));

/// A message type, to the transcoder and to prost-reflect.
#[derive(Clone)]
pub(crate) struct Type {
    pub(crate) id: MessageId,
    pub(crate) descriptor: MessageDescriptor,
}

impl Type {
    pub(crate) fn of(full_name: &str) -> Self {
        let id = TRANSCODER.message(full_name).expect("the message type exists");
        Self { id, descriptor: POOL.get_message_by_name(full_name).unwrap() }
    }

    /// Every message type of the contract and of `kinds.proto`.
    pub(crate) fn all() -> Vec<Self> {
        let messages = POOL.all_messages().filter(|message| !message.is_map_entry());
        let ours = messages.filter(|message| matches!(message.package_name(), "colloquy.v1" | "kinds"));
        ours.map(|message| Self::of(message.full_name())).collect()
    }

    pub(crate) fn decode(&self, wire: &[u8]) -> Result<DynamicMessage, DecodeError> {
        DynamicMessage::decode(self.descriptor.clone(), wire)
    }

    pub(crate) fn to_json(&self, wire: &[u8]) -> Result<String, String> {
        let mut out = Vec::new();
        TRANSCODER.to_json(self.id, wire, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    pub(crate) fn fields_to_json(&self, wire: &[u8]) -> Result<String, String> {
        let mut out = Vec::new();
        TRANSCODER.fields_to_json(self.id, wire, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    pub(crate) fn to_wire(&self, json: impl AsRef<[u8]>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        TRANSCODER.to_wire(self.id, json.as_ref(), &mut out).map_err(|error| error.to_string())?;
        Ok(out)
    }

    pub(crate) fn set_field(&self, path: &str, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
        TRANSCODER.set_field(self.id, path, text, out).map_err(|error| error.to_string())
    }

    /// The message whose JSON is `json`, as JSON again: what was understood, with everything that is always written.
    pub(crate) fn understood(&self, json: &str) -> Result<String, String> {
        self.to_json(&self.to_wire(json)?)
    }
}

/// Protobuf's own JSON of a message, with proto names.
pub(crate) fn plain_json(message: &DynamicMessage) -> serde_json::Result<String> {
    serialized(message, &SerializeOptions::new().use_proto_field_name(true))
}

/// The JSON that this project's rules ask for, or an error where the message has none.
pub(crate) fn expected_json(message: &DynamicMessage) -> serde_json::Result<Value> {
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    let json = serde_json::from_str(&serialized(message, &options)?)?;
    Ok(renamed(&message.descriptor(), json))
}

fn serialized(message: &DynamicMessage, options: &SerializeOptions) -> serde_json::Result<String> {
    let mut out = Vec::new();
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut out), options)?;
    Ok(String::from_utf8(out).expect("JSON is UTF-8"))
}

/// A message's JSON with the names of fields and enum values that the contract gives them.
fn renamed(message: &MessageDescriptor, json: Value) -> Value {
    if ["Struct", "Value", "ListValue"]
        .map(|name| format!("google.protobuf.{name}"))
        .contains(&message.full_name().into())
    {
        return whole(json);
    }
    let Value::Object(members) = json else { return json };
    if message.package_name() == "google.protobuf" {
        return Value::Object(members);
    }
    let rename = |(name, value): (String, Value)| {
        let field = message.get_field_by_name(&name).unwrap();
        (json_name(&field), renamed_field(&field, value))
    };
    Value::Object(members.into_iter().map(rename).collect())
}

/// Free JSON whose whole numbers are written as such.
fn whole(json: Value) -> Value {
    match json {
        Value::Number(number) => match number.to_string().strip_suffix(".0").filter(|digits| *digits != "-0") {
            Some(digits) => serde_json::from_str(digits).expect("digits are a number"),
            None => Value::Number(number),
        },
        Value::Array(values) => values.into_iter().map(whole).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        other => other,
    }
}

fn renamed_field(field: &FieldDescriptor, json: Value) -> Value {
    match (field.kind(), json) {
        (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
            let value = entry.map_entry_value_field();
            let entries: Map<_, _> =
                entries.into_iter().map(|(key, json)| (key, renamed_field(&value, json))).collect();
            Value::Object(entries)
        }
        (_, Value::Array(elements)) if field.is_list() => {
            Value::Array(elements.into_iter().map(|element| renamed_value(field, element)).collect())
        }
        (_, json) => renamed_value(field, json),
    }
}

fn renamed_value(field: &FieldDescriptor, json: Value) -> Value {
    match (field.kind(), json) {
        (Kind::Message(message), json) => renamed(&message, json),
        (Kind::Enum(_), Value::String(name)) => {
            Value::String(name.strip_prefix(&enum_prefix(field)).unwrap_or(&name).to_lowercase())
        }
        (_, json) => json,
    }
}

/// `PAINT_COLOUR_` of `PaintColour`.
fn enum_prefix(field: &FieldDescriptor) -> String {
    let Kind::Enum(enumeration) = field.kind() else { return String::new() };
    let mut prefix = String::new();
    for letter in enumeration.name().chars() {
        if letter.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.extend(letter.to_uppercase());
    }
    prefix + "_"
}

fn json_name(field: &FieldDescriptor) -> String {
    let renamed = match field.full_name() {
        "kinds.Named.other_name" => "otherName",
        "colloquy.v1.Ping.ping_id" | "colloquy.v1.Pong.ping_id" => "pingId",
        _ => field.name(),
    };
    renamed.to_owned()
}
