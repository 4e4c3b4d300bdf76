//! `colloquy bridge`: HTTP and WebSockets alone, in front of cores elsewhere.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use colloquy_bridge::{AllowedOrigins, RenderMetrics, ServerTls};
use http::{HeaderValue, Uri};
use metrics_exporter_prometheus::PrometheusHandle;

use super::{
    metrics,
    serve::{self, Addresses},
    tls::Tls,
};
use crate::{config::Settings, lifecycle::Lifecycle, telemetry};

/// Serves until a signal asks the process to end.
pub(super) async fn run(
    settings: &Settings,
    cores: &[Uri],
    ready_file: Option<&Path>,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let shown = metrics::show(settings, metrics.clone(), &lifecycle)?;
    let addresses = Addresses { metrics: shown, ..start(settings, cores, Some(metrics), &lifecycle)? };
    serve::until_signal(addresses, ready_file, settings, &lifecycle).await
}

/// Starts a bridge and returns once it answers; it ends with the lifecycle.
///
/// # Errors
/// When a setting of TLS is wrong, the address is taken, or no core is named.
pub fn start(
    settings: &Settings,
    cores: &[Uri],
    metrics: Option<PrometheusHandle>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Addresses> {
    let tls = Tls::default().with_http(settings)?.with_cores(settings, cores)?;
    tls.keep_fresh(lifecycle)?;
    let listener = serve::listen(settings.http_addr)?;
    let addresses = Addresses { http: Some(listener.local_addr()?), ..Addresses::default() };
    let upstream = colloquy_bridge::remote(cores, tls.cores.as_ref())?;
    let bridge = self::settings(settings, tls.http, &serve::bridge_key(settings), metrics)?;
    let stopping = lifecycle.stopping().clone();
    let server = async move { Ok(colloquy_bridge::serve(listener, upstream, bridge, stopping).await?) };
    serve::supervise(lifecycle, "HTTP", server);
    Ok(addresses)
}

/// The bridge's own settings.
pub(super) fn settings(
    settings: &Settings,
    tls: Option<ServerTls>,
    key: &str,
    metrics: Option<PrometheusHandle>,
) -> anyhow::Result<colloquy_bridge::Settings> {
    let allowed_origins = if settings.allowed_origins.iter().any(|origin| origin == "*") {
        AllowedOrigins::Any
    } else {
        let origins = settings.allowed_origins.iter().map(|origin| HeaderValue::from_str(origin));
        AllowedOrigins::Only(origins.collect::<Result<_, _>>().context("setting allowed_origins: must be origins")?)
    };
    Ok(colloquy_bridge::Settings {
        node: settings.node.clone(),
        tls,
        max_frame_bytes: settings.max_frame_bytes,
        compress_sockets: settings.compress_sockets,
        max_body_bytes: settings.max_body_bytes,
        request_deadline: settings.request_timeout,
        handshake_timeout: settings.handshake_timeout,
        ping_interval: settings.heartbeat_interval,
        silence_limit: settings.connection_timeout,
        drain_limit: settings.drain_limit,
        send_timeout: settings.send_timeout,
        window_bytes: settings.socket_window_bytes,
        reconnects_per_second: settings.reconnects_per_second,
        sse_keep_alive: settings.sse_keep_alive,
        shutdown_grace: settings.shutdown_grace,
        trust_forwarded_for: settings.trust_forwarded_for,
        bridge_key: Some(HeaderValue::from_str(key).context("setting bridge_key: must be visible ASCII")?),
        allowed_origins,
        pages_need_login: settings.pages_need_login,
        metrics: metrics.map(|handle| Arc::new(move || handle.render()) as RenderMetrics),
        ..colloquy_bridge::Settings::default()
    })
}
