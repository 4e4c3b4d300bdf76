//! Whatever bytes on a connection with compression, however they are cut.

#![no_main]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use colloquy_bridge::websocket::Inflate;
use futures_util::{FutureExt as _, StreamExt as _};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{Role, WebSocketConfig},
};

const LIMIT: usize = 16 * 1024;

/// A connection on which so many bytes come at once, and what is written is lost.
struct Pieces<'a> {
    bytes: &'a [u8],
    at_once: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (piece, rest) = self.bytes.split_at(self.at_once.min(self.bytes.len()).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What is read: the messages, and how that ended.
fn read(bytes: &[u8], at_once: usize) -> Vec<String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(512)
        .write_buffer_size(0)
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let connection = Inflate::compressed(Pieces { bytes, at_once }, LIMIT);
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config));
    let mut socket = socket.now_or_never().expect("there is nothing to wait for");
    let mut read = Vec::new();
    while let Some(message) = socket.next().now_or_never().expect("the connection is always ready") {
        if let Ok(message) = &message {
            assert!(message.len() <= LIMIT);
        }
        read.push(format!("{message:?}"));
    }
    read
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, bytes)) = input.split_first() else { return };
    assert_eq!(read(bytes, usize::MAX), read(bytes, usize::from(first) + 1));
});
