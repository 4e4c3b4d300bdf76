//! Many nodes, each a process of its own, on one PostgreSQL and one Redis server.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use super::{Data, PostgresServer, Process, RedisServer};

/// What the nodes share, and where each of them is.
pub(crate) struct Cluster {
    /// The Redis server, of the test's own: it may be stopped.
    pub(crate) redis: RedisServer,
    data: Data,
    cores: Vec<TcpSocket>,
    bridges: Vec<TcpSocket>,
    /// The PostgreSQL server, unless the tests were given one.
    _postgres: Option<PostgresServer>,
}

impl Cluster {
    /// Starts the servers, and finds an address for each node.
    pub(crate) async fn of(cores: usize, bridges: usize) -> Self {
        let (data, postgres) = match std::env::var("COLLOQUY_TEST_DATABASE_URL") {
            Ok(server) => (Data::on(&server).await, None),
            Err(_) => {
                let postgres = PostgresServer::start().await;
                (Data::on(&postgres.url()).await, Some(postgres))
            }
        };
        let held = |count| (0..count).map(|_| hold()).collect();
        Self {
            redis: RedisServer::start().await,
            data,
            cores: held(cores),
            bridges: held(bridges),
            _postgres: postgres,
        }
    }

    /// Starts a core, at its address.
    pub(crate) async fn core(&self, number: usize, settings: &[(&str, &str)]) -> Process {
        let (address, redis) = (address(&self.cores[number]).to_string(), self.redis.url());
        let own = [("grpc_addr", &*address), ("redis_url", &*redis)];
        Process::core(&self.data.beside(), &[&own, settings].concat()).await
    }

    /// Starts a bridge in front of all cores, at its address.
    pub(crate) async fn bridge(&self, number: usize) -> Process {
        let cores: Vec<_> = self.cores.iter().map(address).collect();
        Process::bridge(&cores, &[("http_addr", &address(&self.bridges[number]).to_string())]).await
    }

    /// Starts a core and a bridge in one process.
    pub(crate) async fn node(&self, settings: &[(&str, &str)]) -> Process {
        let redis = self.redis.url();
        Process::start(&self.data.beside(), &[&[("redis_url", &*redis)], settings].concat()).await
    }
}

/// Holds a port, so that nobody else gets it while a node restarts; a node can listen on it nevertheless.
fn hold() -> TcpSocket {
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    held
}

fn address(held: &TcpSocket) -> SocketAddr {
    held.local_addr().unwrap()
}
