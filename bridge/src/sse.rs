//! Server-Sent Events: the responses of a streaming RPC, one event each.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream};
use http::{HeaderName, HeaderValue, header};
use serde_json::json;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use warp::reply::{Reply as _, Response};

use crate::{
    client::settle,
    config::Settings,
    record,
    refusal::{Reason, Refusal, is_retryable, reason_of},
    schema::Events,
    transcode::{Malformed, Transcoder, wire},
};

/// What keeps a silent stream open: a comment, which clients skip.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");
/// How long before its connection is cut a stream says its last word, at most.
const FAREWELL: Duration = Duration::from_secs(1);

/// How streams are kept.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    /// How long a stream may be silent before it gets a comment.
    keep_alive: Duration,
    /// How long a stream may go on from `stop` on.
    grace: Duration,
    stop: CancellationToken,
}

impl Keeping {
    pub(crate) fn new(settings: &Settings, stop: CancellationToken) -> Self {
        let grace = settings.shutdown_grace;
        Self { keep_alive: settings.sse_keep_alive, grace: grace - FAREWELL.min(grace / 2), stop }
    }

    /// Completes when streams must end.
    async fn until_over(self) {
        self.stop.cancelled().await;
        tokio::time::sleep(self.grace).await;
    }
}

/// Answers with the messages of `upstream`.
///
/// The answer begins at once, before there is a message; only a call that has failed by now is an error of its own. The
/// stream ends when the RPC does, or when the server's grace is over: then with an error that asks the client to come back.
/// Dropping it drops the call.
pub(crate) fn response(mut upstream: Streaming<Bytes>, writer: Writer, keeping: Keeping) -> Result<Response, Status> {
    let first = match upstream.message().now_or_never() {
        Some(Err(status)) => return Err(settle(status)),
        Some(Ok(message)) => First::Known(message),
        None => First::Awaited,
    };
    let events = EventStream {
        upstream: Some(upstream),
        first,
        writer,
        keep_alive: keeping.keep_alive,
        silence: Box::pin(tokio::time::sleep(keeping.keep_alive)),
        over: Box::pin(keeping.until_over()),
    };
    let mut response = warp::reply::stream(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// What was there when the answer began.
enum First {
    Awaited,
    Known(Option<Bytes>),
}

/// The body of an event stream.
struct EventStream {
    /// `None` once it has ended.
    upstream: Option<Streaming<Bytes>>,
    first: First,
    writer: Writer,
    keep_alive: Duration,
    silence: Pin<Box<Sleep>>,
    over: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl EventStream {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if let First::Known(message) = std::mem::replace(&mut self.first, First::Awaited) {
            return Poll::Ready(message.map(Ok));
        }
        match &mut self.upstream {
            Some(upstream) => Pin::new(upstream).poll_next(cx),
            None => Poll::Ready(None),
        }
    }

    fn write(&mut self, message: Option<Result<Bytes, Status>>) -> Option<Bytes> {
        let event = match message? {
            Ok(message) => self.writer.event(&message).map_err(|malformed| {
                tracing::error!(error = %malformed, "the core sent an unreadable message");
                Refusal::new(Reason::ProcessingError, "the server failed").into()
            }),
            Err(status) => Err(settle(status)),
        };
        Some(event.unwrap_or_else(|status| {
            self.upstream = None;
            self.writer.error(&status)
        }))
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.upstream.is_some() && this.over.as_mut().poll(cx).is_ready() {
            (this.upstream, this.first) = (None, First::Awaited);
            let refusal =
                Refusal::new(Reason::Unavailable, "the server stops: come back and go on after the last event");
            return Poll::Ready(Some(Ok(this.writer.error(&refusal.into()))));
        }
        loop {
            let event = match this.poll_message(cx) {
                Poll::Ready(message) => this.write(message),
                Poll::Pending => {
                    ready!(this.silence.as_mut().poll(cx));
                    Some(KEEP_ALIVE)
                }
            };
            // An event of a type that this contract does not know yet is empty: it is passed over.
            if event.as_ref().is_none_or(|event| !event.is_empty()) {
                this.silence.as_mut().reset(Instant::now() + this.keep_alive);
                return Poll::Ready(event.map(Ok));
            }
        }
    }
}

/// Writes messages as events.
pub(crate) struct Writer {
    transcoder: Arc<Transcoder>,
    events: Arc<Events>,
    /// The offset of the last event: where the client goes on when it comes back.
    cursor: i64,
    /// The answer that the events are about; empty until one of them named it.
    answer: String,
}

impl Writer {
    /// Writes events from `cursor` on.
    pub(crate) fn new(transcoder: Arc<Transcoder>, events: Arc<Events>, cursor: i64) -> Self {
        Self { transcoder, events, cursor, answer: String::new() }
    }

    /// The event that `message` makes; empty when there is nothing to show of it.
    fn event(&mut self, message: &[u8]) -> Result<Bytes, Malformed> {
        let mut out = Vec::with_capacity(2 * message.len() + 64);
        match &*self.events {
            Events::Plain(id) => {
                out.extend_from_slice(b"data: ");
                self.transcoder.to_json(*id, message, &mut out)?;
            }
            Events::Typed { event, offset, variants } => {
                let mut cursor = 0;
                let mut shown = None;
                for record in wire::records(record::bytes(message, *event)?) {
                    match record? {
                        (number, wire::Value::Varint(value)) if number == *offset => cursor = value.cast_signed(),
                        (number, wire::Value::Bytes(value)) => {
                            shown = variants.by_number(number).map(|variant| (variant, value)).or(shown);
                        }
                        _ => {}
                    }
                }
                let Some((variant, value)) = shown else { return Ok(Bytes::new()) };
                if let (true, Some(number)) = (self.answer.is_empty(), variant.answer) {
                    self.answer = String::from_utf8_lossy(record::bytes(value, number)?).into_owned();
                }
                self.cursor = cursor;
                let shown = variant.show(value)?;
                out.extend_from_slice(format!("id: {cursor}\ndata: {{\"type\":").as_bytes());
                out.extend_from_slice(&shown.name);
                self.transcoder.fields_to_json(shown.message, shown.wire, &mut out)?;
                out.push(b'}');
            }
        }
        out.extend_from_slice(b"\n\n");
        Ok(out.into())
    }

    /// The last event of a stream that failed. Its id is that of the event before it: the client has missed nothing but what follows.
    fn error(&self, status: &Status) -> Bytes {
        let mut error = json!({
            "type": "error",
            "code": reason_of(status),
            "message": status.message(),
            "retryable": is_retryable(status.code()),
            "details": [],
        });
        if !self.answer.is_empty() {
            error["message_id"] = json!(self.answer);
        }
        match &*self.events {
            Events::Plain(_) => format!("data: {error}\n\n").into(),
            Events::Typed { .. } => format!("id: {}\ndata: {error}\n\n", self.cursor).into(),
        }
    }
}
