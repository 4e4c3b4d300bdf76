//! `colloquy core`: gRPC alone, for bridges in other processes.

use std::path::Path;

use futures_util::FutureExt as _;

use super::serve::{self, Addresses};
use crate::{app::App, config::Settings, lifecycle::Lifecycle};

/// Serves until a signal asks the process to end.
pub(super) async fn run(settings: &Settings, ready_file: Option<&Path>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let addresses = start(settings, &lifecycle).await?;
    serve::until_signal(addresses, ready_file, settings, &lifecycle).await
}

/// Starts a core and returns once it answers; it ends with the lifecycle.
///
/// # Errors
/// When the address is taken, or the core cannot be built.
pub async fn start(settings: &Settings, lifecycle: &Lifecycle) -> anyhow::Result<Addresses> {
    let listener = serve::listen(settings.grpc_addr)?;
    let addresses = Addresses { grpc: Some(listener.local_addr()?), http: None };
    let app = App::build(settings, &serve::bridge_key(settings), lifecycle.clone()).await?;
    serve::supervise(lifecycle, "gRPC", app.serve(listener).map(Ok));
    Ok(addresses)
}
