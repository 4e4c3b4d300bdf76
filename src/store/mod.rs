//! What must last: SQL, and nothing but SQL. One [`Store`] over the pools of a database; its queries stand by noun.

mod chunk;
mod context;
mod conversation;
mod database;
mod fault;
mod history;
mod key;
mod member;
mod message;
mod migration;
mod opening;
mod page;
mod path;
mod postgres;
mod row;
mod run;
mod schema;
mod search;
mod session;
mod sqlite;
mod tool_call;
mod turn;
mod types;
mod usage;
mod user;

use std::time::Duration;

use diesel::result::Error as DieselError;
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::bb8::{Pool, RunError},
};

use self::sqlite::Sqlite;
use crate::error::{Error, Result};

/// How long a query waits for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Connections to a server, which orders what they do.
    Postgres(Pool<AsyncPgConnection>),
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
            $crate::store::Pools::Postgres(pool) => {
                let mut guard = pool.get().await?;
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
                $crate::store::sqlite::transaction(&mut guard, "BEGIN", async |$connection| $body)
            }
            $crate::store::Pools::Postgres(pool) => {
                let mut guard = pool.get().await?;
                let $connection = &mut *guard;
                $crate::store::postgres::begin($connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                let result: $crate::error::Result<_> = async { $body }.await;
                $crate::store::postgres::end($connection, result).await
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
            $crate::store::Pools::Postgres(pool) => {
                let mut guard = pool.get().await?;
                let $connection = &mut *guard;
                $body
            }
        }
    };
}

/// Runs a body in a named transaction; the body is expanded once per database and rolled back when it returns an error.
/// Others write at the same time on PostgreSQL, and what a statement finds is what was committed when it began: a body
/// that decides by what it reads first changes the row that all who decide so change. SQLite has one writer.
macro_rules! transaction {
    ($store:expr, $name:literal, |$connection:ident| $body:expr) => {{
        let begun = ::tokio::time::Instant::now();
        let result: $crate::error::Result<_> = match &$store.pools {
            $crate::store::Pools::Sqlite { writer, .. } => {
                let mut guard = writer.get().await?;
                $crate::store::sqlite::transaction(&mut guard, "BEGIN IMMEDIATE", async |$connection| $body)
            }
            $crate::store::Pools::Postgres(pool) => {
                let mut tries = $crate::store::postgres::Tries::of($name);
                loop {
                    let mut guard = pool.get().await?;
                    let $connection = &mut *guard;
                    $crate::store::postgres::begin($connection, "BEGIN").await?;
                    let result: $crate::error::Result<_> = async { $body }.await;
                    let result = $crate::store::postgres::end($connection, result).await;
                    drop(guard);
                    if !tries.again(&result).await {
                        break result;
                    }
                }
            }
        };
        let outcome = if result.is_ok() { "committed" } else { "rolled_back" };
        ::metrics::histogram!("colloquy_store_transaction_seconds", "name" => $name, "outcome" => outcome)
            .record(begun.elapsed().as_secs_f64());
        result
    }};
}

use {read, snapshot, transaction, write};

pub(crate) use chunk::Chunk;
pub use database::Database;
pub use migration::Refused;
pub(crate) use opening::Opening;
pub use row::Row;
pub(crate) use run::Outcome;
pub(crate) use session::Rotation;
pub(crate) use turn::{NewReply, NewTurn, Place, Turn};

impl Store {
    /// Answers when the database does.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<()> {
        read!(self, |connection| connection.batch_execute("SELECT 1").await?);
        Ok(())
    }
}

impl From<RunError> for Error {
    fn from(source: RunError) -> Self {
        Self::Unavailable { part: "store", source: source.into() }
    }
}

impl From<DieselError> for Error {
    fn from(source: DieselError) -> Self {
        if fault::is_passing(&source) {
            Self::Unavailable { part: "store", source: source.into() }
        } else {
            Self::Internal(source.into())
        }
    }
}
