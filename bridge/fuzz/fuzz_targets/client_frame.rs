//! Frames of clients, in both subprotocols.

#![no_main]

use std::sync::LazyLock;

use colloquy_bridge::fuzzing::Frames;
use libfuzzer_sys::fuzz_target;

static FRAMES: LazyLock<Frames> = LazyLock::new(|| Frames::load().expect("the contract has frames"));

fuzz_target!(|frame: &[u8]| {
    // A text message is UTF-8 before anybody reads it as a frame.
    if std::str::from_utf8(frame).is_ok() {
        FRAMES.takes_json(frame);
    }
    FRAMES.takes_proto(frame);
});
