//! Logs and metrics of the process.

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{LogFormat, Settings};

/// They log what they send and get, which may quote conversations: the parameters of statements, the messages of sockets.
pub const TALKATIVE: &str = "rmcp=off,tokio_postgres=info,tungstenite=debug,tokio_tungstenite=debug";

/// Sends logs to standard error; without settings, as they are without any. An unknown level falls back to `info` and
/// says so.
pub fn start_logs(settings: Option<&Settings>) {
    let level = settings.map_or("info", |settings| &settings.log_level);
    let parsed = EnvFilter::try_new(format!("{TALKATIVE},{level}"));
    let fault = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new(format!("{TALKATIVE},info")));
    let on_terminal = std::io::stderr().is_terminal();
    let usual = if on_terminal { LogFormat::Pretty } else { LogFormat::Json };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let started = match settings.and_then(|settings| settings.log_format).unwrap_or(usual) {
        LogFormat::Pretty => registry.with(layer.with_ansi(on_terminal)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs were started before");
    }
    if let Some(fault) = fault {
        tracing::warn!(log.level = level, error = fault, "unknown log level, falling back to info");
    }
}

/// Starts to count; the handle renders what was counted in Prometheus' text format.
///
/// # Errors
/// When the process counts already.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}
