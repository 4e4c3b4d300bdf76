//! The Redis server that nodes share: a pool of connections, a deadline for every call, and whether the server is there.

mod connections;
mod keys;

use std::{fmt, sync::Arc, time::Duration};

use bb8_redis::bb8::{Pool, RunError};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, RedisResult, ScriptInvocation,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use self::connections::Connections;
pub(super) use self::keys::Keys;
use crate::{
    error::{Error, Result},
    model::ids::NodeId,
};

/// Connections at most; each carries many calls at once.
const POOL_SIZE: u32 = 8;
/// Calls under way at once; further ones wait for their turn, so that a burst does not look like a server that is slow.
const TURNS: usize = 64;
/// How long a connection may be idle: what is between a node and the server may forget those that are for longer.
const IDLE: Duration = Duration::from_secs(60);

/// The server. Cheap to clone.
///
/// A call that fails means that the server is away: further calls fail at once, and the node goes on alone, until
/// the link has found the server again.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    connections: Connections,
    pool: Pool<Connections>,
    turns: Semaphore,
    keys: Keys,
    node: NodeId,
    timeout: Duration,
    is_up: watch::Sender<bool>,
}

/// The server is away: why was logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away;

impl Redis {
    /// Connects to the server at a URL; every key begins with the prefix. A call may take as long as the timeout once it has
    /// its turn, a new connection included; the connections that listen and ask for a sign of life may take twice as long.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL is none or the server refuses it, [`Error::Unavailable`] when the server does not
    /// answer.
    pub async fn open(url: &str, prefix: &str, timeout: Duration) -> Result<Self> {
        let client = Client::open(url).map_err(|error| Error::invalid("redis_url", error.to_string()))?;
        let connections = Connections::to(&client, timeout).map_err(unavailable)?;
        let pool = Pool::builder()
            .max_size(POOL_SIZE)
            .connection_timeout(timeout)
            .idle_timeout(Some(IDLE))
            .build_unchecked(connections.clone());
        let (node, keys, is_up) = (NodeId::generate(), Keys::new(prefix), watch::Sender::new(true));
        let turns = Semaphore::new(TURNS);
        let redis = Self(Arc::new(Inner { client, connections, pool, turns, keys, node, timeout, is_up }));
        redis.ping().await.map_err(refused)?;
        metrics::gauge!("colloquy_redis_up").set(1.0);
        Ok(redis)
    }

    /// Whether the server answered when it was asked last.
    pub fn is_up(&self) -> bool {
        *self.0.is_up.borrow()
    }

    /// Tells when the server comes or goes.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.0.is_up.subscribe()
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Names this node among those that share the server.
    pub(super) fn node(&self) -> NodeId {
        self.0.node
    }

    /// Sends a command, under a name for those who count.
    pub(super) async fn command<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, Away> {
        self.call(name, async |line: &mut MultiplexedConnection| command.query_async(line).await).await
    }

    /// Runs a script: one round trip, unless the server has not seen it yet.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        name: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Away> {
        self.call(name, async |line: &mut MultiplexedConnection| script.invoke_async(line).await).await
    }

    /// A connection that hears what is published.
    pub(super) async fn listen(&self) -> RedisResult<PubSub> {
        in_time(2 * self.0.timeout, self.0.client.get_async_pubsub()).await
    }

    /// Asks the server for a sign of life, on a connection of its own.
    pub(super) async fn ping(&self) -> RedisResult<()> {
        let ping = async {
            // The crate's own limits are half a second and one: it is the setting that counts.
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            let mut line = self.0.client.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").query_async(&mut line).await
        };
        in_time(2 * self.0.timeout, ping).await
    }

    /// How long the server takes to answer; `None` when it does not.
    pub async fn latency(&self) -> Option<Duration> {
        let asked = Instant::now();
        let answer: Result<String, Away> = self.command("ping", &redis::cmd("PING")).await;
        answer.ok().map(|_| asked.elapsed())
    }

    /// The server was found again.
    pub(super) fn found(&self) {
        if !self.0.is_up.send_replace(true) {
            tracing::info!("redis answers again");
        }
        metrics::gauge!("colloquy_redis_up").set(1.0);
    }

    /// The server does not answer as it should.
    pub(super) fn lost(&self, name: &'static str, error: &RedisError) {
        metrics::counter!("colloquy_redis_failures_total", "call" => name).increment(1);
        if self.0.is_up.send_replace(false) {
            self.0.connections.renew();
            tracing::warn!(
                redis.call = name,
                %error,
                "redis does not answer: events, limits and tickets go on on this node alone"
            );
        }
        metrics::gauge!("colloquy_redis_up").set(0.0);
    }

    async fn call<T: FromRedisValue>(
        &self,
        name: &'static str,
        act: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Away> {
        // Nobody closes the turns. Those who wait for one have it when the calls before are answered, or are too late.
        let _turn = self.0.turns.acquire().await.map_err(|_| Away)?;
        if !self.is_up() {
            return Err(Away);
        }
        let started = Instant::now();
        let call = async {
            let connection = self.0.pool.get().await.map_err(|error| match error {
                RunError::User(error) => error,
                RunError::TimedOut => late(),
            })?;
            let mut line = connection.line.clone();
            // Back at once: others need not wait for this call's answer.
            drop(connection);
            act(&mut line).await
        };
        let answer = in_time(self.0.timeout, call).await;
        metrics::histogram!("colloquy_redis_call_seconds", "call" => name).record(started.elapsed().as_secs_f64());
        answer.map_err(|error| {
            self.lost(name, &error);
            Away
        })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redis").field("is_up", &self.is_up()).finish_non_exhaustive()
    }
}

/// An answer in time, or the error that there was none.
pub(super) async fn in_time<T>(deadline: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(deadline, answer).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> RedisError {
    RedisError::from((redis::ErrorKind::Io, "no answer in time"))
}

/// Whether another URL is needed or only time: in words of our own, since the server's may quote what it was told.
fn refused(error: RedisError) -> Error {
    let is_credential = error.kind() == redis::ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    if is_credential {
        return Error::invalid("redis_url", "the server refuses this user name and password");
    }
    if error.to_string().contains("DB index is out of range") {
        return Error::invalid("redis_url", "the server has no database of this number");
    }
    unavailable(error)
}

/// In one line: what answers may be no Redis server, and the crate then says at length what it did not expect.
fn unavailable(error: RedisError) -> Error {
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Error::Unavailable { part: "redis", source: anyhow::anyhow!("{}", lines.join(", ")) }
}
