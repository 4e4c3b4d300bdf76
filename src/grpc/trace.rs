//! What a trace tells of a call, by OpenTelemetry's conventions for RPC.

use http::HeaderMap;
use opentelemetry::{KeyValue, trace::Status};
use tonic::Code;
use tracing::Span;

use crate::trace;

/// Makes the span of a call part of the trace that its `headers` name, by the name of what is called.
pub(super) fn begin(span: &Span, headers: &HeaderMap, rpc: &str) {
    trace::enter(span, headers);
    trace::describe(span, |span| {
        span.update_name(rpc.to_owned());
        span.set_attribute(KeyValue::new("rpc.system", "grpc"));
        if let Some((service, method)) = rpc.split_once('/') {
            span.set_attribute(KeyValue::new("rpc.service", service.to_owned()));
            span.set_attribute(KeyValue::new("rpc.method", method.to_owned()));
        }
    });
}

/// Tells how the call ended. What its caller did wrong is no fault of the span's.
pub(super) fn end(span: &Span, code: Code) {
    trace::describe(span, |span| {
        span.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))));
        let is_fault = matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        );
        if is_fault {
            span.set_status(Status::error(code.description()));
        }
    });
}
