//! A connection on which a client may compress its messages, as seen by somebody who knows no compression.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::translation::Translation;

/// Inflates the compressed messages that are read from a connection; everything else stays as it is. What is written is counted.
pub struct Inflate<T> {
    connection: T,
    /// Nothing where no compression was agreed on. Boxed, since most sockets only wait.
    translation: Option<Box<Translation>>,
    written: u64,
}

impl<T> Inflate<T> {
    /// A connection without compression.
    pub fn plain(connection: T) -> Self {
        Self { connection, translation: None, written: 0 }
    }

    /// A connection on which messages may come compressed: of `max_message_bytes` at most, as they were sent.
    pub fn compressed(connection: T, max_message_bytes: usize) -> Self {
        Self { connection, translation: Some(Box::new(Translation::new(max_message_bytes))), written: 0 }
    }

    /// How many bytes the connection has taken.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.written += bytes as u64;
        }
        written
    }

    /// The connection itself.
    pub fn into_inner(self) -> T {
        self.connection
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Inflate<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { connection, translation, .. } = &mut *self;
        let mut connection = Pin::new(connection);
        let Some(translation) = translation else { return connection.poll_read(cx, buffer) };
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if translation.read(buffer)? {
                return Poll::Ready(Ok(()));
            }
            // Read to where it belongs if nothing of it is compressed.
            let before = buffer.filled().len();
            ready!(connection.as_mut().poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let plain = translation.take(read);
            buffer.set_filled(before + plain);
            if plain > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Inflate<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
