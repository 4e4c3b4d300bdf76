//! Keys that sign access tokens.

use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};

use super::{Pools, Store, read, schema::signing_keys, transaction};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        ids::KeyId,
        key::{SigningAlgorithm, SigningKey},
    },
};

/// A key's row.
#[derive(Queryable, Selectable)]
#[diesel(table_name = signing_keys)]
struct KeyRow {
    id: KeyId,
    algorithm: SigningAlgorithm,
    private_key: Vec<u8>,
    created_at: Timestamp,
}

impl From<KeyRow> for SigningKey {
    fn from(row: KeyRow) -> Self {
        Self { id: row.id, algorithm: row.algorithm, private_key: row.private_key, created_at: row.created_at }
    }
}

impl Store {
    /// Every key that is kept, newest first.
    pub(crate) async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        let rows: Vec<KeyRow> = read!(self, |connection| {
            signing_keys::table
                .order((signing_keys::created_at.desc(), signing_keys::id.desc()))
                .select(KeyRow::as_select())
                .load(connection)
                .await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Keeps a new key unless there is one of its algorithm made after `young`, for another node may have been first,
    /// and drops those made before `dead`.
    pub(crate) async fn rotate_signing_keys(&self, new: &SigningKey, young: Timestamp, dead: Timestamp) -> Result<()> {
        // Where there may be no row yet, there is none to change first.
        let lock = match &self.pools {
            Pools::Sqlite { .. } => "SELECT 1",
            Pools::Postgres(_) => "LOCK TABLE signing_keys IN EXCLUSIVE MODE",
        };
        transaction!(self, "rotate_signing_keys", |connection| {
            connection.batch_execute(lock).await?;
            let rival: Option<KeyId> = signing_keys::table
                .filter(signing_keys::algorithm.eq(new.algorithm))
                .filter(signing_keys::created_at.gt(young))
                .select(signing_keys::id)
                .first(connection)
                .await
                .optional()?;
            if rival.is_none() {
                diesel::insert_into(signing_keys::table)
                    .values((
                        signing_keys::id.eq(new.id),
                        signing_keys::algorithm.eq(new.algorithm),
                        signing_keys::private_key.eq(&new.private_key),
                        signing_keys::created_at.eq(new.created_at),
                    ))
                    .execute(connection)
                    .await?;
            }
            let dead = signing_keys::table.filter(signing_keys::created_at.lt(dead));
            diesel::delete(dead).execute(connection).await?;
            Ok(())
        })
    }
}
