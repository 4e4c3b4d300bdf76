//! How the bodies of queries get their connections: each body is written once and expanded once per database.

use diesel_async::{AsyncConnection, TransactionManager as _};

use crate::error::Result;

/// Runs a query body on a connection of the kind that is named for SQLite.
macro_rules! connected {
    ($store:expr, $kind:ident, |$connection:ident| $body:expr) => {
        match &$store.pools {
            $crate::store::Pools::Sqlite { $kind, .. } => {
                let mut guard = $kind.get().await?;
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

/// Runs a query body on a connection that reads.
macro_rules! read {
    ($store:expr, |$connection:ident| $body:expr) => {
        $crate::store::connection::connected!($store, readers, |$connection| $body)
    };
}

/// Runs one writing statement.
macro_rules! write {
    ($store:expr, |$connection:ident| $body:expr) => {
        $crate::store::connection::connected!($store, writer, |$connection| $body)
    };
}

/// Runs a query body whose statements all see the database in the same state.
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
                $crate::store::connection::end($connection, result).await
            }
        };
        result
    }};
}

/// Runs a body in a named transaction, which is rolled back when the body returns an error.
///
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
                    let result = $crate::store::connection::end($connection, result).await;
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

pub(super) use {connected, read, snapshot, transaction, write};

/// Ends a transaction as its body ended: committed or rolled back.
pub(super) async fn end<C: AsyncConnection, T>(connection: &mut C, result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => C::TransactionManager::commit_transaction(connection).await.map(|()| value).map_err(Into::into),
        Err(error) => {
            // What went wrong first is what the caller shall know; a connection that cannot roll back is thrown away.
            if let Err(error) = C::TransactionManager::rollback_transaction(connection).await {
                tracing::warn!(%error, "cannot roll back");
            }
            Err(error)
        }
    }
}
