//! A database as a whole, for its operator: made, dropped, brought up to date, described and asked.

use std::{fs::DirBuilder, io::ErrorKind, os::unix::fs::DirBuilderExt as _, path::PathBuf};

use anyhow::{Context as _, bail};
use diesel::{QueryableByName, sql_types::Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use url::Url;

use super::{
    Store,
    migration::{self, Migration},
    postgres,
    row::Row,
    sqlite,
};

/// Who may enter a folder that is made for a database.
const OWNER_ONLY: u32 = 0o700;

/// Which database.
#[derive(Clone, Debug)]
pub enum Database {
    /// SQLite, in this file.
    Sqlite(PathBuf),
    /// PostgreSQL, at this address.
    Postgres(Url),
}

/// A table's name.
#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Runs a body on a connection of its own, which is not kept; the body is expanded once per database.
macro_rules! connected {
    ($database:expr, |$connection:pat_param| $body:expr) => {
        match $database {
            Database::Sqlite(file) => {
                if !file.exists() {
                    bail!("there is no database {}", file.display());
                }
                let $connection = sqlite::connect(file).await?;
                $body
            }
            Database::Postgres(url) => {
                let $connection = postgres::connect(url.as_str()).await?;
                $body
            }
        }
    };
}

impl Database {
    /// The database at an address: `postgres://USER:PASSWORD@HOST/NAME` or `sqlite:PATH`; `None` for any other.
    pub fn at(address: &str) -> Option<Self> {
        if let Some(path) = address.strip_prefix("sqlite:") {
            return Some(Self::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))));
        }
        let url = Url::parse(address).ok()?;
        matches!(url.scheme(), "postgres" | "postgresql").then_some(Self::Postgres(url))
    }

    /// Opens the database with so many connections at most, where connections count, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Refused`](super::Refused) when the database answers and is none for this program, others when it does not answer.
    pub async fn open(&self, connections: u32) -> anyhow::Result<Store> {
        match self {
            Self::Sqlite(file) => {
                Store::open_sqlite(file).await.with_context(|| format!("cannot open the database {}", file.display()))
            }
            Self::Postgres(url) => Store::open_postgres(url.as_str(), connections)
                .await
                .context("cannot open the database that database_url names"),
        }
    }

    /// Makes the database, empty and up to date.
    ///
    /// # Errors
    /// When there is one.
    pub async fn create(&self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(file) if file.exists() => bail!("there is a database {}", file.display()),
            Self::Sqlite(file) => {
                if let Some(folder) = file.parent() {
                    let made = DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(folder);
                    made.with_context(|| format!("cannot make {}", folder.display()))?;
                }
            }
            Self::Postgres(url) => {
                let (mut server, name) = server_of(url).await?;
                server.batch_execute(&format!("CREATE DATABASE {name}")).await?;
            }
        }
        self.open(1).await.map(drop)
    }

    /// Drops the database with all that is in it, also when there is none.
    ///
    /// # Errors
    /// When somebody uses it.
    pub async fn drop(&self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(file) => {
                for suffix in ["", "-wal", "-shm"] {
                    let mut file = file.clone().into_os_string();
                    file.push(suffix);
                    match std::fs::remove_file(&file) {
                        Err(error) if error.kind() != ErrorKind::NotFound => {
                            return Err(error)
                                .with_context(|| format!("cannot remove {}", PathBuf::from(file).display()));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Self::Postgres(url) => {
                let (mut server, name) = server_of(url).await?;
                Ok(server.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await?)
            }
        }
    }

    /// Every migration that this program knows, and whether it was run.
    ///
    /// # Errors
    /// When there is no such database, or it does not answer.
    pub async fn status(&self) -> anyhow::Result<Vec<Migration>> {
        let migrations = match self {
            Self::Sqlite(_) => sqlite::MIGRATIONS,
            Self::Postgres(_) => postgres::MIGRATIONS,
        };
        connected!(self, |connection| migration::status(&mut AsyncMigrationHarness::new(connection), &migrations))
    }

    /// Every table with the number of its rows.
    ///
    /// # Errors
    /// When there is no such database, or it does not answer.
    pub async fn tables(&self) -> anyhow::Result<Vec<(String, String)>> {
        let named = match self {
            Self::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
            Self::Postgres(_) => {
                "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = current_schema() ORDER BY name"
            }
        };
        connected!(self, |mut connection| {
            let tables: Vec<Table> = diesel::sql_query(named).load(&mut connection).await?;
            let mut counted = Vec::with_capacity(tables.len());
            for Table { name } in tables {
                let count = diesel::sql_query(format!("SELECT count(*) AS count FROM \"{name}\""));
                let rows: Vec<Row> = count.load(&mut connection).await?;
                counted.push((name, rows.iter().flat_map(Row::texts).collect()));
            }
            Ok(counted)
        })
    }

    /// What the database says to one statement.
    ///
    /// # Errors
    /// What it says when the statement is wrong.
    pub async fn sql(&self, statement: &str) -> anyhow::Result<Vec<Row>> {
        connected!(self, |mut connection| Ok(diesel::sql_query(statement).load(&mut connection).await?))
    }
}

/// A connection to the database that every PostgreSQL server has, and the name of the one that is meant, quoted.
async fn server_of(url: &Url) -> anyhow::Result<(AsyncPgConnection, String)> {
    let name = url.path().trim_start_matches('/').to_owned();
    if name.is_empty() {
        bail!("database_url names no database");
    }
    let mut server = url.clone();
    server.set_path("/postgres");
    Ok((postgres::connect(server.as_str()).await?, format!("\"{}\"", name.replace('"', "\"\""))))
}
