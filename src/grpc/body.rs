//! Bodies of calls as the edge wraps them: answers within their call's span, requests with a deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};
use tracing::Span;

use super::trace;
use crate::error::Error;

/// A response's body, within a span, which is told the status that follows it.
pub(super) struct Spanned {
    body: Body,
    span: Span,
}

impl Spanned {
    /// Lets what the body streams be made within the span that there is now.
    pub(super) fn here(body: Body) -> Self {
        Self { body, span: Span::current() }
    }
}

impl http_body::Body for Spanned {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, span } = &mut *self;
        let frame = span.in_scope(|| Pin::new(body).poll_frame(context));
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(status) = frame.trailers_ref().and_then(Status::from_header_map)
        {
            trace::end(span, status.code());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body, awaited until it is late.
pub(super) struct Timed {
    body: Body,
    late: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Timed {
    /// Awaits the body until `late` completes.
    pub(super) fn until(late: impl Future<Output = ()> + Send + 'static, body: Body) -> Self {
        Self { body, late: Box::pin(late) }
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => self.late.as_mut().poll(context).map(|()| Some(Err(Error::DeadlineExceeded.into()))),
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::poll_fn, time::Duration};

    use tokio::time::{Instant, sleep};
    use tonic::Code;

    use super::*;

    /// A body of which nothing ever comes.
    struct Never;

    impl http_body::Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_is_an_error_when_it_is_late() {
        let mut body = Timed::until(sleep(Duration::from_secs(130)), Body::new(Never));
        let began = Instant::now();
        let frame = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut body), context)).await.unwrap();
        assert_eq!((frame.unwrap_err().code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 130));
    }
}
