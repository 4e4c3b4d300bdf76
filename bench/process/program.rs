//! A server that other people wrote, in a process and a folder of its own.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};

use super::{LIMIT, Process};

/// A running server.
pub(crate) struct Program {
    /// What is measured.
    pub(crate) process: Process,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// What it was configured with, and what it logs.
    _folder: TempDir,
}

impl Program {
    /// Starts a server that is to answer at `address` and returns once it does.
    pub(crate) async fn start(mut command: Command, folder: TempDir, address: SocketAddr) -> Result<Self> {
        let log = folder.path().join("log");
        let output = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut process = Process::spawn(&mut command)?;
        let answers = async {
            while TcpStream::connect(address).await.is_err() {
                if process.0.try_wait()?.is_some() {
                    bail!("it has ended: {}", std::fs::read_to_string(&log)?);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        let answered = tokio::time::timeout(LIMIT, answers).await.context("it does not answer").flatten();
        answered.with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
        Ok(Self { process, address, _folder: folder })
    }
}

/// An address that nobody has at the moment, for a program that does not choose one itself.
pub(crate) async fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}
