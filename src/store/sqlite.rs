//! SQLite: one file, one connection that writes, several that read, and a write-ahead log that is kept short beside them.

use std::{error::Error as StdError, fs::File, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::Context as _;
use diesel::{
    ConnectionError, ConnectionResult, QueryableByName, SqliteConnection, connection::AnsiTransactionManager,
    sql_types::BigInt,
};
use diesel_async::{
    AsyncConnection as _, AsyncMigrationHarness, RunQueryDsl as _, SimpleAsyncConnection as _,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, bb8::Pool},
    sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper},
};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::task::block_in_place;

use super::{CONNECTION_TIMEOUT, Pools, Store, connection::end, migration::migrate, slow_reads};
use crate::error::{Error, Result};

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
/// Connections that read; SQLite's readers wait for nobody.
const READERS: u32 = 4;
/// A connection's settings. What SQLite would do by itself every thousand pages, within the commit that wrote the last of
/// them, [`Store::checkpoint`] does beside the writer: such a commit took ten times as long as its neighbours.
const SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                     PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;";
/// Who may read and write a database that is made here: it holds the keys that sign tokens.
const OWNER_ONLY: u32 = 0o600;
/// Pages from which on the write-ahead log shall begin anew: 64 MiB.
const LONG_LOG: i64 = 16_384;

/// A connection to SQLite.
pub(super) type Sqlite = SyncConnectionWrapper<SqliteConnection, InPlace>;

/// Runs SQLite on the thread that asks, which tokio relieves of its other tasks meanwhile. A statement takes some ten
/// microseconds, and handing it to another thread and back took several times that.
#[derive(Debug)]
pub(super) struct InPlace;

impl SpawnBlocking for InPlace {
    fn spawn_blocking<'a, R>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, std::result::Result<R, Box<dyn StdError + Send + Sync>>>
    where
        R: Send + 'static,
    {
        Box::pin(async move { Ok(block_in_place(task)) })
    }

    fn get_runtime() -> Self {
        Self
    }
}

/// Runs a transaction in one place, from how it begins to its end: nothing but SQLite is awaited in it, and SQLite never
/// waits.
pub(super) fn transaction<T>(
    connection: &mut Sqlite,
    begin: &'static str,
    body: impl AsyncFnOnce(&mut Sqlite) -> Result<T>,
) -> Result<T> {
    let whole = async {
        connection
            .spawn_blocking(move |connection| AnsiTransactionManager::begin_transaction_sql(connection, begin))
            .await?;
        let result = body(connection).await;
        end(connection, result).await
    };
    let waited = || Err(Error::internal(anyhow::anyhow!("a transaction on SQLite waited for something else")));
    block_in_place(|| whole.now_or_never()).unwrap_or_else(waited)
}

/// What a checkpoint found (SQLite, `PRAGMA wal_checkpoint`).
#[derive(Debug, QueryableByName)]
struct Checkpoint {
    /// Pages in the write-ahead log.
    #[diesel(sql_type = BigInt)]
    log: i64,
}

impl Store {
    /// Opens the SQLite database in this file, makes it when it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database, and when a migration fails.
    pub async fn open_sqlite(file: &Path) -> anyhow::Result<Self> {
        // SQLite would let everybody read what it makes; to the files beside it, it gives the rights of the first.
        File::options().create(true).append(true).mode(OWNER_ONLY).open(file)?;
        let writer = pool(file, 1).await?;
        let mut harness = AsyncMigrationHarness::new(writer.get_owned().await?);
        migrate(&mut harness, MIGRATIONS)?;
        drop(harness);
        let readers = pool(file, READERS).await?;
        Ok(Self { pools: Pools::Sqlite { readers, writer }, slow_reads: slow_reads(READERS) })
    }

    /// Moves what was written from SQLite's write-ahead log into the database, while others read and write. To be called
    /// every second or so; other databases need nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection is free.
    pub async fn checkpoint(&self) -> Result<()> {
        let Pools::Sqlite { readers, writer } = &self.pools else { return Ok(()) };
        let moved = checkpoint(&mut *readers.get().await?).await?;
        if moved.log > LONG_LOG {
            // The log begins anew with the first write that finds all of it moved; somebody who always writes is always a
            // little ahead. While the writer is held here nobody is, and what is left to move is little.
            checkpoint(&mut *writer.get().await?).await?;
        }
        metrics::gauge!("colloquy_store_wal_pages").set(moved.log as f64);
        Ok(())
    }
}

async fn checkpoint(connection: &mut Sqlite) -> Result<Checkpoint> {
    Ok(diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection).await?)
}

async fn pool(file: &Path, size: u32) -> anyhow::Result<Pool<Sqlite>> {
    let file = file.to_str().context("the path of the database is not UTF-8")?;
    let mut config = ManagerConfig::<Sqlite>::default();
    config.custom_setup = Box::new(|url| {
        let url = url.to_owned();
        Box::pin(async move { establish(&url).await })
    });
    let manager = AsyncDieselConnectionManager::<Sqlite>::new_with_config(file, config);
    // A file does not go away as a server does: no question before each use.
    let builder = Pool::builder().max_size(size).connection_timeout(CONNECTION_TIMEOUT).test_on_check_out(false);
    Ok(builder.build(manager).await?)
}

/// Connects outside the pools.
pub(super) async fn connect(file: &Path) -> anyhow::Result<Sqlite> {
    Ok(establish(file.to_str().context("the path of the database is not UTF-8")?).await?)
}

async fn establish(file: &str) -> ConnectionResult<Sqlite> {
    let mut connection = Sqlite::establish(file).await?;
    connection.batch_execute(SETUP).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}
