//! Nodes of `colloquy`: in one process, or a core and a bridge apart.

use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use super::{LIMIT, Process};

/// The program that is measured.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_colloquy");
/// Any port of this machine's own.
const ANY: &str = "127.0.0.1:0";
/// What a bridge shows its core; both get it.
const BRIDGE_KEY: (&str, &str) = ("COLLOQUY_BRIDGE_KEY", "a key that only the bench has");
/// Limits that are there to stop loads such as these.
const WITHOUT_LIMITS: [(&str, &str); 11] = [
    ("COLLOQUY_MAX_CONNECTIONS", "1000000"),
    ("COLLOQUY_MAX_CONNECTIONS_PER_USER", "1000000"),
    ("COLLOQUY_MAX_CONNECTIONS_PER_ADDRESS", "1000000"),
    ("COLLOQUY_HEARTBEAT_INTERVAL", "600"),
    ("COLLOQUY_CONNECTION_TIMEOUT", "1200"),
    ("COLLOQUY_MESSAGES_PER_SECOND", "1000000"),
    ("COLLOQUY_MESSAGES_PER_MINUTE", "1000000"),
    ("COLLOQUY_MESSAGES_PER_HOUR", "1000000"),
    ("COLLOQUY_MESSAGES_PER_DAY", "1000000"),
    ("COLLOQUY_REQUESTS_PER_SECOND", "1000000"),
    ("COLLOQUY_REQUESTS_PER_MINUTE", "1000000"),
];

/// A node of `colloquy`.
pub(crate) struct Node {
    /// What is measured: of a node whose core is apart, its bridge.
    pub(crate) process: Process,
    /// Where gRPC answers.
    pub(crate) grpc: SocketAddr,
    /// Where HTTP and WebSockets answer.
    pub(crate) http: SocketAddr,
    /// From the start of the process to its ready file.
    pub(crate) ready_after: Duration,
}

/// A core without a bridge.
pub(crate) struct Core {
    /// Where gRPC answers.
    pub(crate) grpc: SocketAddr,
    /// Held, so that it ends with its handle.
    _process: Process,
}

#[derive(Deserialize)]
struct Ready {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

impl Node {
    /// Starts a node on the data in `folder` and returns once it is ready.
    pub(crate) async fn start(folder: &TempDir, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = command("serve", folder, settings);
        command.args(["--grpc-addr", ANY, "--http-addr", ANY]);
        let (process, ready, ready_after) = start(command, folder).await?;
        let (grpc, http) = (ready.grpc.context("no gRPC")?, ready.http.context("no HTTP")?);
        Ok(Self { process, grpc, http, ready_after })
    }

    /// Starts a bridge to this core, at this address if any, with a folder of its own.
    pub(crate) async fn bridge(folder: &TempDir, core: &Core, http: Option<SocketAddr>) -> Result<Self> {
        let mut command = command("bridge", folder, &[]);
        let http = http.map_or(ANY.to_owned(), |http| http.to_string());
        command.args(["--http-addr", &http, "--core", &format!("http://{}", core.grpc)]);
        let (process, ready, ready_after) = start(command, folder).await?;
        Ok(Self { process, grpc: core.grpc, http: ready.http.context("no HTTP")?, ready_after })
    }
}

impl Core {
    /// Starts a core on the data in `folder` and returns once it is ready.
    pub(crate) async fn start(folder: &TempDir) -> Result<Self> {
        let mut command = command("core", folder, &[]);
        command.args(["--grpc-addr", ANY]);
        let (process, ready, _) = start(command, folder).await?;
        Ok(Self { grpc: ready.grpc.context("no gRPC")?, _process: process })
    }
}

fn command(name: &str, folder: &TempDir, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg(name).env("COLLOQUY_DATA_DIR", folder.path());
    command.envs(WITHOUT_LIMITS).envs([BRIDGE_KEY]).envs(settings.iter().copied());
    command
}

async fn start(mut command: Command, folder: &TempDir) -> Result<(Process, Ready, Duration)> {
    let file = folder.path().join("ready.json");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let log = std::fs::File::create(folder.path().join("log"))?;
    command.arg("--ready-file").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let started = Instant::now();
    let process = Process::spawn(&mut command)?;
    let ready = tokio::time::timeout(LIMIT, ready(&file)).await.context("colloquy was not ready")??;
    Ok((process, ready, started.elapsed()))
}

async fn ready(file: &Path) -> Result<Ready> {
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            return Ok(serde_json::from_str(&text)?);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
