//! The transcoder beside prost-reflect, on frames of the protocol: nanoseconds for one message, the best of several rounds.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints a table and fails loudly")]

use std::{hint::black_box, time::Instant};

use colloquy_bridge::transcode::Transcoder;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, SerializeOptions, prost::Message as _};

/// Message types and frames as they come, in JSON.
const FRAMES: [(&str, &str, &str); 8] = [
    ("token", "ConnectResponse", TOKEN),
    ("end", "ConnectResponse", END),
    ("message", "ConnectResponse", MESSAGE),
    ("subscription.confirmed", "ConnectResponse", CONFIRMED),
    ("tool_call", "ConnectResponse", TOOL_CALL),
    ("message", "ConnectRequest", POST),
    ("subscribe", "ConnectRequest", SUBSCRIBE),
    ("history of 20", "ConnectResponse", ""),
];

const TOKEN: &str = r#"{"frame":{"id":"0198c5d6-7a1e-7c3b-9b7e-2f1d3c4b5a69","timestamp":"2026-11-21T03:34:53.123Z","topic":"conversation:0198c5d6-7a1e-7c3b-9b7e-000000000001","offset":4711,"token":{"conversation_id":"0198c5d6-7a1e-7c3b-9b7e-000000000001","message_id":"0198c5d6-7a1e-7c3b-9b7e-000000000002","content":" of the river, where the","index":1234}}}"#;

const END: &str = r#"{"frame":{"id":"0198c5d6-7a1e-7c3b-9b7e-2f1d3c4b5a69","timestamp":"2026-11-21T03:34:53.123Z","topic":"conversation:0198c5d6-7a1e-7c3b-9b7e-000000000001","offset":4712,"end":{"conversation_id":"0198c5d6-7a1e-7c3b-9b7e-000000000001","message_id":"0198c5d6-7a1e-7c3b-9b7e-000000000002","finish_reason":"stop","tokens_used":812,"usage":{"input_tokens":512,"output_tokens":300},"content_length":1534}}}"#;

const MESSAGE: &str = r#"{"frame":{"id":"0198c5d6-7a1e-7c3b-9b7e-2f1d3c4b5a69","timestamp":"2026-11-21T03:34:53.123Z","topic":"conversation:0198c5d6-7a1e-7c3b-9b7e-000000000001","offset":4713,"message":{"id":"0198c5d6-7a1e-7c3b-9b7e-000000000002","conversation_id":"0198c5d6-7a1e-7c3b-9b7e-000000000001","seq":12,"parent_id":"0198c5d6-7a1e-7c3b-9b7e-000000000003","role":"MESSAGE_ROLE_ASSISTANT","content":"The Danube rises in the Black Forest, where the Brigach and the Breg meet.\n\nFrom there it runs 2,850 km to the Black Sea, through ten countries:\n\n- Germany, Austria, Slovakia, Hungary\n- Croatia, Serbia, Romania, Bulgaria\n- Moldova and Ukraine\n\n\"No river in the world passes more borders\", as the saying goes – größer ist nur die Wolga.","status":"MESSAGE_STATUS_COMPLETE","model":"anthropic/claude","finish_reason":"stop","usage":{"input_tokens":512,"output_tokens":300},"sibling_ids":[],"is_deleted":false,"created_at":"2026-11-21T03:34:50.001Z","updated_at":"2026-11-21T03:34:53.120Z"}}}"#;

const CONFIRMED: &str = r#"{"frame":{"id":"0198c5d6-7a1e-7c3b-9b7e-2f1d3c4b5a69","timestamp":"2026-11-21T03:34:53.123Z","reply_to":"7","subscription_confirmed":{"events":["upload.progress"],"topics":[{"topic":"conversation:0198c5d6-7a1e-7c3b-9b7e-000000000001","offset":4711,"epoch":"a1b2c3","recovered":true},{"topic":"user:0198c5d6-7a1e-7c3b-9b7e-000000000009","offset":3,"epoch":"a1b2c4","recovered":false,"reason":"history_lost"}]}}}"#;

const TOOL_CALL: &str = r#"{"frame":{"id":"0198c5d6-7a1e-7c3b-9b7e-2f1d3c4b5a69","tool_call":{"conversation_id":"0198c5d6-7a1e-7c3b-9b7e-000000000001","message_id":"0198c5d6-7a1e-7c3b-9b7e-000000000002","id":"call_1","name":"calculator","arguments":{"expression":"2850 / 10","precision":2,"units":["km",null]}}}}"#;

