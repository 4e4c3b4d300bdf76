//! Bringing a schema up to date, and refusing one that this program does not know.

use diesel::backend::Backend;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

/// Why a database that answers is none for this program: a setting has to change, not the time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub(super) String);

/// Runs the migrations that are missing.
///
/// # Errors
/// [`Refused`] when the schema is newer than the program, others when a migration fails.
pub(super) fn migrate<DB: Backend>(
    database: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
) -> anyhow::Result<()> {
    let known = diesel::migration::MigrationSource::<DB>::migrations(&migrations).map_err(failed)?;
    let applied = database.applied_migrations().map_err(failed)?;
    let unknown = applied.iter().find(|version| !known.iter().any(|known| known.name().version() == **version));
    if let Some(version) = unknown {
        return Err(Refused(format!("leads to a database whose schema ({version}) is newer than this program")).into());
    }
    database.run_pending_migrations(migrations).map_err(failed)?;
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("migration failed: {error}")
}
