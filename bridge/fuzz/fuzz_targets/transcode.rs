//! The transcoder beside prost-reflect, whose JSON differs where `transcode` says so: what is compared are messages.

#![no_main]

use std::sync::LazyLock;

use colloquy_bridge::{fuzzing, transcode::Transcoder};
use libfuzzer_sys::fuzz_target;
use prost_reflect::{DescriptorPool, DynamicMessage, prost::Message as _};

const MESSAGES: [&str; 4] =
    ["colloquy.v1.ConnectRequest", "colloquy.v1.ConnectResponse", "colloquy.v1.ClientFrame", "colloquy.v1.ServerFrame"];

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| fuzzing::contract().expect("it was compiled"));
static TRANSCODER: LazyLock<Transcoder> = LazyLock::new(|| Transcoder::new(&POOL));

fuzz_target!(|input: &[u8]| {
    for name in MESSAGES {
        let id = TRANSCODER.message(name).expect("the contract has it");
        let read =
            |wire: &[u8]| DynamicMessage::decode(POOL.get_message_by_name(name).expect("the contract has it"), wire);

        let mut wire = Vec::new();
        if TRANSCODER.to_wire(id, input, &mut wire).is_ok() {
            read(&wire).expect("what was written is a message");
            let mut json = Vec::new();
            TRANSCODER.to_json(id, &wire, &mut json).expect("what was written can be read");
        }

        let mut json = Vec::new();
        if TRANSCODER.to_json(id, input, &mut json).is_ok() {
            serde_json::from_slice::<serde_json::Value>(&json).expect("what was written is JSON");
            read(input).expect("what was read is a message");
        }
    }
});
