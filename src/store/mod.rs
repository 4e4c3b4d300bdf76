//! What must last: SQL, and nothing but SQL. One [`Store`] over the pools of a database; its queries stand by noun.

mod context;
mod conversation;
mod history;
mod key;
mod member;
mod message;
mod opening;
mod page;
mod path;
mod run;
mod schema;
mod search;
mod session;
mod tool_call;
mod turn;
mod types;
mod usage;
mod user;

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use diesel::{ConnectionError, SqliteConnection, result::Error as DieselError};
use diesel_async::{
    AsyncConnection as _, AsyncMigrationHarness, SimpleAsyncConnection as _,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig,
        bb8::{Pool, RunError},
    },
    sync_connection_wrapper::SyncConnectionWrapper,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

pub(crate) use self::session::Rotation;
use crate::error::{Error, Result};

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// How long a query waits for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read; SQLite's readers wait for nobody.
const SQLITE_READERS: u32 = 4;

type Sqlite = SyncConnectionWrapper<SqliteConnection>;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
}

/// The connections, by database.
#[derive(Clone, Debug)]
enum Pools {
    /// One connection writes, so that writers queue here and never meet a locked database.
    Sqlite { readers: Pool<Sqlite>, writer: Pool<Sqlite> },
}

/// Runs a query body on a connection that reads; the body is expanded once per database.
macro_rules! read {
    ($store:expr, |$connection:ident| $body:expr) => {
        match &$store.pools {
            $crate::store::Pools::Sqlite { readers, .. } => {
                let mut guard = readers.get().await?;
                let $connection = &mut *guard;
                $body
            }
        }
    };
}

/// Runs a query body whose statements all see the database in the same state; the body is expanded once per database.
macro_rules! snapshot {
    ($store:expr, |$connection:ident| $body:expr) => {{
        let result: $crate::error::Result<_> = match &$store.pools {
            $crate::store::Pools::Sqlite { readers, .. } => {
                let mut guard = readers.get().await?;
                ::diesel_async::AsyncConnection::transaction(&mut *guard, async |$connection| $body).await
            }
        };
        result
    }};
}

/// Runs one writing statement; the body is expanded once per database.
macro_rules! write {
    ($store:expr, |$connection:ident| $body:expr) => {
        match &$store.pools {
            $crate::store::Pools::Sqlite { writer, .. } => {
                let mut guard = writer.get().await?;
                let $connection = &mut *guard;
                $body
            }
        }
    };
}

/// Runs a body in a named transaction that holds the right to write from its start; the body is expanded once per
/// database and rolled back when it returns an error.
macro_rules! transaction {
    ($store:expr, $name:literal, |$connection:ident| $body:expr) => {{
        let begun = ::tokio::time::Instant::now();
        let result: $crate::error::Result<_> = match &$store.pools {
            $crate::store::Pools::Sqlite { writer, .. } => {
                let mut guard = writer.get().await?;
                guard.immediate_transaction(async |$connection| $body).await
            }
        };
        let outcome = if result.is_ok() { "committed" } else { "rolled_back" };
        ::metrics::histogram!("colloquy_store_transaction_seconds", "name" => $name, "outcome" => outcome)
            .record(begun.elapsed().as_secs_f64());
        result
    }};
}

use {read, snapshot, transaction, write};

pub(crate) use opening::Opening;
pub(crate) use run::{Chunk, Outcome};
pub(crate) use turn::{NewReply, NewTurn, Place, Turn};

impl Store {
    /// Opens the SQLite database in this file, makes it when it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database, and when a migration fails.
    pub async fn open_sqlite(file: &Path) -> anyhow::Result<Self> {
        let writer = sqlite_pool(file, 1).await?;
        let mut harness = AsyncMigrationHarness::new(writer.get_owned().await?);
        harness
            .run_pending_migrations(SQLITE_MIGRATIONS)
            .map_err(|error| anyhow::anyhow!("migration failed: {error}"))?;
        drop(harness);
        let readers = sqlite_pool(file, SQLITE_READERS).await?;
        Ok(Self { pools: Pools::Sqlite { readers, writer } })
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<()> {
        read!(self, |connection| connection.batch_execute("SELECT 1").await?);
        Ok(())
    }
}

async fn sqlite_pool(file: &Path, size: u32) -> anyhow::Result<Pool<Sqlite>> {
    const SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                         PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;";
    let file = file.to_str().context("the path of the database is not UTF-8")?;
    let mut config = ManagerConfig::<Sqlite>::default();
    config.custom_setup = Box::new(|url| {
        let url = url.to_owned();
        Box::pin(async move {
            let mut connection = Sqlite::establish(&url).await?;
            connection.batch_execute(SETUP).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        })
    });
    let manager = AsyncDieselConnectionManager::<Sqlite>::new_with_config(file, config);
    // A file does not go away as a server does: no question before each use.
    let builder = Pool::builder().max_size(size).connection_timeout(CONNECTION_TIMEOUT).test_on_check_out(false);
    Ok(builder.build(manager).await?)
}

impl From<RunError> for Error {
    fn from(source: RunError) -> Self {
        Self::Unavailable { part: "store", source: source.into() }
    }
}

impl From<DieselError> for Error {
    fn from(source: DieselError) -> Self {
        Self::Internal(source.into())
    }
}
