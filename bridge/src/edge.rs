//! What is true of every request: it has an id, a span and a visitor, is counted, and fails in the documented shape.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use tower::{BoxError, Service};
use tracing::{Instrument as _, Span, field};

use crate::{
    problem::Problem,
    trace::{self, Trace},
    visitor::{REQUEST_ID, Visitor},
};

/// The body of every response.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The route that a request took, for metrics and logs: an extension of the response. Paths themselves may hold tokens.
#[derive(Clone, Debug)]
pub(crate) struct RouteName(pub(crate) Arc<str>);

/// The outermost service of the bridge.
#[derive(Clone)]
pub(crate) struct Edge<S> {
    inner: S,
    trust_forwarded_for: bool,
}

impl<S> Edge<S> {
    pub(crate) fn new(inner: S, trust_forwarded_for: bool) -> Self {
        Self { inner, trust_forwarded_for }
    }
}

impl<S, Q, B> Service<Request<Q>> for Edge<S>
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let peer = request.extensions().get().copied().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let visitor = Visitor::new(request.headers(), peer, self.trust_forwarded_for);
        let request_id = visitor.request_id().clone();
        let method = request.method().clone();
        let span = tracing::info_span!(
            "request",
            otel.kind = "server",
            request_id = %request_id.to_str().unwrap_or_default(),
            trace_id = field::Empty,
            span_id = field::Empty,
            %method,
        );
        let trace = Trace::enter(&span, request.headers());
        request.extensions_mut().insert(visitor.within(trace));

        let started = Instant::now();
        let answered = span.in_scope(|| self.inner.call(request));
        let finish = async move {
            let response = answered.await?;
            record(&method, &response, started);
            Ok(finish(response, &request_id))
        };
        Box::pin(finish.instrument(span))
    }
}

/// Gives a response its id, and a failed one its body.
fn finish<B>(response: Response<B>, request_id: &HeaderValue) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (mut head, body) = response.into_parts();
    head.headers.insert(REQUEST_ID, request_id.clone());
    head.headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    let body = if head.status.is_client_error() || head.status.is_server_error() {
        let problem = head.extensions.remove().unwrap_or_else(|| Problem::of_http(head.status));
        let body = problem.render(request_id, &mut head.headers);
        Full::new(body).map_err(|never| match never {}).boxed_unsync()
    } else {
        body.map_err(Into::into).boxed_unsync()
    };
    Response::from_parts(head, body)
}

/// Logs and counts a request once its head is answered.
fn record<B>(method: &Method, response: &Response<B>, started: Instant) {
    let route = response.extensions().get::<RouteName>().map_or_else(|| Arc::from("none"), |route| route.0.clone());
    let (status, elapsed) = (response.status(), started.elapsed());
    trace::answered(&Span::current(), method_label(method), &route, status.as_u16());
    let elapsed_ms = elapsed.as_secs_f64() * 1000.0;
    match response.extensions().get::<Problem>() {
        Some(problem) if status.is_server_error() => {
            tracing::error!(%route, status = status.as_u16(), elapsed_ms, error = problem.status().message(), "request failed");
        }
        _ => tracing::info!(%route, status = status.as_u16(), elapsed_ms, "request"),
    }
    let labels = [
        ("method", method_label(method).to_owned()),
        ("route", route.to_string()),
        ("status", status.as_u16().to_string()),
    ];
    metrics::histogram!("colloquy_http_request_seconds", &labels[..2]).record(elapsed.as_secs_f64());
    metrics::counter!("colloquy_http_requests_total", &labels[..]).increment(1);
}

/// A client may send any word as a method; a metric has few labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Stands in for a handler that panicked.
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response<Full<Bytes>> {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("unknown"), "a handler panicked");
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
