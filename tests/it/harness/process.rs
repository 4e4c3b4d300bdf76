//! The program itself, as an operator runs it.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::{BRIDGE_KEY, Data, Server, soon};

/// A running `colloquy serve`, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    server: Server,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it logged.
    pub(crate) stderr: String,
}

impl Process {
    /// Starts a node on this data folder and waits until it answers.
    pub(crate) async fn start(data: &Data, settings: &[(&str, &str)]) -> Self {
        let ready = data.folder().join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let mut command = command(data, settings);
        command.arg("--ready-file").arg(&ready).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let addresses = soon("the ready file", addresses(&mut child, ready)).await;
        let address = |name: &str| addresses[name].as_str().unwrap().parse().unwrap();
        Self { child, server: Server::elsewhere(data.clone(), address("grpc"), address("http")) }
    }

    /// Starts a node that is to end by itself, and waits until it has.
    pub(crate) async fn refused(data: &Data, settings: &[(&str, &str)], flags: &[&str]) -> Exit {
        exit(command(data, settings).args(flags)).await
    }

    /// Runs a command that is about this data, to its end.
    pub(crate) async fn run(data: &Data, words: &[&str]) -> Exit {
        let mut command = Command::new(env!("CARGO_BIN_EXE_colloquy"));
        for (name, value) in data.settings() {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        exit(command.args(words).stdin(Stdio::null()).kill_on_drop(true)).await
    }

    /// The node that it is.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Ends it on the spot, as a lost machine does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end.
    pub(crate) async fn terminate(&self) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &id]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended, and returns its exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        soon("the end of the process", self.child.wait()).await.unwrap().code()
    }
}

async fn exit(command: &mut Command) -> Exit {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = soon("the end of the process", output).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Exit { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn command(data: &Data, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colloquy"));
    command.args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
    let kept = data.settings();
    let kept = kept.iter().map(|(name, text)| (*name, text.as_str()));
    for (name, value) in
        [("bridge_key", BRIDGE_KEY), ("log_format", "pretty")].into_iter().chain(kept).chain(settings.iter().copied())
    {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// What the ready file says, once it is there.
async fn addresses(child: &mut Child, ready: PathBuf) -> Value {
    loop {
        if let Ok(text) = std::fs::read(&ready) {
            return serde_json::from_slice(&text).unwrap();
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the process ended before it was ready: {status}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
