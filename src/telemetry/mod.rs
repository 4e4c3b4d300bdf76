//! Logs, metrics and traces of the process.

mod traces;

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use self::traces::Traces;
use crate::config::{LogFormat, Settings};

/// They log what they send and get, which may quote conversations: the parameters of statements, the messages of sockets.
pub const WITHHELD: &str = "rmcp=off,tokio_postgres=info,tungstenite=debug,tokio_tungstenite=debug";

/// Sends logs to standard error, and spans to a collector where one is set; without settings, as it is done without any. An
/// unknown level falls back to `info`, a collector that cannot be one to none; both are said.
///
/// To be called once, inside a tokio runtime.
pub fn start(settings: Option<&Settings>) -> Traces {
    let level = settings.map_or("info", |settings| &settings.log_level);
    let parsed = EnvFilter::try_new(format!("{WITHHELD},{level}"));
    let fault = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new(format!("{WITHHELD},info")));
    let on_terminal = std::io::stderr().is_terminal();
    let usual = if on_terminal { LogFormat::Pretty } else { LogFormat::Json };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.and_then(|settings| settings.log_format).unwrap_or(usual) {
        LogFormat::Pretty => lines.with_ansi(on_terminal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traces = settings.map_or_else(|| Ok(Traces::default()), Traces::of);
    let lost = traces.as_ref().err().map(ToString::to_string);
    let traces = traces.unwrap_or_default();
    // What is logged says nothing about what is traced: each has its own filter.
    let started = tracing_subscriber::registry().with(traces.layer()).with(lines.with_filter(filter)).try_init();
    if started.is_err() {
        tracing::debug!("logs were started before");
    }
    if let Some(fault) = fault {
        tracing::warn!(log.level = level, error = fault, "unknown log level, falling back to info");
    }
    if let Some(fault) = lost {
        tracing::warn!(error = fault, "traces cannot be sent, going on without");
    }
    traces
}

/// Starts to count; the handle renders what was counted in Prometheus' text format.
///
/// # Errors
/// When the process counts already.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}
