//! The program itself, as an operator runs it.

use std::{fs::File, net::SocketAddr, process::Stdio};

use colloquy::cli::serve::Addresses;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{BRIDGE_KEY, Data, PATIENCE, Server, WITHOUT_LIMITS, soon, within};

/// Where a process logs to, in its folder.
pub(super) const LOG: &str = "stderr.log";

/// Whatever the program itself has to say, to be searched for secrets.
const TALKATIVE: (&str, &str) = ("log_level", "info,colloquy=debug,colloquy_bridge=debug");

/// A running `colloquy`, killed when it is dropped.
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
        let (child, addresses) = spawn(command("serve", data, &talkative(settings)), data).await;
        Self { child, server: Server::elsewhere(data.clone(), addresses) }
    }

    /// Starts a core on this data folder and waits until it answers.
    pub(crate) async fn core(data: &Data, settings: &[(&str, &str)]) -> Self {
        let (child, addresses) = spawn(command("core", data, &talkative(settings)), data).await;
        assert_eq!(addresses.http, None, "a core serves gRPC alone");
        Self { child, server: Server::elsewhere(data.clone(), addresses) }
    }

    /// Starts a bridge in front of these cores, whether they answer or not, and waits until it does itself. Its server
    /// answers gRPC at the first core.
    pub(crate) async fn bridge(cores: &[SocketAddr], settings: &[(&str, &str)]) -> Self {
        let data = Data::fresh().await;
        // Over TLS where the bridge knows whom to believe.
        let scheme = if settings.iter().any(|(name, _)| *name == "core_tls_ca") { "https" } else { "http" };
        let urls: Vec<_> = cores.iter().map(|core| format!("{scheme}://{core}")).collect();
        let mut command = command("bridge", &data, &talkative(settings));
        command.arg("--core").arg(urls.join(","));
        let (child, addresses) = spawn(command, &data).await;
        assert_eq!(addresses.grpc, None, "a bridge serves HTTP alone");
        Self { child, server: Server::elsewhere(data, Addresses { grpc: cores.first().copied(), ..addresses }) }
    }

    /// Starts a command that is to end by itself, and waits until it has.
    pub(crate) async fn refused(name: &str, data: &Data, settings: &[(&str, &str)], flags: &[&str]) -> Exit {
        exit(command(name, data, settings).args(flags)).await
    }

    /// Runs a command that is about this data, to its end.
    pub(crate) async fn run(data: &Data, words: &[&str]) -> Exit {
        exit(command(words[0], data, &[]).args(&words[1..])).await
    }

    /// Runs a command that reads this from its standard input, to its end.
    pub(crate) async fn run_told(data: &Data, words: &[&str], said: &str) -> Exit {
        let file = data.folder().join("said");
        std::fs::write(&file, said).unwrap();
        exit(command(words[0], data, &[]).args(&words[1..]).stdin(File::open(&file).unwrap())).await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.server.data().folder().join(LOG)).unwrap()
    }

    /// Runs a command with these variables besides, to its end.
    pub(crate) async fn run_with(data: &Data, words: &[&str], variables: &[(&str, &str)]) -> Exit {
        exit(command(words[0], data, &[]).args(&words[1..]).envs(variables.iter().copied())).await
    }

    /// How many files and connections it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id().expect("it runs"))).unwrap().count()
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
        self.signal("TERM").await;
    }

    /// Asks it to read its files again.
    pub(crate) async fn hang_up(&self) {
        self.signal("HUP").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("sh").args(["-c", "kill -$0 \"$1\"", name, &id]).status().await.unwrap();
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

fn command(name: &str, data: &Data, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colloquy"));
    command.arg(name);
    let own = [("grpc_addr", "127.0.0.1:0"), ("http_addr", "127.0.0.1:0"), ("log_format", "pretty")];
    let kept = data.settings();
    let kept = kept.iter().map(|(name, text)| (*name, text.as_str()));
    for (name, value) in own.into_iter().chain(WITHOUT_LIMITS).chain(kept).chain(settings.iter().copied()) {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    command.env("COLLOQUY_BRIDGE_KEY", BRIDGE_KEY);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// These settings, which may ask for another detail.
fn talkative<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[TALKATIVE], settings].concat()
}

/// Starts a command and waits until it says where it answers.
async fn spawn(mut command: Command, data: &Data) -> (Child, Addresses) {
    let ready = data.folder().join("ready.json");
    let _ = std::fs::remove_file(&ready);
    // After what a process before it has logged.
    command.stderr(File::options().append(true).create(true).open(data.folder().join(LOG)).unwrap());
    let mut child = command.arg("--ready-file").arg(&ready).spawn().unwrap();
    within(PATIENCE, "the ready file", async || {
        assert_eq!(child.try_wait().unwrap(), None, "the process ended before it was ready");
        ready.exists()
    })
    .await;
    let said: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    let address = |name: &str| said[name].as_str().map(|address| address.parse().unwrap());
    (child, Addresses { grpc: address("grpc"), http: address("http"), metrics: address("metrics") })
}
