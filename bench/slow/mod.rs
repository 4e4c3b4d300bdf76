//! What slow readers cost the others: how late frames reach 2,000 sockets of a conversation while answers stream, and the
//! server's memory, with one more socket that reads 1 KB/s and one that never reads; beside the same without the two. Fails
//! when either of them does not end up with every answer, byte for byte, when the first did not get pieces joined, or when the
//! second was not made to come back.

mod link;
mod reader;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use colloquy::{
    model::clock::Clock,
    proto::{SendMessageRequest, chat_service_client::ChatServiceClient},
};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tonic::Request;

use self::{link::Pace, reader::Reader};
use super::{
    broadcast::{Broadcaster as _, Colloquy},
    table::{Samples, Table},
};

const SOCKETS: usize = 2000;
/// Answers, one after another: for longer than one may read nothing.
const ANSWERS: usize = 12;
/// The model says a word at a time.
const WORDS: usize = 32;
/// Bytes of a word.
const WORD: usize = 600;
const BETWEEN_WORDS: &str = "0.1";
/// Frames that may wait for a viewer. A slow reader's kernel and its bridge keep about two answers besides: the rest are more than
/// twice as many as this.
const LANE_FRAMES: &str = "100";

/// How it went.
struct Outcome {
    /// From making a frame to reading it, of all frames and all sockets but the slow ones.
    delays: Samples,
    resident_mib: f64,
}

pub(crate) async fn measure() -> Result<Table> {
    let (without, with) = (run(&[]).await?, run(&[Pace::Slow, Pace::Stopped]).await?);
    let title = format!(
        "slow: frames to {SOCKETS} sockets of a conversation with a reader of 1 KB/s and one that never reads, beside the \
         same without the two"
    );
    Ok(Table::new(title).percentiles("to the others", &with.delays, &without.delays).row(
        "resident memory at the end",
        "MiB",
        with.resident_mib,
        without.resident_mib,
    ))
}

/// Answers many sockets, beside slow ones of these paces.
async fn run(paces: &[Pace]) -> Result<Outcome> {
    let server =
        Colloquy::with(&[("COLLOQUY_ECHO_INTERVAL", BETWEEN_WORDS), ("COLLOQUY_LANE_FRAMES", LANE_FRAMES)]).await?;
    let channel = server.channels(1).await?.remove(0);
    let delays = Arc::new(Mutex::new(Vec::new()));
    let heard = delays.clone();
    let note = move |text: &str| heard.lock().unwrap_or_else(PoisonError::into_inner).extend(delay(text));
    let audience = server.audience(&vec![channel.clone(); SOCKETS], note).await?;
    let mut readers = Vec::new();
    for pace in paces {
        readers.push(Reader::join(&server, &channel, *pace).await?);
    }

    let answers = ask(&server, &channel).await?;
    let resident_mib = server.node.process.resident_kib()? / 1024.0;
    drop(audience);
    for reader in readers {
        reader.finish(&answers).await.context("a slow reader")?;
    }
    let delays = std::mem::take(&mut *delays.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Outcome { delays: delays.into_iter().collect(), resident_mib })
}

/// Asks for one answer after another, and returns their texts by their ids.
async fn ask(server: &Colloquy, channel: &str) -> Result<HashMap<String, String>> {
    let (mut client, credential) =
        (ChatServiceClient::new(server.caller.channel().await?), server.caller.credential()?);
    let mut answers = HashMap::new();
    for answer in 0..ANSWERS {
        let content: Vec<String> = (0..WORDS).map(|word| format!("{answer}.{word}·{}", "ö".repeat(WORD / 2))).collect();
        let mut request = Request::new(SendMessageRequest {
            conversation_id: channel.to_owned(),
            content: content.join(" "),
            wait: true,
            ..SendMessageRequest::default()
        });
        request.metadata_mut().insert("authorization", credential.clone());
        let reply = client.send_message(request).await?.into_inner().reply.context("no answer")?;
        answers.insert(reply.id, reply.content);
    }
    Ok(answers)
}

/// What every frame has.
#[derive(Deserialize)]
struct Stamped<'a> {
    timestamp: &'a str,
}

/// How long ago a frame was made.
fn delay(text: &str) -> Option<Duration> {
    let now = Clock::default().now().as_micros();
    let Stamped { timestamp } = serde_json::from_str(text).ok()?;
    let made = OffsetDateTime::parse(timestamp, &Rfc3339).ok()?.unix_timestamp_nanos() / 1000;
    Some(Duration::from_micros(u64::try_from(i128::from(now) - made).unwrap_or_default()))
}
