//! Traces: the spans of this process on their way to a collector that speaks OpenTelemetry's protocol.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use metrics::counter;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter as Otlp, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::config::Settings;

/// The service that all nodes are, to a collector.
const SERVICE: &str = "colloquy";
/// How long the collector may take for what it is sent at once.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the collector.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Spans are queued, and sent from a thread of their own; what finds no room in the queue is lost. Without a collector there are
/// none.
#[derive(Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends spans to where the settings say, if anywhere. Nothing is connected before there is one.
    pub(super) fn of(settings: &Settings) -> Result<Self, ExporterBuildError> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(Self::default()) };
        let otlp = Otlp::builder().with_tonic().with_endpoint(endpoint.as_str()).with_timeout(SEND_TIMEOUT).build()?;
        let resource = Resource::builder().with_service_name(SERVICE).with_attributes([
            KeyValue::new("service.instance.id", settings.node.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ]);
        // Who comes with a trace has decided; who comes without is drawn.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.trace_sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_sampler(sampler)
            .with_batch_exporter(Collector { otlp, is_lost: AtomicBool::new(false) });
        Ok(Self(Some(provider.build())))
    }

    /// What makes spans of traces out of those of the logs. Lines of the log stay there: a span may last for days.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.0.as_ref()?.tracer(SERVICE);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        Some(layer.with_filter(filter_fn(is_traced)))
    }

    /// Sends what is left and ends; a collector that does not take it in time does not get it.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        // It blocks its thread.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(END_TIMEOUT)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Spans of this program, not those of the libraries below it.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target().starts_with(SERVICE)
}

/// The collector, which says when it is lost and when it is found.
#[derive(Debug)]
struct Collector {
    otlp: Otlp,
    is_lost: AtomicBool,
}

impl SpanExporter for Collector {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let count = spans.len() as u64;
        let sent = self.otlp.export(spans).await;
        let outcome = if sent.is_ok() { "sent" } else { "lost" };
        counter!("colloquy_trace_spans_total", "outcome" => outcome).increment(count);
        match (&sent, self.is_lost.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(%error, "the collector takes no spans: they are lost until it does"),
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
