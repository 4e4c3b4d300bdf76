//! Where a node keeps what lasts: a folder, and a database in it or on the PostgreSQL server that
//! `COLLOQUY_TEST_DATABASE_URL` names; and what it shares with others on the Redis server of `COLLOQUY_TEST_REDIS_URL`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use colloquy::store::{self, Store};
use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    sql_types::{BigInt, Text},
};
use diesel_async::{AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{FileBasedMigrations, MigrationHarness as _};
use tempfile::TempDir;
use uuid::Uuid;

use super::secrets::Watch;

/// Texts of a table that are looked at: tests of lists write many, which are all alike.
const MOST_TEXTS: usize = 200;
/// The tables with texts.
const TEXTS: [&str; 4] = ["messages", "contexts", "notifications", "run_chunks"];

/// A folder and a database, both gone with the last who holds them.
#[derive(Clone)]
pub(crate) struct Data {
    folder: Arc<TempDir>,
    database: Arc<Database>,
}

enum Database {
    Sqlite {
        file: PathBuf,
        _folder: Arc<TempDir>,
    },
    Postgres {
        /// The server's own database, where others are made.
        server: String,
        name: String,
        /// Sees to it that nothing of what is kept there is logged.
        watch: Watch,
    },
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

impl Data {
    /// An empty folder and an empty database.
    pub(crate) async fn fresh() -> Self {
        if let Ok(server) = std::env::var("COLLOQUY_TEST_DATABASE_URL") {
            return Self::on(&server).await;
        }
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let database = Database::Sqlite { file: folder.path().join("colloquy.db"), _folder: folder.clone() };
        Self { folder, database: Arc::new(database) }
    }

    /// An empty folder and an empty database on this PostgreSQL server.
    pub(crate) async fn on(server: &str) -> Self {
        let name = format!("colloquy_test_{}", Uuid::now_v7().simple());
        postgres_does(server, &format!("CREATE DATABASE {name}")).await;
        let database = Database::Postgres { server: server.to_owned(), name, watch: Watch::begin() };
        Self { folder: Arc::new(tempfile::tempdir().unwrap()), database: Arc::new(database) }
    }

    /// Another folder for the same database.
    pub(crate) fn beside(&self) -> Self {
        Self { folder: Arc::new(tempfile::tempdir().unwrap()), database: self.database.clone() }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a node is told of it.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let folder = ("data_dir", self.folder().display().to_string());
        // All on one Redis server: nodes of one database share a prefix, others do not.
        let prefix = match &*self.database {
            Database::Sqlite { file, .. } => file.display().to_string(),
            Database::Postgres { name, .. } => name.clone(),
        };
        let prefix = ("redis_prefix", format!("{prefix}:"));
        // A machine that stands still for a moment is no server that is away.
        let patience = ("redis_timeout", "10".to_owned());
        let database = match &*self.database {
            Database::Sqlite { file, .. } if file.starts_with(self.folder()) => None,
            Database::Sqlite { file, .. } => Some(format!("sqlite:{}", file.display())),
            Database::Postgres { server, name, .. } => Some(address(server, name)),
        };
        let redis = std::env::var("COLLOQUY_TEST_REDIS_URL").ok().map(|url| ("redis_url", url));
        [folder, prefix, patience].into_iter().chain(database.map(|url| ("database_url", url))).chain(redis).collect()
    }

    /// The database, as a node opens it.
    pub(crate) async fn store(&self) -> Store {
        let database = match &*self.database {
            Database::Sqlite { file, .. } => store::Database::Sqlite(file.clone()),
            Database::Postgres { server, name, .. } => store::Database::at(&address(server, name)).unwrap(),
        };
        database.open(4).await.unwrap()
    }

    /// Whether the database is PostgreSQL's.
    pub(crate) fn is_postgres(&self) -> bool {
        self.postgres_url().is_some()
    }

    /// Where the database is, when it is PostgreSQL's.
    pub(crate) fn postgres_url(&self) -> Option<String> {
        match &*self.database {
            Database::Sqlite { .. } => None,
            Database::Postgres { server, name, .. } => Some(address(server, name)),
        }
    }

    /// Does to the database what no RPC does, in PostgreSQL's words: ids are written as texts, and `'epoch'` is 1970.
    pub(crate) fn sql(&self, statements: &str) {
        match &*self.database {
            Database::Sqlite { file, .. } => sqlite(file).batch_execute(&in_sqlite_words(statements)).unwrap(),
            Database::Postgres { server, name, .. } => {
                let url = address(server, name);
                wait(postgres_does(&url, statements));
            }
        }
    }

    /// Asks the database for a number, in the same words.
    pub(crate) fn number(&self, expression: &str) -> i64 {
        let query = format!("SELECT {expression} AS number");
        let found: Vec<Number> = match &*self.database {
            Database::Sqlite { file, .. } => {
                diesel::sql_query(in_sqlite_words(&query)).load(&mut sqlite(file)).unwrap()
            }
            Database::Postgres { server, name, .. } => wait(postgres_says(&address(server, name), &query)),
        };
        found[0].number
    }

    /// The texts that people wrote and models answered, and nobody else is to read. None of PostgreSQL's, where they are
    /// looked for when the database goes: a connection for each node would cost more than the tests do.
    pub(super) fn texts(&self) -> Vec<String> {
        let Database::Sqlite { file, .. } = &*self.database else { return Vec::new() };
        let texts = |query: &String| {
            // What has no database, or has none any more, has no texts.
            let file = file.exists().then(|| file.to_str().unwrap())?;
            let rows: Vec<Named> = diesel::sql_query(query).load(&mut SqliteConnection::establish(file).ok()?).ok()?;
            Some(rows.into_iter().map(|row| row.name))
        };
        TEXTS.map(select_texts).iter().filter_map(texts).flatten().collect()
    }

    /// How many rows each table of the database has.
    pub(crate) fn rows(&self) -> BTreeMap<String, i64> {
        let tables: Vec<Named> = match &*self.database {
            Database::Sqlite { file, .. } => diesel::sql_query("SELECT name FROM sqlite_master WHERE type = 'table'")
                .load(&mut sqlite(file))
                .unwrap(),
            Database::Postgres { server, name, .. } => wait(postgres_says(
                &address(server, name),
                "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'",
            )),
        };
        let count = |Named { name }| (name.clone(), self.number(&format!("(SELECT count(*) FROM \"{name}\")")));
        tables.into_iter().map(count).collect()
    }

    /// Undoes every migration.
    pub(crate) async fn undo_migrations(&self) {
        let migrations = |name| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(name);
            FileBasedMigrations::from_path(folder).unwrap()
        };
        match &*self.database {
            Database::Sqlite { file, .. } => {
                sqlite(file).revert_all_migrations(migrations("sqlite")).map(drop).unwrap()
            }
            Database::Postgres { server, name, .. } => {
                let connection = AsyncPgConnection::establish(&address(server, name)).await.unwrap();
                let mut harness = AsyncMigrationHarness::new(connection);
                harness.revert_all_migrations(migrations("postgres")).map(drop).unwrap();
            }
        }
    }

    /// Fails when the index of a search does not fit what is stored; PostgreSQL's cannot differ.
    pub(crate) fn check_search(&self) {
        if let Database::Sqlite { file, .. } = &*self.database {
            let check = "INSERT INTO message_search (message_search, rank) VALUES ('integrity-check', 1)";
            sqlite(file).batch_execute(check).unwrap();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { server, name, watch } = self {
            let (server, url, watch) = (server.clone(), address(server, name), *watch);
            let drop_it = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            // A test does not wait for it, and a server of its own may be gone already.
            std::thread::spawn(move || {
                let texts = wait(async {
                    let texts = postgres_texts(&url).await.unwrap_or_default();
                    if let Ok(mut connection) = AsyncPgConnection::establish(&server).await {
                        let _ = connection.batch_execute(&drop_it).await;
                    }
                    texts
                });
                watch.end(&texts, &[]);
            });
        }
    }
}

/// The address of a database on the server of another.
fn address(server: &str, name: &str) -> String {
    let (host, _) = server.rsplit_once('/').expect("the address of a server ends with the name of a database");
    format!("{host}/{name}")
}

fn select_texts(table: &str) -> String {
    format!("SELECT DISTINCT content AS name FROM {table} LIMIT {MOST_TEXTS}")
}

async fn postgres_texts(url: &str) -> Option<Vec<String>> {
    let mut connection = AsyncPgConnection::establish(url).await.ok()?;
    let mut texts = Vec::new();
    for query in TEXTS.map(select_texts) {
        let rows = diesel_async::RunQueryDsl::load(diesel::sql_query(query), &mut connection).await;
        texts.extend(rows.ok()?.into_iter().map(|Named { name }| name));
    }
    Some(texts)
}

async fn postgres_does(url: &str, statements: &str) {
    AsyncPgConnection::establish(url).await.unwrap().batch_execute(statements).await.unwrap();
}

async fn postgres_says<T: QueryableByName<diesel::pg::Pg> + Send + 'static>(url: &str, query: &str) -> Vec<T> {
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    diesel_async::RunQueryDsl::load(diesel::sql_query(query), &mut connection).await.unwrap()
}

/// Waits on a thread of its own: a test's own thread would swallow what wakes the test meanwhile.
fn wait<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let on_its_own = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    std::thread::scope(|scope| scope.spawn(on_its_own).join().unwrap())
}

fn sqlite(file: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").unwrap();
    connection
}

/// Writes ids as bytes and 1970 as its number.
fn in_sqlite_words(statements: &str) -> String {
    let statements = statements.replace("'epoch'", "0");
    // What stands between quotes is every other part.
    let parts = statements.split('\'').enumerate().map(|(index, part)| match Uuid::try_parse(part) {
        _ if index % 2 == 0 => part.to_owned(),
        Ok(id) => format!("x'{}'", id.simple()),
        Err(_) => format!("'{part}'"),
    });
    parts.collect()
}
