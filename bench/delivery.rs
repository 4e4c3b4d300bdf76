//! From publishing an event on one node to the frame of a viewer on another, through Redis; beside a bare PUBLISH and
//! SUBSCRIBE at the same server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use colloquy::{
    model::clock::Clock,
    proto::{SendMessageRequest, chat_service_client::ChatServiceClient},
};
use futures_util::{StreamExt as _, future::try_join_all};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tonic::Request;

use super::{
    caller::{self, Caller, PATIENCE, Socket},
    process::Node,
    servers,
    table::{Samples, Table},
};

/// Conversations at once, each with one event under way.
const PAIRS: usize = 8;
const EVENTS: usize = 500;
/// Left out of each conversation's, for caches are cold.
const WARM_UP: usize = 20;
/// As many bytes as an event of ours has on the channel.
const PAYLOAD: usize = 400;

pub(crate) async fn measure() -> Result<Table> {
    let redis = servers::redis()?;
    let (ours, peer) = (ours(&redis).await?, bare(&redis).await?);
    let title = format!(
        "delivery: publishing on one node to the frame on another, {PAIRS} conversations, {} events, beside a bare Redis",
        ours.len()
    );
    Ok(Table::new(title).percentiles("latency", &ours, &peer))
}

async fn ours(redis: &str) -> Result<Samples> {
    let database = servers::database().await?;
    let shared = [("DATABASE_URL", database.as_str()), ("REDIS_URL", redis)];
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (here, there) = (Node::start(&here, &shared).await?, Node::start(&there, &shared).await?);
    let sender = Caller::register(&here).await?;
    let conversations = sender.conversations(PAIRS).await?;
    let sockets = sender.at(&there).sockets(&conversations).await?;
    let pairs = conversations.iter().zip(sockets);
    let took = try_join_all(pairs.map(|(conversation, socket)| send(&sender, conversation, socket))).await?;
    here.process.end().await?;
    there.process.end().await?;
    Ok(took.into_iter().flatten().collect())
}

/// Sends one message after another, each when the one before has arrived, and returns how long each event was under way.
async fn send(sender: &Caller, conversation: &str, mut socket: Socket) -> Result<Vec<Duration>> {
    let (mut client, credential) = (ChatServiceClient::new(sender.channel().await?), sender.credential()?);
    let mut took = Vec::with_capacity(EVENTS);
    for _ in 0..EVENTS {
        let mut request = Request::new(SendMessageRequest {
            conversation_id: conversation.to_owned(),
            content: "Is anybody there?".to_owned(),
            reply: Some(false),
            ..SendMessageRequest::default()
        });
        request.metadata_mut().insert("authorization", credential.clone());
        let received = async { anyhow::Ok((caller::next(&mut socket).await?, Clock::default().now().as_micros())) };
        let (sent, received) = tokio::join!(client.send_message(request), received);
        sent?;
        let (text, now) = received?;
        let frame = caller::frame(&text)?;
        let at = frame["timestamp"].as_str().context("a frame without a timestamp")?;
        let at = OffsetDateTime::parse(at, &Rfc3339)?.unix_timestamp_nanos() / 1000;
        took.push(Duration::from_micros(u64::try_from(i128::from(now) - at).unwrap_or_default()));
    }
    Ok(took.split_off(WARM_UP))
}

async fn bare(redis: &str) -> Result<Samples> {
    let client = redis::Client::open(redis)?;
    let took = try_join_all((0..PAIRS).map(|pair| publish(&client, format!("bench:{pair}")))).await?;
    Ok(took.into_iter().flatten().collect())
}

/// Publishes one text after another, each when the one before has arrived.
async fn publish(client: &redis::Client, channel: String) -> Result<Vec<Duration>> {
    let mut line = client.get_multiplexed_async_connection().await?;
    let mut heard = client.get_async_pubsub().await?;
    heard.subscribe(&channel).await?;
    let mut heard = heard.into_on_message();
    let text = "x".repeat(PAYLOAD);
    let mut took = Vec::with_capacity(EVENTS);
    for _ in 0..EVENTS {
        let begun = Instant::now();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&channel).arg(&text);
        let received = async {
            let message = tokio::time::timeout(PATIENCE, heard.next()).await;
            (message, begun.elapsed())
        };
        let (told, (message, after)) = tokio::join!(publish.query_async::<i64>(&mut line), received);
        told?;
        message?.context("the subscription has ended")?;
        took.push(after);
    }
    Ok(took.split_off(WARM_UP))
}