const POST: &str = r#"{"frame":{"id":"17","message":{"content":"How long is the Danube, and which countries does it pass?","conversation_id":"0198c5d6-7a1e-7c3b-9b7e-000000000001","client_message_id":"b2a1c3d4","reply":true}}}"#;

const SUBSCRIBE: &str = r#"{"frame":{"id":"18","subscribe":{"events":["upload.progress","file.ready"],"topics":[{"topic":"conversation:0198c5d6-7a1e-7c3b-9b7e-000000000001","offset":4711,"epoch":"a1b2c3"},{"topic":"user:0198c5d6-7a1e-7c3b-9b7e-000000000009"}]}}}"#;

/// How much is measured.
struct Effort {
    rounds: usize,
    messages: u32,
}

fn main() {
    let descriptors = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    let pool = DescriptorPool::decode(descriptors.as_slice()).unwrap();
    let transcoder = Transcoder::new(&pool);
    // Where tests run everything, to see that it works once is enough.
    let effort = if std::env::args().any(|argument| argument == "--bench") {
        Effort { rounds: 100, messages: 500 }
    } else {
        Effort { rounds: 1, messages: 1 }
    };
    println!(
        "{:<16} {:<22} {:>11} {:>7} {:>13} {:>6}",
        "message", "frame", "direction", "ours", "prost-reflect", "ratio"
    );
    for (frame, name, json) in FRAMES {
        let json = if json.is_empty() { history() } else { json.to_owned() };
        measure(&effort, &pool, &transcoder, frame, name, &json);
    }
}

/// A page of messages.
fn history() -> String {
    let start = MESSAGE.find(r#""message":"#).unwrap() + r#""message":"#.len();
    let message = &MESSAGE[start..MESSAGE.len() - 2];
    format!(r#"{{"frame":{{"history":{{"messages":[{}],"has_more":true}}}}}}"#, [message; 20].join(","))
}

fn measure(effort: &Effort, pool: &DescriptorPool, transcoder: &Transcoder, frame: &str, name: &str, json: &str) {
    let full_name = format!("colloquy.v1.{name}");
    let descriptor = pool.get_message_by_name(&full_name).unwrap();
    let id = transcoder.message(&full_name).unwrap();
    let writing =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    let reading = DeserializeOptions::new();

    let mut wire = Vec::new();
    transcoder.to_wire(id, json.as_bytes(), &mut wire).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let best = effort.best_of_both(
        || {
            ours.clear();
            transcoder.to_json(id, black_box(&wire), &mut ours).unwrap();
        },
        || {
            theirs.clear();
            let message = DynamicMessage::decode(descriptor.clone(), black_box(wire.as_slice())).unwrap();
            message.serialize_with_options(&mut serde_json::Serializer::new(&mut theirs), &writing).unwrap();
        },
    );
    print_row(name, frame, "wire → JSON", best);

    let best = effort.best_of_both(
        || {
            ours.clear();
            transcoder.to_wire(id, black_box(json.as_bytes()), &mut ours).unwrap();
        },
        || {
            theirs.clear();
            let mut json = serde_json::Deserializer::from_slice(black_box(json.as_bytes()));
            let message = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut json, &reading).unwrap();
            json.end().unwrap();
            message.encode(&mut theirs).unwrap();
        },
    );
    print_row(name, frame, "JSON → wire", best);
}

impl Effort {
    /// Nanoseconds of one call of each in its best round. They take turns, so that a busy machine slows both.
    fn best_of_both(&self, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (f64, f64) {
        let turns = (0..self.rounds).map(|_| (self.round(&mut ours), self.round(&mut theirs)));
        turns.fold((f64::INFINITY, f64::INFINITY), |best, turn| (best.0.min(turn.0), best.1.min(turn.1)))
    }

    fn round(&self, call: &mut impl FnMut()) -> f64 {
        let start = Instant::now();
        (0..self.messages).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(self.messages)
    }
}

fn print_row(name: &str, frame: &str, direction: &str, (ours, theirs): (f64, f64)) {
    println!("{name:<16} {frame:<22} {direction} {ours:>7.0} {theirs:>13.0} {:>5.1}×", theirs / ours);
}
