//! What fuzzers reach beside the public parts, with the feature `fuzzing`.

use prost_reflect::DescriptorPool;

use crate::{schema::Schema, websocket::Compression, ws::ClientFrames};

/// Reads the frames of clients, as sockets do.
pub struct Frames(ClientFrames);

/// The contract that was compiled in.
pub fn contract() -> Option<DescriptorPool> {
    Schema::load().ok().map(|schema| schema.pool)
}

/// Compression with a window of so many bits.
pub fn compression(window: u8) -> Option<Compression> {
    Compression::with_window(Some(window))
}

impl Frames {
    /// Finds the frames in the contract; `None` where there are none.
    pub fn load() -> Option<Self> {
        ClientFrames::new(&Schema::load().ok()?).ok().map(Self)
    }

    /// Whether a frame of JSON is taken.
    pub fn takes_json(&self, text: &[u8]) -> bool {
        self.0.id_in_json(text);
        self.0.read_json(text).is_ok()
    }

    /// Whether an encoded frame is taken.
    pub fn takes_proto(&self, frame: &[u8]) -> bool {
        self.0.id_in_proto(frame);
        self.0.read_proto(frame).is_ok()
    }
}
