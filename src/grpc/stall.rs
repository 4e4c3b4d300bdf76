//! Streams that nobody reads: what such a caller holds here is given up, whether or not its connection lives on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::Instant;
use tonic::{Status, body::Body};

/// The response streams of this node.
#[derive(Default)]
pub(super) struct Streams(Mutex<Vec<Weak<Mutex<Stream>>>>);

/// The body of a response stream. One that was given up ends by asking the caller to come back.
pub(super) struct Watched(Arc<Mutex<Stream>>);

struct Stream {
    /// `None` once it was given up.
    body: Option<Body>,
    /// Since when the caller has not asked for more.
    unread: Option<Instant>,
    has_ended: bool,
}

impl Streams {
    /// Watches over a stream.
    pub(super) fn watch(&self, body: Body) -> Watched {
        let stream = Arc::new(Mutex::new(Stream { body: Some(body), unread: None, has_ended: false }));
        lock(&self.0).push(Arc::downgrade(&stream));
        Watched(stream)
    }

    /// Gives up the streams of which nothing was read for `limit`, and forgets those that have ended.
    pub(super) fn give_up(&self, limit: Duration) {
        let mut given_up = Vec::new();
        lock(&self.0).retain(|stream| {
            let Some(stream) = stream.upgrade() else { return false };
            // One that is locked is being read.
            let Ok(mut open) = stream.try_lock() else { return true };
            if open.unread.is_none_or(|since| since.elapsed() < limit) {
                return true;
            }
            given_up.extend(open.body.take());
            false
        });
        if !given_up.is_empty() {
            tracing::info!(streams = given_up.len(), "callers do not read: their streams are given up");
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut stream = lock(&self.0);
        let Stream { body, unread, has_ended } = &mut *stream;
        let Some(body) = body else {
            let told = std::mem::replace(has_ended, true);
            return Poll::Ready((!told).then(|| Ok(Frame::trailers(too_slow()))));
        };
        *unread = None;
        let frame = Pin::new(body).poll_frame(context);
        // What comes last may lie for as long as it likes: nothing is kept for it.
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && frame.is_data()
        {
            *unread = Some(Instant::now());
        }
        frame
    }
}

fn too_slow() -> HeaderMap {
    let status = Status::unavailable("nothing was read for too long: come back and go on after the last message");
    let mut trailers = HeaderMap::new();
    // The text is ASCII, so that this cannot fail.
    let _ = status.add_header(&mut trailers);
    trailers
}

/// A stream that panicked is given up like any other.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::poll_fn};

    use futures_util::FutureExt as _;
    use http_body::Body as _;
    use tonic::Code;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// A body of which there is always more.
    struct Endless(#[expect(dead_code, reason = "dropped with the body")] Arc<()>);

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    fn read(body: &mut Watched) -> Option<Frame<Bytes>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).now_or_never().expect("there is one");
        frame.map(Result::unwrap)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_given_up_when_nothing_was_read_for_so_long_and_then_says_so() {
        let (streams, held) = (Streams::default(), Arc::new(()));
        let mut body = streams.watch(Body::new(Endless(held.clone())));
        streams.give_up(LIMIT);
        tokio::time::advance(2 * LIMIT).await;
        // Nothing was offered yet: nobody is late.
        streams.give_up(LIMIT);
        assert!(read(&mut body).unwrap().is_data());
        tokio::time::advance(LIMIT - Duration::from_secs(1)).await;
        streams.give_up(LIMIT);
        assert!(read(&mut body).unwrap().is_data());
        assert_eq!(Arc::strong_count(&held), 2);

        tokio::time::advance(LIMIT).await;
        streams.give_up(LIMIT);
        assert_eq!(Arc::strong_count(&held), 1, "what the stream held is free");
        let trailers = read(&mut body).unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Unavailable);
        assert!(read(&mut body).is_none());
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_is_forgotten() {
        let streams = Streams::default();
        drop(streams.watch(Body::empty()));
        streams.give_up(LIMIT);
        assert!(lock(&streams.0).is_empty());
    }
}
