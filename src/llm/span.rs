//! The span of a call to a provider: what a trace tells of it, by OpenTelemetry's conventions for generative AI.

use opentelemetry::KeyValue;
use reqwest::Url;
use tracing::{Span, field, info_span};

use super::{
    piece::Usage,
    settings::{Kind, ProviderConfig},
};
use crate::trace;

/// Begins the span of a try, within that of the run.
pub(super) fn begin(config: &ProviderConfig, url: &Url, model: &str, retry: u32) -> Span {
    let span = info_span!(
        "llm.call",
        otel.kind = "client",
        provider.name = %config.name,
        model.name = %model,
        retry,
        span_id = field::Empty,
    );
    trace::begin(&span);
    trace::describe(&span, |span| {
        let protocol = match config.kind {
            Kind::Anthropic => "anthropic",
            Kind::OpenAi => "openai",
        };
        span.update_name(format!("chat {model}"));
        span.set_attributes([
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", protocol),
            KeyValue::new("gen_ai.request.model", model.to_owned()),
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.request.resend_count", i64::from(retry)),
            KeyValue::new("server.address", url.host_str().unwrap_or_default().to_owned()),
            KeyValue::new("server.port", i64::from(url.port_or_known_default().unwrap_or_default())),
        ]);
    });
    span
}

/// Tells the status that the provider answered with.
pub(super) fn answered(span: &Span, status: u16) {
    trace::describe(span, |span| span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status))));
}

/// Tells what the call cost.
pub(super) fn end(span: &Span, usage: Usage) {
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    trace::describe(span, |span| {
        span.set_attributes([
            KeyValue::new("gen_ai.usage.input_tokens", tokens(usage.input_tokens)),
            KeyValue::new("gen_ai.usage.output_tokens", tokens(usage.output_tokens)),
        ]);
    });
}

/// Tells why the call failed.
pub(super) fn fail(span: &Span, kind: &'static str) {
    trace::describe(span, |span| span.set_attribute(KeyValue::new("error.type", kind)));
    trace::fail(span, kind);
}
