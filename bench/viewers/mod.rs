//! What an event costs the server as the viewers of its conversation grow; beside a program that only writes each text that
//! it hears to all its sockets.

pub(crate) mod crier;

use std::time::Duration;

use anyhow::Result;
use colloquy::proto::{SendMessageRequest, chat_service_client::ChatServiceClient};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use tokio_tungstenite::tungstenite::Message;
use tonic::Request;

use super::{
    caller::{self, Caller, Socket},
    process::{Node, Peer},
    table::Table,
};

/// The name of the peer.
pub(crate) const CRIER: &str = "crier";
/// Viewers, and events that each round of so many has.
const ROUNDS: [(usize, u32); 4] = [(1, 1000), (10, 1000), (100, 500), (1000, 200)];
/// Processor time that each event took, by round.
type Costs = Vec<Duration>;

pub(crate) async fn measure() -> Result<Table> {
    let (ours, frame) = ours().await?;
    let peer = cried(frame).await?;
    let title = "viewers: processor time of an event by viewers of its conversation, beside a bare broadcaster";
    let micros = |cost: Duration| cost.as_secs_f64() * 1e6;
    let table =
        ROUNDS.iter().zip(ours.iter().zip(&peer)).fold(Table::new(title), |table, ((viewers, _), (ours, peer))| {
            table.row(format!("an event to {viewers}"), "µs", micros(*ours), micros(*peer))
        });
    let further = |costs: &Costs| {
        let (first, last) = (costs[0], costs[ROUNDS.len() - 1]);
        micros(last.saturating_sub(first)) / (ROUNDS[ROUNDS.len() - 1].0 - ROUNDS[0].0) as f64
    };
    Ok(table.row("each further viewer", "µs", further(&ours), further(&peer)))
}

/// What events cost us, and the bytes of a frame.
async fn ours() -> Result<(Costs, usize)> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder, &[]).await?;
    let caller = Caller::register(&node).await?;
    let (mut client, credential) = (ChatServiceClient::new(caller.channel().await?), caller.credential()?);
    let (mut costs, mut frame) = (Vec::new(), 0);
    for (viewers, events) in ROUNDS {
        let conversation = caller.conversations(1).await?.remove(0);
        let mut sockets = caller.sockets(&vec![conversation.clone(); viewers]).await?;
        let before = node.process.processor_time()?;
        for _ in 0..events {
            let mut request = Request::new(SendMessageRequest {
                conversation_id: conversation.clone(),
                content: "Is anybody there?".to_owned(),
                reply: Some(false),
                ..SendMessageRequest::default()
            });
            request.metadata_mut().insert("authorization", credential.clone());
            let (sent, heard) = tokio::join!(client.send_message(request), hear(&mut sockets));
            sent?;
            frame = heard?;
        }
        costs.push(node.process.processor_time()?.saturating_sub(before) / events);
    }
    node.process.end().await?;
    Ok((costs, frame))
}

/// What it costs the peer to hand on texts of so many bytes.
async fn cried(bytes: usize) -> Result<Costs> {
    let peer = Peer::start(&[CRIER]).await?;
    let target = format!("ws://{}/", peer.address);
    let text = "x".repeat(bytes);
    let mut costs = Vec::new();
    for (viewers, events) in ROUNDS {
        let opened = stream::iter(0..viewers).map(|index| caller::open(index, peer.address, &target));
        let mut sockets: Vec<Socket> = opened.buffer_unordered(16).try_collect().await?;
        let before = peer.process.processor_time()?;
        for _ in 0..events {
            sockets[0].send(Message::text(text.as_str())).await?;
            hear(&mut sockets).await?;
        }
        costs.push(peer.process.processor_time()?.saturating_sub(before) / events);
    }
    peer.process.end().await?;
    Ok(costs)
}

/// Returns when every viewer has got one more frame, with the bytes of the longest.
async fn hear(sockets: &mut [Socket]) -> Result<usize> {
    let texts = try_join_all(sockets.iter_mut().map(caller::next)).await?;
    Ok(texts.iter().map(|text| text.len()).max().unwrap_or_default())
}
