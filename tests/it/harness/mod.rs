//! A server in this process, as `colloquy serve` starts it, and those who call it.

mod actor;
mod cluster;
mod collector;
mod data;
mod events;
mod http_server;
mod issuer;
mod native;
mod port;
mod postgres;
mod process;
mod proxy;
mod push;
mod redis;
mod refusal;
mod rpc;
pub(crate) mod secrets;
mod session;
mod socket;
mod tls;
pub(crate) mod upstream;
mod viewer;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use colloquy::{
    cli::serve::{self, Addresses},
    config::{SettingError, Settings},
    lifecycle::Lifecycle,
};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

pub(crate) use self::{
    actor::{Actor, PASSWORD, Service},
    cluster::Cluster,
    collector::{Collector, Span},
    data::Data,
    events::{Events, Happened},
    issuer::{AUDIENCE, ISSUER, Issuer, IssuerKey},
    native::Native,
    postgres::{PostgresServer, Wire},
    process::Process,
    proxy::Proxy,
    push::{Browser, Push, PushService},
    redis::RedisServer,
    refusal::{reason, retry_after, violations},
    rpc::Rpc,
    session::{Carrier, Frame, Session, Shown},
    socket::Socket,
    tls::{Authority, Issued, TlsClient},
    viewer::{Transport, Viewer},
};
use self::{process::LOG, secrets::Watch, upstream::Upstream};

const BRIDGE_KEY: &str = "the key of the tests' own bridge";
/// What nodes show scripted providers.
const PROVIDER_KEY: &str = "the key of the tests' own provider";
/// Where a node's configuration file is, in its data folder.
const CONFIG_FILE: &str = "colloquy.toml";
/// Bytes that a stream holds at most for a caller that does not read; as small as the bridge's.
const STREAM_WINDOW: u32 = 64 << 10;
/// Limits that tests other than those of limits would reach.
const WITHOUT_LIMITS: [(&str, &str); 9] = [
    ("max_connections", "1000000"),
    ("max_connections_per_user", "1000000"),
    ("max_connections_per_address", "1000000"),
    ("messages_per_second", "1000000"),
    ("messages_per_minute", "1000000"),
    ("messages_per_hour", "1000000"),
    ("messages_per_day", "1000000"),
    ("requests_per_second", "1000000"),
    ("requests_per_minute", "1000000"),
];
/// Settings by which a node has an admin from the start.
pub(crate) const ADMIN: [(&str, &str); 3] =
    [("admin_username", "root"), ("admin_email", "root@example.com"), ("admin_password", PASSWORD)];
/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A node with a data folder of its own.
#[derive(Clone)]
pub(crate) struct Server(Arc<Node>);

struct Node {
    data: Data,
    lifecycle: Lifecycle,
    addresses: Addresses,
    /// Where gRPC is served.
    channel: Option<Channel>,
    /// One for all: making a client reads the machine's certificates.
    client: reqwest::Client,
    /// Sees to it that nothing secret is logged.
    watch: Watch,
    /// How it is called, where that is over TLS.
    tls: Option<TlsClient>,
}

