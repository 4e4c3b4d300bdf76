//! What must last: SQL, and nothing but SQL. One [`Store`] over the pools of a database; its queries stand by noun.

mod chunk;
mod connection;
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
mod steady;
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
