//! A Redis server of a test's own, which can be stopped, paused and started again, empty.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
    process::{Child, Command},
};

use super::{PATIENCE, port::port, soon, within};

/// A server that keeps nothing; killed when it is dropped.
pub(crate) struct RedisServer {
    folder: TempDir,
    address: SocketAddr,
    flags: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server that wants this password.
    pub(crate) async fn guarded(password: &str) -> Self {
        Self::with(&["--requirepass", password]).await
    }

    async fn with(flags: &[&str]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut server = Self { folder: tempfile::tempdir().unwrap(), address, flags, child: None };
        server.resume().await;
        server
    }

    /// Where it is, as the setting `redis_url` wants it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends it on the spot, with everything that it knew.
    pub(crate) async fn stop(&mut self) {
        self.child.take().expect("it runs").kill().await.unwrap();
    }

    /// Starts it again, empty, at the same address, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let port = self.address.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir"]);
        command.arg(self.folder.path()).args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        self.child = Some(command.spawn().expect("redis-server is installed"));
        within(PATIENCE, "Redis answers", async || self.is_there().await).await;
    }

    /// Lets it hang: it takes connections and commands, and answers nothing.
    pub(crate) async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on, with what it was told meanwhile.
    pub(crate) async fn unpause(&self) {
        self.signal("CONT").await;
    }

    /// Tells it a command; the first line of the answer is returned.
    pub(crate) async fn tell(&self, command: &str) -> String {
        let mut line = BufStream::new(TcpStream::connect(self.address).await.unwrap());
        line.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        line.flush().await.unwrap();
        let mut answer = String::new();
        soon("an answer", line.read_line(&mut answer)).await.unwrap();
        answer
    }

    /// The keys that nothing but a command removes, and those of who is there, where, and what nodes told, in order.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let script = "local kept = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
            if redis.call('PTTL', key) < 0 or key:find('{nodes}', 1, true) or key:find('{places}', 1, true) \
            or key:find('{reports}', 1, true) then table.insert(kept, key) end end \
            table.sort(kept) return {ok = table.concat(kept, ' ')}";
        let answer = self.tell(&format!("EVAL \"{script}\" 0")).await;
        let keys = answer.strip_prefix('+').unwrap_or_else(|| panic!("{answer}"));
        keys.split_whitespace().map(str::to_owned).collect()
    }

    async fn signal(&self, name: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs").to_string();
        let status = Command::new("sh").args(["-c", "kill -$1 $2", "sh", name, &id]).status().await.unwrap();
        assert!(status.success());
    }

    async fn is_there(&self) -> bool {
        let Ok(mut line) = TcpStream::connect(self.address).await else { return false };
        let mut answer = [0; 1];
        line.write_all(b"PING\r\n").await.is_ok() && line.read_exact(&mut answer).await.is_ok()
    }
}
