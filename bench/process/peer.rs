//! This program again, as a peer of `colloquy`.

use std::{net::SocketAddr, process::Stdio};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use super::{LIMIT, Process};

/// The first argument of a process that is a peer.
pub(crate) const PEER: &str = "--peer";

/// A running peer.
pub(crate) struct Peer {
    /// What is measured.
    pub(crate) process: Process,
    /// Where it answers.
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts a peer, which says where it answers.
    pub(crate) async fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(PEER).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let mut line = String::new();
        let mut output = BufReader::new(process.0.stdout.take().context("a peer without output")?);
        tokio::time::timeout(LIMIT, output.read_line(&mut line)).await.context("the peer was not ready")??;
        Ok(Self { process, address: line.trim().parse().context("the peer did not say where it answers")? })
    }
}

/// Within a peer: says where it answers, and returns when the process that started it is gone.
pub(crate) async fn answer_at(address: SocketAddr) -> Result<()> {
    println!("{address}");
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}
