//! Processes that are measured: nodes of `colloquy`, and peers that are this program again. All end with their handle.

use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// The first argument of a process that is a peer.
pub(crate) const PEER: &str = "--peer";
/// The program that is measured.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_colloquy");
/// How long a process may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);
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
    child: Child,
    /// Where gRPC answers.
    pub(crate) grpc: SocketAddr,
    /// Where HTTP and WebSockets answer.
    pub(crate) http: SocketAddr,
    /// From the start of the process to its ready file.
    pub(crate) ready_after: Duration,
}

#[derive(Deserialize)]
struct Ready {
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Node {
    /// Starts a node on the data in `folder` and returns once it is ready.
    pub(crate) async fn start(folder: &TempDir, settings: &[(&str, &str)]) -> Result<Self> {
        let ready_file = folder.path().join("ready.json");
        if ready_file.exists() {
            std::fs::remove_file(&ready_file)?;
        }
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path())
            .arg("--ready-file")
            .arg(&ready_file)
            .envs(WITHOUT_LIMITS)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let started = Instant::now();
        let child = command.spawn().context("cannot start colloquy")?;
        let ready = tokio::time::timeout(START_LIMIT, ready(&ready_file)).await.context("colloquy was not ready")??;
        let ready_after = started.elapsed();
        Ok(Self { child, grpc: ready.grpc, http: ready.http, ready_after })
    }

    /// The memory that the process occupies, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<f64> {
        resident_kib(&self.child)
    }

    /// How long its threads have run so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        processor_time(&self.child)
    }

    /// Ends the process at once.
    pub(crate) async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// This program again, as a peer of `colloquy`.
pub(crate) struct Peer {
    child: Child,
    /// Where it answers.
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts a peer, which says where it answers.
    pub(crate) async fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(PEER).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start a peer")?;
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().context("a peer without output")?);
        tokio::time::timeout(START_LIMIT, output.read_line(&mut line)).await.context("the peer was not ready")??;
        Ok(Self { child, address: line.trim().parse().context("the peer did not say where it answers")? })
    }

    /// The memory that the process occupies, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<f64> {
        resident_kib(&self.child)
    }

    /// How long its threads have run so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        processor_time(&self.child)
    }

    /// Ends the process at once.
    pub(crate) async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Within a peer: says where it answers, and returns when the process that started it is gone.
pub(crate) async fn answer_at(address: SocketAddr) -> Result<()> {
    println!("{address}");
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

async fn ready(file: &Path) -> Result<Ready> {
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            return Ok(serde_json::from_str(&text)?);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn resident_kib(child: &Child) -> Result<f64> {
    let id = child.id().context("the process has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// In user and system mode, of all threads; counted in hundredths of a second, as proc(5) says of `utime` and `stime`.
fn processor_time(child: &Child) -> Result<Duration> {
    let id = child.id().context("the process has ended")?;
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks: Vec<u64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
}
