//! Messages that leave compressed.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, FlushCompress};
use http::HeaderValue;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

/// What zlib calls fast: messages are short, and much of them are ids that nothing compresses.
const LEVEL: u32 = 3;
/// The smallest window that zlib has, and the largest, by their base-2 logarithm.
const LEAST_WINDOW: u8 = 9;
const FULL_WINDOW: u8 = 15;
/// How much room there is for what does not get smaller, in bytes.
const ROOM: usize = 64;
/// What a flush ends with, which is left out (RFC 7692, section 7.2.1).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

thread_local! {
    /// One compressor per size of window that this thread was asked for: nothing is remembered from message to message, so that
    /// no socket needs its own.
    static COMPRESSORS: RefCell<Vec<(u8, Compress)>> = const { RefCell::new(Vec::new()) };
}

/// How messages of a socket may be compressed: each by itself, within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The window that the client asked for, by its base-2 logarithm.
    asked: Option<u8>,
}

impl Compression {
    /// With the window that a client asked for; `None` where there is no such small one.
    pub(crate) fn with_window(asked: Option<u8>) -> Option<Self> {
        asked.is_none_or(|bits| (LEAST_WINDOW..=FULL_WINDOW).contains(&bits)).then_some(Self { asked })
    }

    /// The window that messages are compressed within, by its base-2 logarithm.
    pub fn window(self) -> u8 {
        self.asked.unwrap_or(FULL_WINDOW)
    }

    /// What is agreed to, as the client is told.
    pub(super) fn answer(self) -> HeaderValue {
        const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let told = self.asked.map(|bits| format!("{AGREED}; server_max_window_bits={bits}"));
        told.and_then(|told| told.try_into().ok()).unwrap_or(const { HeaderValue::from_static(AGREED) })
    }

    /// A text or binary message as a compressed frame; every other one as it is.
    pub fn apply(self, message: Message) -> Message {
        let (kind, payload) = match &message {
            Message::Text(text) => (Data::Text, text.as_bytes()),
            Message::Binary(payload) => (Data::Binary, &**payload),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return message,
        };
        let Some(deflated) = deflate(self.window(), payload) else { return message };
        let mut frame = Frame::message(deflated, OpCode::Data(kind), true);
        frame.header_mut().rsv1 = true;
        Message::Frame(frame)
    }
}

/// The payload's deflate stream; `None` if zlib failed.
fn deflate(window: u8, payload: &[u8]) -> Option<Bytes> {
    COMPRESSORS.with_borrow_mut(|compressors| {
        let at = compressors.iter().position(|(bits, _)| *bits == window).unwrap_or_else(|| {
            let level = flate2::Compression::new(LEVEL);
            compressors.push((window, Compress::new_with_window_bits(level, false, window)));
            compressors.len() - 1
        });
        let compressor = &mut compressors[at].1;
        compressor.reset();
        let mut deflated = Vec::with_capacity(payload.len() / 2 + ROOM);
        // Where the room is used up, there may be more to come.
        while deflated.len() == deflated.capacity() || compressor.total_out() == 0 {
            deflated.reserve(ROOM);
            let rest = &payload[compressor.total_in() as usize..];
            compressor.compress_vec(rest, &mut deflated, FlushCompress::Sync).ok()?;
        }
        deflated.truncate(deflated.strip_suffix(&FLUSHED)?.len());
        Some(deflated.into_boxed_slice().into())
    })
}
