//! `colloquy db`: an operator's view of the database.

use std::io::{self, Write as _};

use clap::Subcommand;

use crate::{
    app::database,
    config::Settings,
    store::{Database, Row},
};

/// What to do to the database that the settings name.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Makes the database, empty and up to date.
    Create,
    /// Drops the database with all that is in it.
    Drop,
    /// Drops the database and makes it anew, empty and up to date.
    Recreate,
    /// Brings the schema up to date.
    Migrate,
    /// Lists the steps of the schema, and which of them the database has made.
    Status,
    /// Lists the tables with the numbers of their rows.
    Tables,
    /// Runs one statement and prints what comes back, columns divided by tabs.
    Sql {
        /// The statement.
        statement: String,
    },
}

/// Does it.
///
/// # Errors
/// When the database is in use, not there, or does not answer.
pub(super) async fn run(settings: &Settings, action: Action) -> anyhow::Result<()> {
    act(&database::named(settings)?, settings, action).await.map_err(database::to_setting)
}

async fn act(database: &Database, settings: &Settings, action: Action) -> anyhow::Result<()> {
    let changes = matches!(action, Action::Create | Action::Drop | Action::Recreate | Action::Migrate);
    // Held to the end: nobody serves a database that changes here.
    let _lock = if changes { database::lock(settings)? } else { None };
    let mut out = io::stdout().lock();
    match action {
        Action::Create => database.create().await?,
        Action::Drop => database.drop().await?,
        Action::Recreate => {
            database.drop().await?;
            database.create().await?;
        }
        Action::Migrate => drop(database.open(1).await?),
        Action::Status => {
            for migration in database.status().await? {
                let state = match (migration.is_known, migration.is_applied) {
                    (true, true) => "applied",
                    (true, false) => "pending",
                    (false, _) => "unknown",
                };
                writeln!(out, "{}\t{state}", migration.version)?;
            }
        }
        Action::Tables => {
            for (name, rows) in database.tables().await? {
                writeln!(out, "{name}\t{rows}")?;
            }
        }
        Action::Sql { statement } => print(&mut out, &database.sql(&statement).await?)?,
    }
    Ok(())
}

fn print(out: &mut impl io::Write, rows: &[Row]) -> io::Result<()> {
    if let Some(first) = rows.first() {
        writeln!(out, "{}", first.names().collect::<Vec<_>>().join("\t"))?;
    }
    rows.iter().try_for_each(|row| writeln!(out, "{}", row.texts().collect::<Vec<_>>().join("\t")))
}
