//! Bringing a schema up to date, and refusing one that this program does not know.

use diesel::{
    backend::Backend,
    migration::{MigrationSource as _, MigrationVersion},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

/// Why a database that answers is none for this program: a setting has to change, not the time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub(super) String);

/// A step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// When it was written.
    pub version: String,
    /// Whether the database has made it.
    pub is_applied: bool,
    /// Whether this program knows it.
    pub is_known: bool,
}

/// Runs the migrations that are missing.
///
/// # Errors
/// [`Refused`] when the schema is newer than the program, others when a migration fails.
pub(super) fn migrate<DB: Backend>(
    database: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
) -> anyhow::Result<()> {
    if let Some(Migration { version, .. }) = status(database, &migrations)?.iter().find(|migration| !migration.is_known)
    {
        return Err(Refused(format!("leads to a database whose schema ({version}) is newer than this program")).into());
    }
    database.run_pending_migrations(migrations).map_err(failed)?;
    Ok(())
}

/// Every migration, in order.
pub(super) fn status<DB: Backend>(
    database: &mut impl MigrationHarness<DB>,
    migrations: &EmbeddedMigrations,
) -> anyhow::Result<Vec<Migration>> {
    let known: Vec<Box<dyn diesel::migration::Migration<DB>>> = migrations.migrations().map_err(failed)?;
    let known: Vec<MigrationVersion<'static>> =
        known.iter().map(|migration| migration.name().version().as_owned()).collect();
    let applied = database.applied_migrations().map_err(failed)?;
    let mut versions: Vec<&MigrationVersion<'static>> = known.iter().chain(&applied).collect();
    versions.sort_unstable();
    versions.dedup();
    let migration = |version: &MigrationVersion<'static>| Migration {
        version: version.to_string(),
        is_applied: applied.contains(version),
        is_known: known.contains(version),
    };
    Ok(versions.into_iter().map(migration).collect())
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("migration failed: {error}")
}
