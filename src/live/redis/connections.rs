//! Connections of the pool: those from before a failure are not used again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8_redis::{RedisConnectionManager, bb8::ManageConnection};
use redis::{Client, RedisError, RedisResult, aio::MultiplexedConnection};

/// Makes connections, and knows which of them are from before the last failure.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    manager: RedisConnectionManager,
    timeout: Duration,
    generation: Arc<AtomicU64>,
}

/// A connection. Its line carries many calls at once, each answered in its turn.
pub(super) struct Connection {
    pub(super) line: MultiplexedConnection,
    generation: u64,
}

impl Connections {
    pub(super) fn to(client: &Client, timeout: Duration) -> RedisResult<Self> {
        let manager = RedisConnectionManager::new(client.get_connection_info().clone())?;
        Ok(Self { manager, timeout, generation: Arc::default() })
    }

    /// Gives up all connections that there are.
    pub(super) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

impl ManageConnection for Connections {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        let generation = self.generation();
        let mut line = self.manager.connect().await?;
        line.set_response_timeout(self.timeout);
        Ok(Connection { line, generation })
    }

    /// Asked each time that a connection is taken: no round trip to the server.
    async fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        if connection.generation == self.generation() {
            Ok(())
        } else {
            Err(RedisError::from((redis::ErrorKind::Io, "the connection is from before a failure")))
        }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.generation != self.generation()
    }
}
