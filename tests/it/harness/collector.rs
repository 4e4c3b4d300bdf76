//! A collector of traces in the tests' own process, which takes what nodes send.

use std::{collections::BTreeMap, sync::Arc};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{self, ResourceSpans, status::StatusCode},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport};

use super::soon;

/// A running collector; dropping it closes its port.
pub(crate) struct Collector {
    url: String,
    spans: Arc<watch::Sender<Vec<Span>>>,
    _tasks: JoinSet<()>,
}

/// A span as it arrived, ids in hexadecimal.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty where a trace begins.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// As the protocol numbers it: 1 internal, 2 server, 3 client.
    pub(crate) kind: i32,
    pub(crate) has_failed: bool,
    /// Its own.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Those of the node that it is from.
    pub(crate) resource: BTreeMap<String, String>,
}

impl Collector {
    /// Starts a collector.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(watch::Sender::default());
        let service = TraceServiceServer::new(Intake(spans.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let server = transport::Server::builder().add_service(service);
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { url, spans, _tasks: tasks }
    }

    /// The setting by which a node sends its spans here.
    pub(crate) fn setting(&self) -> (&'static str, &str) {
        ("otlp_endpoint", &self.url)
    }

    /// Everything that has arrived.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.borrow().clone()
    }

    /// Waits for a span that is meant.
    pub(crate) async fn span(&self, what: &str, is_meant: impl Fn(&Span) -> bool) -> Span {
        let mut spans = self.spans.subscribe();
        let mut found = None;
        let look = |spans: &Vec<Span>| {
            found = spans.iter().find(|span| is_meant(span)).cloned();
            found.is_some()
        };
        soon(&format!("the span of {what}"), spans.wait_for(look)).await.unwrap();
        found.unwrap()
    }
}

struct Intake(Arc<watch::Sender<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Intake {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let arrived = request.into_inner().resource_spans.into_iter().flat_map(spans_of);
        self.0.send_modify(|spans| spans.extend(arrived));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans_of(sent: ResourceSpans) -> impl Iterator<Item = Span> {
    let resource = texts(sent.resource.unwrap().attributes);
    let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(move |span| Span::of(span, resource.clone()))
}

impl Span {
    fn of(span: v1::Span, resource: BTreeMap<String, String>) -> Self {
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            kind: span.kind,
            has_failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
            attributes: texts(span.attributes),
            resource,
        }
    }

    /// An attribute of its own.
    pub(crate) fn says(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).map(String::as_str)
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
