//! Messages a second, sent over gRPC and not answered; beside the bare store: the same two writes, in a transaction each, by
//! one connection to the same database.

use std::time::{Duration, Instant};

use anyhow::Result;
use colloquy::proto::{SendMessageRequest, chat_service_client::ChatServiceClient};
use diesel::{connection::SimpleConnection as _, prelude::*};
use futures_util::future::try_join_all;
use tonic::Request;
use uuid::Uuid;

use super::{caller::Caller, process::Node, table::Table};

const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_secs(4);
const CONTENT: &str = "How long is the Danube, and which countries does it pass?";
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
    let ours = try_join_all(conversations.iter().map(|conversation| send(&caller, conversation))).await?;
    node.end().await?;

    let conversations: Vec<Uuid> = conversations.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let file = folder.path().join("colloquy.db");
    let peer = tokio::task::spawn_blocking(move || write(&file.to_string_lossy(), &conversations)).await??;
    let rate = |count: usize| count as f64 / ROUND.as_secs_f64();
    let title = format!("sends: messages over gRPC on {CONNECTIONS} connections, beside the bare store");
    Ok(Table::new(title).row("messages", "/s", rate(ours.iter().sum()), rate(peer)))
}

/// Sends one message after another for as long as the round lasts, and returns how many.
async fn send(caller: &Caller, conversation: &str) -> Result<usize> {
    let (mut client, credential) = (ChatServiceClient::new(caller.channel().await?), caller.credential()?);
    let end = Instant::now() + ROUND;
    let mut sent = 0;
    while Instant::now() < end {
        let mut request = Request::new(SendMessageRequest {
            conversation_id: conversation.to_owned(),
            content: CONTENT.to_owned(),
            client_message_id: Some(sent.to_string()),
            reply: Some(false),
            ..SendMessageRequest::default()
        });
        request.metadata_mut().insert("authorization", credential.clone());
        client.send_message(request).await?;
        sent += 1;
    }
    Ok(sent)
}

/// Writes one message after another for as long as the round lasts, and returns how many.
fn write(file: &str, ids: &[Uuid]) -> Result<usize> {
    let mut connection = SqliteConnection::establish(file)?;
    connection.batch_execute(SETUP)?;
    let author: Vec<u8> = users::table.select(users::id).first(&mut connection)?;
    let end = Instant::now() + ROUND;
    let mut written = 0;
    while Instant::now() < end {
        let conversation = ids[written % ids.len()].as_bytes().as_slice();
        connection.immediate_transaction(|connection| append(connection, conversation, &author))?;
        written += 1;
    }
    Ok(written)
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
