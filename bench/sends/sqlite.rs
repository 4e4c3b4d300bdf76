//! On SQLite; the peer is one connection that writes into the same file.

use std::time::{Duration, Instant};

use anyhow::Result;
use diesel::{connection::SimpleConnection as _, prelude::*};
use uuid::Uuid;

use super::{CONNECTIONS, CONTENT, ROUND, send_all, table};
use crate::{caller::Caller, process::Node, table::Table};

const SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                     PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;";

diesel::table! {
    users (id) { id -> Binary, }
}

diesel::table! {
    conversations (id) {
        id -> Binary,
        last_seq -> BigInt,
        head_message_id -> Nullable<Binary>,
        updated_at -> BigInt,
    }
}

diesel::table! {
    messages (id) {
        id -> Binary,
        conversation_id -> Binary,
        seq -> BigInt,
        on_path -> Bool,
        role -> Text,
        author_id -> Binary,
        content -> Text,
        status -> Text,
        is_deleted -> Bool,
        stop_requested -> Bool,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

pub(crate) async fn measure() -> Result<Table> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder, &[]).await?;
    let caller = Caller::register(&node).await?;
    let conversations = caller.conversations(CONNECTIONS).await?;
    let ours = send_all(&caller, &conversations).await?;
    node.process.end().await?;

    let conversations: Vec<Uuid> = conversations.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let file = folder.path().join("colloquy.db");
    let peer = tokio::task::spawn_blocking(move || write(&file.to_string_lossy(), &conversations)).await??;
    Ok(table("the bare store", &ours, &peer.into_iter().collect()))
}

/// Writes one message after another for as long as the round lasts, and returns how long each took.
fn write(file: &str, ids: &[Uuid]) -> Result<Vec<Duration>> {
    let mut connection = SqliteConnection::establish(file)?;
    connection.batch_execute(SETUP)?;
    let author: Vec<u8> = users::table.select(users::id).first(&mut connection)?;
    let end = Instant::now() + ROUND;
    let mut took = Vec::new();
    while Instant::now() < end {
        let conversation = ids[took.len() % ids.len()].as_bytes().as_slice();
        let begun = Instant::now();
        connection.immediate_transaction(|connection| append(connection, conversation, &author))?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

fn append(connection: &mut SqliteConnection, conversation: &[u8], author: &[u8]) -> QueryResult<()> {
    let found = conversations::table.find(conversation);
    let (last_seq, at): (i64, i64) =
        found.select((conversations::last_seq, conversations::updated_at)).first(connection)?;
    let (id, seq, now) = (Uuid::now_v7(), last_seq + 1, at + 1);
    diesel::insert_into(messages::table)
        .values((
            messages::id.eq(id.as_bytes().as_slice()),
            messages::conversation_id.eq(conversation),
            messages::seq.eq(seq),
            messages::on_path.eq(true),
            messages::role.eq("user"),
            messages::author_id.eq(author),
            messages::content.eq(CONTENT),
            messages::status.eq("complete"),
            messages::is_deleted.eq(false),
            messages::stop_requested.eq(false),
            messages::created_at.eq(now),
            messages::updated_at.eq(now),
        ))
        .execute(connection)?;
    diesel::update(conversations::table.find(conversation))
        .set((
            conversations::last_seq.eq(seq),
            conversations::head_message_id.eq(id.as_bytes().as_slice()),
            conversations::updated_at.eq(now),
        ))
        .execute(connection)?;
    Ok(())
}
