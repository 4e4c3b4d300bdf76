//! The transcoder beside prost-reflect, whose JSON differs where `transcode` says so: what is compared are messages.

#![no_main]

use std::sync::LazyLock;

use colloquy_bridge::{fuzzing, transcode::Transcoder};
use libfuzzer_sys::fuzz_target;
use prost_reflect::{DescriptorPool, DynamicMessage, Value, prost::Message as _};

const MESSAGES: [&str; 4] =
    ["colloquy.v1.ConnectRequest", "colloquy.v1.ConnectResponse", "colloquy.v1.ClientFrame", "colloquy.v1.ServerFrame"];

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| fuzzing::contract().expect("it was compiled"));
static TRANSCODER: LazyLock<Transcoder> = LazyLock::new(|| Transcoder::new(&POOL));

fuzz_target!(|input: &[u8]| {
    for name in MESSAGES {
        if let Some(json) = to_json(name, input) {
            let wire = to_wire(name, &json).expect("what was written can be read");
            assert_eq!(decode(name, &wire), decode(name, input), "{}", String::from_utf8_lossy(&json));
        }
        if let Some(wire) = to_wire(name, input) {
            let json = to_json(name, &wire).expect("what was read can be written");
            let again = to_wire(name, &json).expect("what was written can be read");
            assert_eq!(decode(name, &again), decode(name, &wire), "{}", String::from_utf8_lossy(&json));
        }
    }
});

fn to_json(message: &str, wire: &[u8]) -> Option<Vec<u8>> {
    let mut json = Vec::new();
    TRANSCODER.to_json(TRANSCODER.message(message)?, wire, &mut json).ok()?;
    serde_json::from_slice::<serde_json::Value>(&json).expect("what was written is JSON");
    Some(json)
}

fn to_wire(message: &str, json: &[u8]) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    TRANSCODER.to_wire(TRANSCODER.message(message)?, json, &mut wire).ok()?;
    serde_json::from_slice::<serde_json::Value>(json).expect("what was read is JSON");
    Some(wire)
}

/// The message as prost-reflect reads it, without what the contract does not know.
fn decode(message: &str, wire: &[u8]) -> DynamicMessage {
    let descriptor = POOL.get_message_by_name(message).expect("the contract has it");
    let mut message = DynamicMessage::decode(descriptor, wire).expect("what was read or written is a message");
    reduce(&mut message);
    message
}

/// Makes messages comparable: what is unknown is not in their JSON, and what is not a number is not even equal to itself.
fn reduce(message: &mut DynamicMessage) {
    message.take_unknown_fields().for_each(drop);
    message.fields_mut().for_each(|(_, value)| reduce_value(value));
}

fn reduce_value(value: &mut Value) {
    match value {
        Value::Message(message) => reduce(message),
        Value::List(values) => values.iter_mut().for_each(reduce_value),
        Value::Map(values) => values.values_mut().for_each(reduce_value),
        Value::F64(number) if number.is_nan() => *number = f64::MIN,
        Value::F32(number) if number.is_nan() => *number = f32::MIN,
        _ => {}
    }
}
