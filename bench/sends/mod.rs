//! Messages a second, sent over gRPC and not answered, and how long each took; beside the same two writes, in a transaction
//! each, without Colloquy: straight into the same database.

mod postgres;
mod sqlite;

use std::time::{Duration, Instant};

use anyhow::Result;
use colloquy::proto::{SendMessageRequest, chat_service_client::ChatServiceClient};
use futures_util::future::try_join_all;
use tonic::Request;

pub(crate) use self::{postgres::measure as on_postgres, sqlite::measure as on_sqlite};
use super::{
    caller::Caller,
    table::{Samples, Table},
};

const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_secs(4);
const CONTENT: &str = "How long is the Danube, and which countries does it pass?";

/// Sends on every connection, each in a conversation of its own, and returns how long each send took.
async fn send_all(caller: &Caller, conversations: &[String]) -> Result<Samples> {
    let sent = try_join_all(conversations.iter().map(|conversation| send(caller, conversation))).await?;
    Ok(sent.into_iter().flatten().collect())
}

/// Sends one message after another for as long as the round lasts.
async fn send(caller: &Caller, conversation: &str) -> Result<Vec<Duration>> {
    let (mut client, credential) = (ChatServiceClient::new(caller.channel().await?), caller.credential()?);
    let end = Instant::now() + ROUND;
    let mut took = Vec::new();
    while Instant::now() < end {
        let mut request = Request::new(SendMessageRequest {
            conversation_id: conversation.to_owned(),
            content: CONTENT.to_owned(),
            client_message_id: Some(took.len().to_string()),
            reply: Some(false),
            ..SendMessageRequest::default()
        });
        request.metadata_mut().insert("authorization", credential.clone());
        let asked = Instant::now();
        client.send_message(request).await?;
        took.push(asked.elapsed());
    }
    Ok(took)
}

fn table(peer_is: &str, ours: &Samples, peer: &Samples) -> Table {
    let rate = |samples: &Samples| samples.len() as f64 / ROUND.as_secs_f64();
    let title = format!("sends: messages over gRPC on {CONNECTIONS} connections, beside {peer_is}");
    Table::new(title).row("messages", "/s", rate(ours), rate(peer)).percentiles("send", ours, peer)
}
