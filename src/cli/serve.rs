//! `colloquy serve`: a core, and a bridge that calls it in the same process.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpSocket};

use super::{metrics, tls::Tls};
use crate::{
    app::App,
    config::Settings,
    lifecycle::{self, Lifecycle},
    telemetry,
};

/// How long tasks may take to end at once when the grace is over.
const SETTLE: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted at most; the system may allow fewer.
const BACKLOG: u32 = 4096;

/// Where a node answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC and gRPC-Web.
    pub grpc: Option<SocketAddr>,
    /// HTTP and WebSockets.
    pub http: Option<SocketAddr>,
    /// `/metrics` for everybody.
    pub metrics: Option<SocketAddr>,
}

/// Serves until a signal asks the process to end.
pub(super) async fn run(settings: &Settings, ready_file: Option<&Path>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let shown = metrics::show(settings, metrics.clone(), &lifecycle)?;
    let addresses = Addresses { metrics: shown, ..start(settings, Some(metrics), &lifecycle).await? };
    greet(addresses, settings);
    until_signal(addresses, ready_file, settings, &lifecycle).await
}

/// Starts a core and a bridge and returns once both answer; they end with the lifecycle.
///
/// # Errors
/// When a setting of TLS is wrong, an address is taken, or the core cannot be built.
pub async fn start(
    settings: &Settings,
    metrics: Option<PrometheusHandle>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Addresses> {
    let tls = Tls::default().with_grpc(settings)?.with_http(settings)?;
    tls.keep_fresh(lifecycle)?;
    let grpc = listen(settings.grpc_addr)?;
    let http = listen(settings.http_addr)?;
    let addresses = Addresses { grpc: Some(grpc.local_addr()?), http: Some(http.local_addr()?), metrics: None };
    let key = bridge_key(settings);
    let app = App::build(settings, &key, lifecycle.clone()).await?;
    let upstream = colloquy_bridge::local(app.service());
    let bridge = super::bridge::settings(settings, tls.http, &key, metrics)?;
    let stopping = lifecycle.stopping().clone();
    supervise(lifecycle, "gRPC", app.serve(grpc, tls.grpc).map(Ok));
    supervise(lifecycle, "HTTP", async move { Ok(colloquy_bridge::serve(http, upstream, bridge, stopping).await?) });
    Ok(addresses)
}

/// The key that a bridge shows to its core; without a setting, one that only this process knows.
pub(super) fn bridge_key(settings: &Settings) -> String {
    match &settings.bridge_key {
        Some(key) => key.reveal().to_owned(),
        None => format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()),
    }
}

/// Listens at an address, with room for those who come back all at once after a restart.
pub(super) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A node that comes back finds its port still in the memory of connections that ended.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("cannot listen on {address}"))
}

/// Runs a server whose early end ends the process.
pub(super) fn supervise(
    lifecycle: &Lifecycle,
    name: &'static str,
    server: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let stopping = lifecycle.stopping().clone();
    lifecycle.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(server = name, error = format!("{error:#}"), "server failed");
        }
        stopping.cancel();
    });
}

/// Tells that the node is ready, waits for a signal, and stops in order; a second signal stops at once.
pub(super) async fn until_signal(
    addresses: Addresses,
    ready_file: Option<&Path>,
    settings: &Settings,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    tracing::info!(grpc = addresses.grpc.map(display), http = addresses.http.map(display), "ready");
    if let Some(path) = ready_file {
        write_ready_file(path, addresses)?;
    }
    tokio::select! {
        () = lifecycle::signal() => {}
        () = lifecycle.stopping().cancelled() => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        () = lifecycle.stop(settings.shutdown_grace, SETTLE) => {}
        () = lifecycle::signal() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

/// Whole or not at all: whoever waits for the file reads it as soon as it is there.
fn write_ready_file(path: &Path, addresses: Addresses) -> anyhow::Result<()> {
    let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
    let Addresses { grpc, http, metrics } = addresses;
    let mut content = serde_json::json!({ "grpc": text(grpc), "http": text(http) });
    if metrics.is_some() {
        content["metrics"] = text(metrics).into();
    }
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, content.to_string())
        .and_then(|()| std::fs::rename(&unfinished, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::print_stdout, reason = "this is for the person who typed the command")]
fn greet(addresses: Addresses, settings: &Settings) {
    let (Some(grpc), Some(http)) = (addresses.grpc, addresses.http) else { return };
    let (scheme, socket_scheme) = if settings.http_tls_cert.is_some() { ("https", "wss") } else { ("http", "ws") };
    let plain = if settings.grpc_tls_cert.is_some() { "" } else { "-plaintext " };
    println!(
        r#"
Colloquy is ready: HTTP and WebSockets on {scheme}://{http}, gRPC on {grpc}, the API to try at {scheme}://{http}/docs

An account and a token:
  curl -s {scheme}://{http}/api/v1/auth/register -H 'content-type: application/json' -d '{{"username":"ada","email":"ada@example.com","password":"correct horse"}}'
  TOKEN=$(curl -s {scheme}://{http}/api/v1/auth/login -H 'content-type: application/json' -d '{{"username":"ada","password":"correct horse"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

Then watch an answer stream in, over SSE, WebSocket or gRPC:
  curl -N {scheme}://{http}/api/v1/chat/stream -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{{"message":"Tell me about the sea"}}'
  npx wscat -c "{socket_scheme}://{http}/api/v1/ws?token=$TOKEN" -w 10 -x '{{"type":"message","message":"Tell me about the sea"}}'
  grpcurl {plain}-H "authorization: Bearer $TOKEN" -d '{{"message":"Tell me about the sea"}}' {grpc} colloquy.v1.ChatService/StreamChat
"#
    );
}
