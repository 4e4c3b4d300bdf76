//! On PostgreSQL; the peer is pgbench with as many connections and the two writes as a script.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use tempfile::TempDir;
use tokio::process::Command;

use super::{CONNECTIONS, CONTENT, ROUND, send_all, table};
use crate::{
    caller::Caller,
    process::Node,
    servers,
    table::{Samples, Table},
};

/// Which conversation is whose, so that pgbench need not know any id.
const CLIENTS: &str = "CREATE TABLE clients AS SELECT (row_number() OVER () - 1)::int AS client, conversations.id AS \
                       conversation, users.id AS author FROM conversations, users; \
                       ALTER TABLE clients ADD PRIMARY KEY (client); ANALYZE";

pub(crate) async fn measure() -> Result<Table> {
    let (folder, database) = (tempfile::tempdir()?, servers::database().await?);
    let node = Node::start(&folder, &[("DATABASE_URL", &database)]).await?;
    let caller = Caller::register(&node).await?;
    let conversations = caller.conversations(CONNECTIONS).await?;
    let ours = send_all(&caller, &conversations).await?;
    node.process.end().await?;
    let peer = pgbench(&folder, &database).await?;
    Ok(table("pgbench with the same two writes in a transaction", &ours, &peer))
}

async fn pgbench(folder: &TempDir, database: &str) -> Result<Samples> {
    AsyncPgConnection::establish(database).await?.batch_execute(CLIENTS).await?;
    let script = folder.path().join("send.sql");
    std::fs::write(&script, transaction())?;
    let (clients, seconds) = (CONNECTIONS.to_string(), ROUND.as_secs().to_string());
    let mut command = Command::new("pgbench");
    command.args(["--no-vacuum", "--protocol", "prepared", "--jobs", "2", "--client", &clients, "--time", &seconds]);
    command.arg("--log").arg("--log-prefix").arg(folder.path().join("pgbench")).arg("--file").arg(script);
    command.arg(database).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    ensure!(command.status().await.context("pgbench comes with PostgreSQL")?.success(), "pgbench failed");
    logged(folder.path())
}

/// The writes of a send: the conversation goes on by one, and the message takes that number.
fn transaction() -> String {
    format!(
        "BEGIN;
UPDATE conversations SET last_seq = last_seq + 1, head_message_id = gen_random_uuid(), updated_at = now()
    FROM clients WHERE client = :client_id AND id = conversation;
INSERT INTO messages (id, conversation_id, seq, on_path, role, author_id, content, status, is_deleted, stop_requested,
        created_at, updated_at)
    SELECT gen_random_uuid(), id, last_seq, true, 'user', author, '{CONTENT}', 'complete', false, false, now(), now()
    FROM clients JOIN conversations ON id = conversation WHERE client = :client_id;
END;
"
    )
}

/// What pgbench logged: a line for each transaction, whose third word is how long it took in microseconds.
fn logged(folder: &Path) -> Result<Samples> {
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let is_log = |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pgbench."));
    let mut took = Vec::new();
    for file in files.iter().filter(is_log) {
        for line in std::fs::read_to_string(file)?.lines() {
            let micros = line.split(' ').nth(2).context("a line of pgbench's log without a time")?;
            took.push(Duration::from_micros(micros.parse()?));
        }
    }
    Ok(took.into_iter().collect())
}
