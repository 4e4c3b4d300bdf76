//! What must last: SQL, and nothing but SQL. One [`Store`] over the pools of a database; its queries stand by noun.

mod admin;
mod audit;
mod chunk;
mod connection;
mod context;
mod conversation;
mod counts;
mod database;
mod delivery;
mod fault;
mod history;
mod key;
mod member;
mod message;
mod migration;
mod notification;
mod opening;
mod outside_user;
mod page;
mod path;
mod postgres;
mod presence;
mod push;
mod row;
mod run;
mod schema;
mod search;
mod service_account;
mod session;
mod sqlite;
mod standing;
mod steady;
mod tool_call;
mod turn;
mod types;
mod usage;
mod user;

use std::{sync::Arc, time::Duration};

use diesel::result::Error as DieselError;
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::bb8::{Pool, RunError},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::{
    connection::{read, snapshot, transaction, write},
    sqlite::Sqlite,
};
use crate::error::{Error, Result};

/// How long a query waits for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    /// Turns at reading much, of which there are fewer than connections.
    slow_reads: Arc<Semaphore>,
}

/// The connections, by database.
#[derive(Clone, Debug)]
enum Pools {
    /// One connection writes, so that writers queue here and never meet a locked database.
    Sqlite { readers: Pool<Sqlite>, writer: Pool<Sqlite> },
    /// Connections to a server, which orders what they do.
    Postgres(Pool<AsyncPgConnection>),
}

pub(crate) use chunk::Chunk;
pub use database::Database;
pub(crate) use delivery::{Delivered, Markers, Receipt};
pub use migration::Refused;
pub(crate) use notification::Listed;
pub(crate) use opening::Opening;
pub use row::Row;
pub(crate) use run::Outcome;
pub(crate) use session::Rotation;
pub(crate) use turn::{NewReply, NewTurn, Place, Turn};
pub(crate) use user::Departure;

impl Store {
    /// Answers when the database does.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<()> {
        read!(self, |connection| connection.batch_execute("SELECT 1").await?);
        Ok(())
    }

    /// Whether the database is a part of this process.
    pub fn is_embedded(&self) -> bool {
        matches!(self.pools, Pools::Sqlite { .. })
    }

    /// A turn at reading much, such as a search or an export: these take a quarter of the connections at most, so that
    /// leases are renewed and messages written whatever is being read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many others wait for theirs.
    pub(crate) async fn slow_read(&self) -> Result<SemaphorePermit<'_>> {
        let busy = |source: anyhow::Error| Error::Unavailable { part: "store", source };
        let turn = tokio::time::timeout(CONNECTION_TIMEOUT, self.slow_reads.acquire()).await;
        turn.map_err(|late| busy(late.into()))?.map_err(|closed| busy(closed.into()))
    }
}

/// Turns at reading much, for so many connections.
fn slow_reads(connections: u32) -> Arc<Semaphore> {
    let turns = usize::try_from(connections / 4).unwrap_or(usize::MAX);
    Arc::new(Semaphore::new(turns.clamp(1, Semaphore::MAX_PERMITS)))
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
