//! PostgreSQL: a pool of connections to a server, transactions that are tried again when others were in the way.

use std::time::Duration;

use anyhow::Context as _;
use diesel::ConnectionError;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, bb8::Pool},
};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{
    CONNECTION_TIMEOUT, Pools, Store, fault,
    migration::{Refused, migrate},
    slow_reads,
};
use crate::error::Result;

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// A connection's settings: no statement, no wait for a lock and no forgotten transaction lasts for ever.
const SETUP: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
                     SET idle_in_transaction_session_timeout = '30s'; SET client_min_messages = 'warning'";
/// A lock of this program's own, by a number that nobody else uses: `colloquy` in ASCII.
const LOCK: &str = "SELECT pg_advisory_lock(7165064745151722873)";
/// How often a transaction is tried that others are in the way of.
const TRIES: u32 = 8;
/// The longest pause after the first failed try; it doubles.
const PAUSE: Duration = Duration::from_millis(10);

impl Store {
    /// Opens a PostgreSQL database with so many connections, and brings its schema up to date. Of several nodes that do so
    /// at once, one works and the others wait.
    ///
    /// # Errors
    /// [`Refused`] when the server answers and will not have this program, others when it does not answer.
    pub async fn open_postgres(url: &str, connections: u32) -> anyhow::Result<Self> {
        // A pool keeps trying and does not say why in vain: the first connection is made without one.
        let mut connection = connect(url).await?;
        connection.batch_execute(LOCK).await?;
        let mut harness = AsyncMigrationHarness::new(connection);
        // The lock goes with the connection.
        migrate(&mut harness, MIGRATIONS)?;
        Ok(Self { pools: Pools::Postgres(pool(url, connections).await?), slow_reads: slow_reads(connections) })
    }
}

/// Connects outside the pool.
pub(super) async fn connect(url: &str) -> anyhow::Result<AsyncPgConnection> {
    let connection = tokio::time::timeout(CONNECTION_TIMEOUT, AsyncPgConnection::establish(url)).await;
    connection.context("the server does not answer")?.map_err(refused)
}

fn refused(error: ConnectionError) -> anyhow::Error {
    match &error {
        ConnectionError::CouldntSetupConfiguration(source) if fault::is_passing(source) => error.into(),
        ConnectionError::CouldntSetupConfiguration(_) | ConnectionError::InvalidConnectionUrl(_) => {
            Refused(format!("leads to no database: {error}")).into()
        }
        _ => error.into(),
    }
}

async fn pool(url: &str, size: u32) -> anyhow::Result<Pool<AsyncPgConnection>> {
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    // A connection whose server went away knows it: no question before each use.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(|url| {
        let url = url.to_owned();
        Box::pin(async move {
            let mut connection = AsyncPgConnection::establish(&url).await?;
            connection.batch_execute(SETUP).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        })
    });
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config(url, config);
    Ok(Pool::builder().max_size(size).connection_timeout(CONNECTION_TIMEOUT).build(manager).await?)
}

/// Begins a transaction.
pub(super) async fn begin(connection: &mut AsyncPgConnection, how: &str) -> Result<()> {
    Ok(AnsiTransactionManager::begin_transaction_sql(connection, how).await?)
}

/// The tries of one transaction.
#[derive(Debug)]
pub(super) struct Tries {
    name: &'static str,
    left: u32,
    pause: Duration,
}

impl Tries {
    /// The first try of a transaction with this name is about to begin.
    pub(super) fn of(name: &'static str) -> Self {
        Self { name, left: TRIES - 1, pause: PAUSE }
    }

    /// Whether to try again after this result; waits before it says so.
    pub(super) async fn again<T>(&mut self, result: &Result<T>) -> bool {
        if self.left == 0 || !result.as_ref().is_err_and(fault::is_contention) {
            return false;
        }
        metrics::counter!("colloquy_store_transaction_retries_total", "name" => self.name).increment(1);
        tokio::time::sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
        self.left -= 1;
        self.pause *= 2;
        true
    }
}
