//! The trace that a call belongs to, as W3C Trace Context writes it: read from the headers that come in, told to the logs, and
//! written into those that go out. The bridge has its own: it knows nothing of this crate.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{SpanRef, Status, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes a span part of the trace that `headers` name. Headers that name none, or cannot be read, leave it the first of a new
/// one. Its fields `trace_id` and `span_id` tell logs.
///
/// Where no spans are collected, the logs are told of the trace that was named.
pub fn enter(span: &Span, headers: &HeaderMap) {
    let named = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    if named.has_active_span() {
        // Nobody collects where this fails.
        let _ = span.set_parent(named.clone());
    }
    let own = span.context();
    let context = if own.has_active_span() { &own } else { &named };
    if context.has_active_span() {
        span.record("trace_id", field::display(context.span().span_context().trace_id()));
    }
    begin(span);
}

/// Tells logs the `span_id` of a span that is collected.
pub fn begin(span: &Span) {
    let context = span.context();
    if context.has_active_span() {
        span.record("span_id", field::display(context.span().span_context().span_id()));
    }
}

/// Lets a trace tell more of a span than the logs do, if the span is recorded.
pub fn describe(span: &Span, how: impl FnOnce(&SpanRef<'_>)) {
    let context = span.context();
    let described = context.span();
    if described.is_recording() {
        how(&described);
    }
}

/// Marks a span as failed. The reason is one of few words, since it may be searched by.
pub fn fail(span: &Span, reason: &'static str) {
    describe(span, |span| span.set_status(Status::error(reason)));
}

/// What tells others of a span that is collected: the header of a request that is made within it. What came with the trace as its
/// `tracestate` is not for them.
pub fn header(span: &Span) -> HeaderMap {
    let mut header = TraceParent::default();
    TraceContextPropagator::new().inject_context(&span.context(), &mut header);
    header.0
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[derive(Default)]
struct TraceParent(HeaderMap);

impl Injector for TraceParent {
    fn set(&mut self, key: &str, value: String) {
        if let ("traceparent", Ok(value)) = (key, HeaderValue::try_from(value)) {
            self.0.insert("traceparent", value);
        }
    }
}
