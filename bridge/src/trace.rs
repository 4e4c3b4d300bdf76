//! The trace that a request belongs to, as W3C Trace Context writes it: read from its headers, told to the logs, and handed on
//! to the core.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{Status, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The headers by which the core goes on with a trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Vec<(HeaderName, HeaderValue)>);

impl Trace {
    /// Makes the span of a request part of the trace that its `headers` name. Headers that name none, or cannot be read, leave
    /// it the first of a new one. Its fields `trace_id` and `span_id` tell logs.
    ///
    /// Where no spans are collected, the trace that was named is handed on as it came.
    pub(crate) fn enter(span: &Span, headers: &HeaderMap) -> Self {
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
        if own.has_active_span() {
            span.record("span_id", field::display(own.span().span_context().span_id()));
        }
        let mut trace = Self::default();
        TraceContextPropagator::new().inject_context(context, &mut trace);
        trace
    }

    /// Adds the headers to those of a call.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.extend(self.0.iter().cloned());
    }
}

/// Lets a trace tell how a request was answered, if its span is recorded. Routes stand for paths, which may hold tokens.
pub(crate) fn answered(span: &Span, method: &'static str, route: &str, status: u16) {
    let context = span.context();
    let span = context.span();
    if !span.is_recording() {
        return;
    }
    span.update_name(format!("{method} {route}"));
    span.set_attributes([
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route.to_owned()),
        KeyValue::new("http.response.status_code", i64::from(status)),
    ]);
    if status >= 500 {
        span.set_attribute(KeyValue::new("error.type", status.to_string()));
        span.set_status(Status::error("the server failed"));
    }
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

impl Injector for Trace {
    fn set(&mut self, key: &str, value: String) {
        // A trace without a vendor's state has an empty one here, and none on the wire.
        if let (Ok(name), Ok(value), false) =
            (HeaderName::try_from(key), HeaderValue::try_from(&value), value.is_empty())
        {
            self.0.push((name, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_on(headers: &[(&'static str, &str)]) -> HeaderMap {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut handed_on = HeaderMap::new();
        Trace::enter(&Span::none(), &headers.collect()).write(&mut handed_on);
        handed_on
    }

    #[test]
    fn a_trace_is_handed_on_as_it_came_and_what_is_none_is_not() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = handed_on(&[("traceparent", parent), ("tracestate", "vendor=1")]);
        assert_eq!(
            (&headers["traceparent"], &headers["tracestate"]),
            (&parent.parse().unwrap(), &"vendor=1".parse().unwrap())
        );
        assert_eq!(handed_on(&[("traceparent", parent)]).len(), 1, "an empty state is none");
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for garbage in ["", "garbage", zero, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", &"-".repeat(9000)]
        {
            assert!(handed_on(&[("traceparent", garbage)]).is_empty(), "{garbage}");
        }
    }
}
