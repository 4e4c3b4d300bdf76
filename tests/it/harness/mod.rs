//! A server in this process, as `colloquy serve` starts it, and those who call it.

mod actor;
mod events;
mod process;
mod redis;
mod refusal;
mod rpc;
mod socket;
pub(crate) mod upstream;
mod viewer;

use std::{collections::BTreeMap, future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use colloquy::{
    cli::serve,
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
    redis::RedisServer,
    refusal::{reason, retry_after, violations},
    rpc::Rpc,
    socket::Socket,
    viewer::{Transport, Viewer},
};

const BRIDGE_KEY: &str = "the key of the tests' own bridge";
/// Where a node's configuration file is, in its data folder.
const CONFIG_FILE: &str = "colloquy.toml";
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
    grpc: Channel,
    grpc_address: SocketAddr,
    http: SocketAddr,
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

    /// A node of another process.
    fn elsewhere(grpc: SocketAddr, http: SocketAddr) -> Self {
        let (folders, lifecycle) = Default::default();
        Self(Arc::new(Node {
            folders,
            lifecycle,
            grpc: channel(grpc),
            grpc_address: grpc,
            http,
            client: reqwest::Client::new(),
        }))
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
        let settings = Self::settings(&folders, settings).unwrap();
        let lifecycle = Lifecycle::default();
        let addresses = serve::start(&settings, None, &lifecycle).await.unwrap();
        let (grpc_address, http) = (addresses.grpc.unwrap(), addresses.http.unwrap());
        let (grpc, client) = (channel(grpc_address), reqwest::Client::new());
        Self(Arc::new(Node { folders, lifecycle, grpc, grpc_address, http, client }))
    }

    fn settings(folders: &[Arc<TempDir>], settings: &[(&str, &str)]) -> Result<Settings, SettingError> {
        let file = Some(folders[0].path().join(CONFIG_FILE)).filter(|file| file.exists());
        let folder = folders[0].path().to_str().unwrap();
        // With `REDIS_URL` all tests run on that server: nodes of one database share a prefix, others do not.
        let prefix = folders.last().unwrap().path().to_str().unwrap();
        let own = [
            ("data_dir", folder),
            ("redis_prefix", prefix),
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
        self.0.http
    }

    /// Where gRPC answers.
    pub(crate) fn grpc(&self) -> Channel {
        self.0.grpc.clone()
    }

    /// Where gRPC answers, as an address.
    pub(crate) fn grpc_address(&self) -> SocketAddr {
        self.0.grpc_address
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

    fn database_file(&self) -> PathBuf {
        self.0.folders.last().unwrap().path().join("colloquy.db")
    }

    fn database(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(self.database_file().to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").unwrap();
        connection
    }
}

fn channel(grpc: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{grpc}")).unwrap().tcp_nodelay(true).connect_lazy()
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
