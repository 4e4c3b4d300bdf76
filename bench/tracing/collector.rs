//! A collector of traces in the bench's own process, which counts what it gets.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A running collector, ended when it is dropped.
pub(super) struct Collector {
    /// Where it is.
    pub(super) url: String,
    spans: Arc<AtomicUsize>,
    _task: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Collector {
    /// Starts a collector.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let spans = Arc::default();
        let service = TraceServiceServer::new(Counter(Arc::clone(&spans)));
        let mut task = JoinSet::new();
        task.spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self { url, spans, _task: task })
    }

    /// How many spans have arrived.
    pub(super) fn spans(&self) -> usize {
        self.spans.load(Ordering::Relaxed)
    }
}

struct Counter(Arc<AtomicUsize>);

#[tonic::async_trait]
impl TraceService for Counter {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.get_ref().resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        self.0.fetch_add(scopes.map(|scope| scope.spans.len()).sum(), Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
