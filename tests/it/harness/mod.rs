//! A server in this process, as `colloquy serve` starts it, and those who call it.

mod actor;
mod events;
mod process;
mod refusal;
mod rpc;
mod socket;
pub(crate) mod upstream;
mod viewer;

use std::{collections::BTreeMap, future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use colloquy::{
    cli::serve::{self, Addresses},
    config::{SettingError, Settings},
    lifecycle::Lifecycle,
};
use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _, sql_types::BigInt,
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use self::upstream::Upstream;
pub(crate) use self::{
    actor::{Actor, PASSWORD, Service},
    events::{Events, Happened},
    process::Process,
    refusal::{reason, retry_after, violations},
    rpc::Rpc,
    socket::Socket,
    viewer::{Transport, Viewer},
};

const BRIDGE_KEY: &str = "the key of the tests' own bridge";
/// Where a node's configuration file is, in its data folder.
const CONFIG_FILE: &str = "colloquy.toml";
/// Bytes that a stream holds at most for a caller that does not read; as small as the bridge's.
const STREAM_WINDOW: u32 = 64 << 10;
/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A table of the database.
#[derive(diesel::QueryableByName)]
struct Table {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

/// A node with a data folder of its own.
#[derive(Clone)]
pub(crate) struct Server(Arc<Node>);

struct Node {
    /// Keeps the node's data; those beside it keep it too.
    folders: Vec<Arc<TempDir>>,
    lifecycle: Lifecycle,
    addresses: Addresses,
    /// Where gRPC is served.
    channel: Option<Channel>,
    /// One for all: making a client reads the machine's certificates.
    client: reqwest::Client,
}

impl Server {
    /// A node with the default settings, but for a faster `echo`.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A node with these settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::open(vec![Arc::new(tempfile::tempdir().unwrap())], settings).await
    }

    /// A node whose conversations are answered by this provider, with these settings.
    pub(crate) async fn asking(upstream: &Upstream, settings: &[(&str, &str)]) -> Self {
        let url = upstream.url();
        let asking = upstream.settings(&url);
        Self::with(&asking.iter().chain(settings).copied().collect::<Vec<_>>()).await
    }

    /// A node with this configuration file, and with these settings.
    pub(crate) async fn configured(file: &str, settings: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join(CONFIG_FILE), file).unwrap();
        Self::open(vec![folder], settings).await
    }

    /// A node of another process, or the part of one that is served there.
    fn elsewhere(addresses: Addresses) -> Self {
        Self::at(addresses, Vec::new(), Lifecycle::default())
    }

    fn at(addresses: Addresses, folders: Vec<Arc<TempDir>>, lifecycle: Lifecycle) -> Self {
        let (channel, client) = (addresses.grpc.map(channel), reqwest::Client::new());
        Self(Arc::new(Node { folders, lifecycle, addresses, channel, client }))
    }

    /// Another node on the same database.
    pub(crate) async fn beside(&self, settings: &[(&str, &str)]) -> Self {
        let database = format!("sqlite:{}", self.database_file().display());
        let mut folders = vec![Arc::new(tempfile::tempdir().unwrap())];
        folders.extend_from_slice(&self.0.folders);
        let settings: Vec<_> = settings.iter().copied().chain([("database_url", database.as_str())]).collect();
        Self::open(folders, &settings).await
    }

    /// Stops the node in order and starts it anew with these settings, on the same data.
    pub(crate) async fn restart(self, settings: &[(&str, &str)]) -> Self {
        self.stop().await;
        Self::open(self.0.folders.clone(), settings).await
    }

    /// Stops the node in order.
    pub(crate) async fn stop(&self) {
        self.0.lifecycle.stop(PATIENCE, PATIENCE).await;
    }

    async fn open(folders: Vec<Arc<TempDir>>, settings: &[(&str, &str)]) -> Self {
        let settings = Self::settings(&folders[0], settings).unwrap();
        let lifecycle = Lifecycle::default();
        // On a task of its own: making the schema blocks its thread in a way that swallows what wakes the test's own task.
        let node = lifecycle.clone();
        let started = tokio::spawn(async move { serve::start(&settings, None, &node).await });
        let addresses = started.await.unwrap().unwrap();
        Self::at(addresses, folders, lifecycle)
    }

    fn settings(folder: &TempDir, settings: &[(&str, &str)]) -> Result<Settings, SettingError> {
        let file = Some(folder.path().join(CONFIG_FILE)).filter(|file| file.exists());
        let folder = folder.path().to_str().unwrap();
        let own = [
            ("data_dir", folder),
            ("grpc_addr", "127.0.0.1:0"),
            ("http_addr", "127.0.0.1:0"),
            ("bridge_key", BRIDGE_KEY),
            ("echo_interval", "0.001"),
        ];
        let flags = own.iter().chain(settings).map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Settings::load(file, &flags.collect::<Vec<_>>())
    }

    /// Where HTTP and WebSockets answer.
    pub(crate) fn http(&self) -> SocketAddr {
        self.0.addresses.http.expect("HTTP is served here")
    }

    /// Where gRPC answers.
    pub(crate) fn grpc(&self) -> Channel {
        self.0.channel.clone().expect("gRPC is served here")
    }

    /// Where gRPC answers, as an address.
    pub(crate) fn grpc_address(&self) -> SocketAddr {
        self.0.addresses.grpc.expect("gRPC is served here")
    }

    /// What speaks HTTP.
    fn client(&self) -> &reqwest::Client {
        &self.0.client
    }

    /// Somebody without an account, at an address of the documentation's.
    pub(crate) fn visitor(&self) -> Actor {
        Actor::new(self.clone())
    }

    /// Somebody who has just registered and signed in.
    pub(crate) async fn register(&self, name: &str) -> Actor {
        let visitor = self.visitor();
        visitor.register(name).await.unwrap();
        visitor.login(name, PASSWORD).await.unwrap()
    }

    /// Does to the database what no RPC does.
    pub(crate) fn sql(&self, statements: &str) {
        self.database().batch_execute(statements).unwrap();
    }

    /// Asks the database for a number.
    pub(crate) fn number(&self, query: &str) -> i64 {
        diesel::select(diesel::dsl::sql::<BigInt>(query)).get_result(&mut self.database()).unwrap()
    }

    /// How many rows each table of the database has.
    pub(crate) fn rows(&self) -> BTreeMap<String, i64> {
        let mut database = self.database();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let tables: Vec<Table> = diesel::sql_query(tables).load(&mut database).unwrap();
        let count = |Table { name }| {
            let count = diesel::dsl::sql::<BigInt>(&format!("(SELECT count(*) FROM \"{name}\")"));
            (name, diesel::select(count).get_result(&mut database).unwrap())
        };
        tables.into_iter().map(count).collect()
    }

    /// Where the database is.
    pub(crate) fn database_file(&self) -> PathBuf {
        self.0.folders.last().unwrap().path().join("colloquy.db")
    }

    fn database(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(self.database_file().to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").unwrap();
        connection
    }
}

fn channel(grpc: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
    endpoint.tcp_nodelay(true).initial_stream_window_size(STREAM_WINDOW).connect_lazy()
}

impl Drop for Node {
    fn drop(&mut self) {
        self.lifecycle.stopping().cancel();
        self.lifecycle.stopped().cancel();
    }
}

/// Waits until the condition holds; fails after 5 s, the longest that a node may lag behind another.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), wait).await.is_ok(), "not within 5 s: {what}");
}

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
