//! `colloquy core`: gRPC alone, for bridges in other processes.

use std::path::Path;

use futures_util::FutureExt as _;

use super::{
    metrics,
    serve::{self, Addresses},
    tls::Tls,
};
use crate::{app::App, config::Settings, lifecycle::Lifecycle, telemetry};

/// Serves until a signal asks the process to end.
pub(super) async fn run(settings: &Settings, ready_file: Option<&Path>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let shown = metrics::show(settings, telemetry::start_metrics()?, &lifecycle)?;
    let addresses = Addresses { metrics: shown, ..start(settings, &lifecycle).await? };
    serve::until_signal(addresses, ready_file, settings, &lifecycle).await
}

/// Starts a core and returns once it answers; it ends with the lifecycle.
///
/// # Errors
/// When a setting of TLS is wrong, the address is taken, or the core cannot be built.
pub async fn start(settings: &Settings, lifecycle: &Lifecycle) -> anyhow::Result<Addresses> {
    let tls = Tls::default().with_grpc(settings)?;
    tls.keep_fresh(lifecycle)?;
    let listener = serve::listen(settings.grpc_addr)?;
    let addresses = Addresses { grpc: Some(listener.local_addr()?), ..Addresses::default() };
    let app = App::build(settings, &serve::bridge_key(settings), lifecycle.clone()).await?;
    serve::supervise(lifecycle, "gRPC", app.serve(listener, tls.grpc).map(Ok));
    Ok(addresses)
}
