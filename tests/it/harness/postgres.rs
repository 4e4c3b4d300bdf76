//! A PostgreSQL server of a test's own, which can be stopped and started again.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
};

use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener as Listener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
};

use super::{PATIENCE, port::port, soon, within};

/// A server with one database, killed when it is dropped.
pub(crate) struct PostgresServer {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl PostgresServer {
    /// Makes a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        let mut server = Self { folder: tempfile::tempdir().unwrap(), port: port(), child: None };
        if is_root() {
            let given = Command::new("chown").arg("postgres").arg(server.folder.path()).status().await.unwrap();
            assert!(given.success());
        }
        let mut make = as_user("initdb");
        make.args([
            "-U",
            "colloquy",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
            "-D",
        ]);
        let made = soon("a server's folder", make.arg(server.data()).stdout(Stdio::null()).status()).await;
        assert!(made.expect("PostgreSQL is installed").success());
        server.resume().await;
        server
    }

    /// Where the database is.
    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// Ends it on the spot, as a lost machine does; what it has committed stands in its folder.
    pub(crate) async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let id = child.id().expect("it runs").to_string();
        let told = Command::new("sh").args(["-c", "kill -QUIT \"$1\"", "sh", &id]).status().await.unwrap();
        assert!(told.success());
        soon("the end of PostgreSQL", child.wait()).await.unwrap();
    }

    /// Starts it again at the same address and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let mut command = as_user("postgres");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-c", "fsync=off", "-k"]);
        command.arg(self.folder.path()).arg("-D").arg(self.data());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        self.child = Some(command.spawn().unwrap());
        let url = self.url();
        within(PATIENCE, "PostgreSQL answers", async || AsyncPgConnection::establish(&url).await.is_ok()).await;
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// A way to a server that can be cut off: then nothing passes, and nobody is told.
pub(crate) struct Wire {
    port: u16,
    is_cut: watch::Sender<bool>,
    _carrying: JoinSet<()>,
}

impl Wire {
    /// A way to this server.
    pub(crate) async fn to(server: &PostgresServer) -> Self {
        let (is_cut, cut) = watch::channel(false);
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, target) = (listener.local_addr().unwrap().port(), server.port);
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                lines.spawn(carry(near_in, far_out, cut.clone()));
                lines.spawn(carry(far_in, near_out, cut.clone()));
            }
        });
        Self { port, is_cut, _carrying: carrying }
    }

    /// Where the database is, by this way.
    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// Cuts it off, or joins it again.
    pub(crate) fn set_cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

/// Carries bytes one way, but for the times in which nothing passes.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if cut.wait_for(|is_cut| !is_cut).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

fn url(port: u16) -> String {
    format!("postgres://colloquy@127.0.0.1:{port}/postgres")
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A program of PostgreSQL's, which refuses to be run by root.
fn as_user(program: &str) -> Command {
    let program = folder_of_programs().join(program);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(program);
    command
}

/// Where Debian keeps the programs of the latest version; elsewhere they are found by their names.
fn folder_of_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let latest =
        versions.max_by_key(|version| version.file_name().to_string_lossy().parse::<u32>().unwrap_or_default());
    latest.map_or_else(|| Path::new("").to_owned(), |version| version.path().join("bin"))
}
