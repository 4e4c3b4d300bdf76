//! The client's side of a socket with permessage-deflate, byte by byte: what no well-behaved client would send.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::harness::soon;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const TEXT: u8 = 1;
const CLOSE: u8 = FIN | 8;
const PING: u8 = FIN | 9;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A connection on which a handshake has been made.
pub(crate) struct Deflated {
    stream: TcpStream,
    /// The window that the server keeps to, by its base-2 logarithm.
    window: u8,
}

/// A compressed message's payload.
pub(crate) fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1024);
    Compress::new(Compression::default(), false).compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
    assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xff, 0xff]);
    out
}

/// The message of a payload. What is behind the window is not given to zlib: it has that window alone.
fn inflate(window: u8, payload: &[u8]) -> Vec<u8> {
    let (mut zlib, mut out) = (Decompress::new_with_window_bits(false, window), Vec::new());
    for byte in payload.iter().chain(&[0, 0, 0xff, 0xff]) {
        out.reserve(300);
        zlib.decompress_vec(&[*byte], &mut out, FlushDecompress::Sync).unwrap();
    }
    out
}

/// A masked frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The head of a masked frame that says it has so many bytes.
pub(crate) fn head(first: u8, len: u64) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..126 => head.push(0x80 | len as u8),
        126..0x1_0000 => {
            head.push(0x80 | 126);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(len.to_be_bytes());
        }
    }
    head.extend(MASK);
    head
}

impl Deflated {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self::with_window(stream, 15)
    }

    pub(crate) fn with_window(stream: TcpStream, window: u8) -> Self {
        Self { stream, window }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends the frame as a compressed message.
    pub(crate) async fn ask(&mut self, message: &Value) {
        self.send(&frame(FIN | RSV1 | TEXT, &deflate(message.to_string().as_bytes()))).await;
    }

    /// What the next frame that is no ping begins with, and its payload.
    pub(crate) async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            let first = self.byte().await;
            let len = match self.byte().await {
                126 => usize::from(soon(self.stream.read_u16()).await.unwrap()),
                127 => soon(self.stream.read_u64()).await.unwrap() as usize,
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            soon(self.stream.read_exact(&mut payload)).await.unwrap();
            if first != PING {
                return (first, payload);
            }
        }
    }

    /// The next message, and whether it was compressed.
    pub(crate) async fn message(&mut self) -> (Value, bool) {
        let (first, payload) = self.next().await;
        assert_eq!(first & !RSV1, FIN | TEXT);
        let is_compressed = first & RSV1 != 0;
        let text = if is_compressed { inflate(self.window, &payload) } else { payload };
        (serde_json::from_slice(&text).unwrap(), is_compressed)
    }

    /// The code of the close that comes next.
    pub(crate) async fn closed(&mut self) -> u16 {
        let (first, payload) = self.next().await;
        assert_eq!(first, CLOSE, "{:?}", String::from_utf8_lossy(&payload));
        u16::from_be_bytes([payload[0], payload[1]])
    }

    async fn byte(&mut self) -> u8 {
        soon(self.stream.read_u8()).await.unwrap()
    }
}
