//! The database that the settings name.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::{
    config::{SettingError, Settings},
    store::{Refused, Store},
};

/// Which database the settings name.
enum Database<'a> {
    /// SQLite, in this file.
    Sqlite(PathBuf),
    /// PostgreSQL, at this address.
    Postgres(&'a str),
}

/// Opens the database and brings its schema up to date.
///
/// # Errors
/// [`SettingError`] when the address is none or leads to no database for this program, others when the database does not
/// answer.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Store> {
    let opened = match named(settings)? {
        Database::Sqlite(file) => {
            Store::open_sqlite(&file).await.with_context(|| format!("cannot open the database {}", file.display()))
        }
        Database::Postgres(url) => Store::open_postgres(url, settings.database_connections)
            .await
            .context("cannot open the database that database_url names"),
    };
    opened.map_err(|error| match error.downcast_ref::<Refused>() {
        Some(refused) => SettingError::new("database_url", &refused.to_string()).into(),
        None => error,
    })
}

fn named(settings: &Settings) -> Result<Database<'_>, SettingError> {
    let Some(url) = &settings.database_url else {
        return Ok(Database::Sqlite(settings.data_dir.join("colloquy.db")));
    };
    let url = url.reveal();
    match url.split_once(':') {
        Some(("sqlite", path)) => Ok(Database::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))),
        Some(("postgres" | "postgresql", _)) => Ok(Database::Postgres(url)),
        _ => Err(SettingError::new("database_url", "must begin with postgres:, postgresql: or sqlite:")),
    }
}
