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
            let read = decode(name, &wire).expect("what was written is a message");
            // A field that comes twice is read as its parts together, of which each alone may be no message: prost-reflect
            // refuses those.
            if let Some(original) = decode(name, input) {
                assert_eq!(read, original, "{}", String::from_utf8_lossy(&json));
            }
        }
        if let Some(wire) = to_wire(name, input) {
            let json = to_json(name, &wire).expect("what was read can be written");
            let again = to_wire(name, &json).expect("what was written can be read");
            let read = decode(name, &wire).expect("what was written is a message");
            assert_eq!(decode(name, &again), Some(read), "{}", String::from_utf8_lossy(&json));
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

/// The message as prost-reflect reads it, without what the contract does not know; `None` where it reads none.
fn decode(message: &str, wire: &[u8]) -> Option<DynamicMessage> {
    let descriptor = POOL.get_message_by_name(message).expect("the contract has it");
    let read = |wire: &[u8]| DynamicMessage::decode(descriptor.clone(), wire);
    let mut message = read(wire).ok()?;
    reduce(&mut message);
    // What was taken out has left its mark, by which messages would differ.
    Some(read(&message.encode_to_vec()).expect("what prost-reflect writes is a message"))
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
