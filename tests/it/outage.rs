//! PostgreSQL goes away in the middle of traffic and comes back.

use std::sync::atomic::{AtomicUsize, Ordering};

use colloquy::proto::{ListMessagesRequest, SendMessageRequest};
use futures_util::future::join_all;
use tokio::time::timeout;
use tonic::Code;

use crate::harness::{Actor, PATIENCE, PostgresServer, Server, Wire, eventually, retry_after, within};

/// Conversations that are written to at once.
const WRITERS: usize = 8;
/// Messages that each of them gets.
const MESSAGES: usize = 60;

/// What the writers have seen.
#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

/// Sends one message after another, each again until it is accepted; whatever is refused is refused for now.
async fn write(alice: &Actor, conversation: &str, seen: &Seen) {
    for number in 0..MESSAGES {
        let request = SendMessageRequest {
            conversation_id: conversation.to_owned(),
            content: number.to_string(),
            client_message_id: Some(number.to_string()),
            reply: Some(false),
            ..Default::default()
        };
        while let Err(status) = alice.chat().send_message(request.clone()).await {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert!(!retry_after::<()>(Err(status)).is_zero());
            seen.refused.fetch_add(1, Ordering::Relaxed);
        }
        seen.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

async fn readiness(alice: &Actor) -> u16 {
    alice.get("/api/v1/health/ready").await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_stands_and_calls_fail_whole_while_the_database_is_away() {
    let mut postgres = PostgresServer::start().await;
    let url = postgres.url();
    let server = Server::with(&[("database_url", &url)]).await;
    let alice = server.register("alice").await;
    let conversations = join_all((0..WRITERS).map(async |_| alice.conversation().await)).await;
    eventually("the node is ready", async || readiness(&alice).await == 200).await;

    let seen = Seen::default();
    let writers = join_all(conversations.iter().map(|conversation| write(&alice, conversation, &seen)));
    let outage = async {
        let accepted = async |count| {
            within(PATIENCE, "messages are accepted", async || seen.accepted.load(Ordering::Relaxed) >= count).await;
        };
        accepted(WRITERS * MESSAGES / 10).await;
        postgres.stop().await;
        within(PATIENCE, "calls are refused", async || seen.refused.load(Ordering::Relaxed) > 0).await;
        within(PATIENCE, "the node says that it is not ready", async || readiness(&alice).await != 200).await;
        postgres.resume().await;
        within(PATIENCE, "the node is ready again", async || readiness(&alice).await == 200).await;
    };
    timeout(4 * PATIENCE, async { tokio::join!(writers, outage) }).await.expect("all is written in time");

    let wanted: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    for conversation in &conversations {
        let request = ListMessagesRequest { conversation_id: conversation.clone(), limit: 100, ..Default::default() };
        let messages = alice.conversations().list_messages(request).await.unwrap().into_inner().messages;
        let seqs: Vec<i64> = messages.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, (1..=MESSAGES as i64).collect::<Vec<_>>(), "no message is there twice, none is missing");
        assert_eq!(messages.into_iter().map(|message| message.content).collect::<Vec<_>>(), wanted);
    }
    // More at once than the pool has connections: none of them is left over from before.
    join_all((0..40).map(async |_| alice.me().await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_database_is_cut_off_says_that_it_is_not_ready_until_it_is_back() {
    let postgres = PostgresServer::start().await;
    let wire = Wire::to(&postgres).await;
    let server = Server::with(&[("database_url", &wire.url())]).await;
    let visitor = server.visitor();
    eventually("the node is ready", async || readiness(&visitor).await == 200).await;
    wire.set_cut(true);
    within(PATIENCE, "the node says that it is not ready", async || readiness(&visitor).await != 200).await;
    wire.set_cut(false);
    within(PATIENCE, "the node is ready again", async || readiness(&visitor).await == 200).await;
}