impl Server {
    /// A node with the default settings, but for a faster `echo`.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A node with these settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::open(Data::fresh().await, settings).await
    }

    /// A node whose conversations are answered by this provider, with these settings.
    pub(crate) async fn asking(upstream: &Upstream, settings: &[(&str, &str)]) -> Self {
        let url = upstream.url();
        let asking = upstream.settings(&url);
        Self::with(&asking.iter().chain(settings).copied().collect::<Vec<_>>()).await
    }

    /// A node with this configuration file, and with these settings.
    pub(crate) async fn configured(file: &str, settings: &[(&str, &str)]) -> Self {
        let data = Data::fresh().await;
        std::fs::write(data.folder().join(CONFIG_FILE), file).unwrap();
        Self::open(data, settings).await
    }

    /// A node of another process, or the part of one that is served there.
    fn elsewhere(data: Data, addresses: Addresses) -> Self {
        Self::at(addresses, data, Lifecycle::default(), Watch::begin())
    }

    fn at(addresses: Addresses, data: Data, lifecycle: Lifecycle, watch: Watch) -> Self {
        let (channel, client) = (addresses.grpc.map(channel), reqwest::Client::new());
        Self(Arc::new(Node { data, lifecycle, addresses, channel, client, tls: None, watch }))
    }

    /// The same node, called over TLS; it ends with the one that it is made of.
    pub(crate) fn over(&self, tls: &TlsClient) -> Self {
        let Node { data, addresses, .. } = &*self.0;
        Self(Arc::new(Node {
            data: data.clone(),
            lifecycle: Lifecycle::default(),
            addresses: *addresses,
            channel: addresses.grpc.map(|grpc| secured_channel(grpc, tls.clone())),
            client: tls.http(&["h2", "http/1.1"]),
            tls: Some(tls.clone()),
            watch: Watch::begin(),
        }))
    }

    /// Another node on the same database.
    pub(crate) async fn beside(&self, settings: &[(&str, &str)]) -> Self {
        Self::open(self.0.data.beside(), settings).await
    }

    /// Stops the node in order and starts it anew with these settings, on the same data.
    pub(crate) async fn restart(self, settings: &[(&str, &str)]) -> Self {
        self.stop().await;
        Self::open(self.0.data.clone(), settings).await
    }

    /// Stops the node in order.
    pub(crate) async fn stop(&self) {
        self.0.lifecycle.stop(PATIENCE, PATIENCE).await;
    }

    async fn open(data: Data, settings: &[(&str, &str)]) -> Self {
        let settings = Self::settings(&data, settings).unwrap();
        let (lifecycle, watch) = (Lifecycle::default(), Watch::begin());
        // On a task of its own: making the schema blocks its thread in a way that swallows what wakes the test's own task.
        let node = lifecycle.clone();
        let started = tokio::spawn(async move { serve::start(&settings, None, &node).await });
        let addresses = started.await.unwrap().unwrap();
        Self::at(addresses, data, lifecycle, watch)
    }

    fn settings(data: &Data, settings: &[(&str, &str)]) -> Result<Settings, SettingError> {
        let file = Some(data.folder().join(CONFIG_FILE)).filter(|file| file.exists());
        let kept = data.settings();
        let own = [
            ("grpc_addr", "127.0.0.1:0"),
            ("http_addr", "127.0.0.1:0"),
            ("bridge_key", BRIDGE_KEY),
            ("echo_interval", "0.001"),
        ];
        let kept = kept.iter().map(|(name, text)| (*name, text.as_str()));
        let flags = own.into_iter().chain(WITHOUT_LIMITS).chain(kept).chain(settings.iter().copied());
        Settings::load(file, &flags.map(|(name, text)| (name.to_owned(), text.to_owned())).collect::<Vec<_>>())
    }

    /// Where HTTP and WebSockets answer.
    pub(crate) fn http(&self) -> SocketAddr {
        self.0.addresses.http.expect("HTTP is served here")
    }

    /// Where what was counted is shown to everybody.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.0.addresses.metrics.expect("metrics are shown here")
    }

    /// Where gRPC answers.
    pub(crate) fn grpc(&self) -> Channel {
        self.0.channel.clone().expect("gRPC is served here")
    }

    /// Where gRPC answers, as an address.
    pub(crate) fn grpc_address(&self) -> SocketAddr {
        self.0.addresses.grpc.expect("gRPC is served here")
    }

    /// Where HTTP answers a path.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.0.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.http())
    }

    /// Where a WebSocket opens at a path.
    fn socket_url(&self, path: &str) -> String {
        let scheme = if self.0.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}{path}", self.http())
    }

    /// What speaks HTTP.
    fn client(&self) -> &reqwest::Client {
        &self.0.client
    }

    /// Somebody without an account, at an address of the documentation's.
    pub(crate) fn visitor(&self) -> Actor {
        Actor::new(self.clone())
    }

    /// The admin of [`ADMIN`], signed in.
    pub(crate) async fn admin(&self) -> Actor {
        self.visitor().login("root", PASSWORD).await.unwrap()
    }

    /// Somebody who has just registered and signed in.
    pub(crate) async fn register(&self, name: &str) -> Actor {
        let visitor = self.visitor();
        visitor.register(name).await.unwrap();
        visitor.login(name, PASSWORD).await.unwrap()
    }

    /// Alice, who owns a conversation, and Bob, who is a member of it.
    pub(crate) async fn alice_and_bob(&self) -> (Actor, Actor, String) {
        let (alice, bob) = (self.register("alice").await, self.register("bob").await);
        let conversation = alice.conversation().await;
        alice.add(&conversation, &bob, "member").await;
        (alice, bob, conversation)
    }

    /// What lasts of it.
    pub(crate) fn data(&self) -> &Data {
        &self.0.data
    }
}

fn channel(grpc: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
    endpoint.tcp_nodelay(true).initial_stream_window_size(STREAM_WINDOW).connect_lazy()
}

/// TLS as tonic's own would need a feature that nothing else does.
fn secured_channel(grpc: SocketAddr, tls: TlsClient) -> Channel {
    let connector = service_fn(move |_: http::Uri| {
        let tls = tls.clone();
        async move { tls.connect(grpc, &["h2"]).await.map(TokioIo::new) }
    });
    Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect_with_connector_lazy(connector)
}

impl Drop for Node {
    fn drop(&mut self) {
        self.lifecycle.stopping().cancel();
        self.lifecycle.stopped().cancel();
        let log = std::fs::read(self.data.folder().join(LOG)).unwrap_or_default();
        self.watch.end(&self.data.texts(), &log);
    }
}

/// Waits until the condition holds; fails after 5 s, the longest that a node may lag behind another.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(5), what, condition).await;
}

/// Waits until the condition holds, for so long at most: the one place where these tests ask again and again, for what
/// another process or another node does and nobody tells.
pub(crate) async fn within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let wait = async {
        while !condition().await {
            again.tick().await;
        }
    };
    assert!(tokio::time::timeout(limit, wait).await.is_ok(), "not within {limit:?}: {what}");
}

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
