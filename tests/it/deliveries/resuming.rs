//! What waits, and the place to which somebody comes back.

use colloquy::proto::{TopicState, server_frame::Payload};
use serde_json::json;

use super::{frames, say, until_delivered, waited};
use crate::harness::{
    Actor, Native, Server, Socket, eventually,
    upstream::{Script, Upstream, piece},
};

/// Reads up to the word that a conversation is joined, one frame at a time: the place, as it is told.
async fn confirmed(native: &mut Native) -> TopicState {
    loop {
        native.grant_one();
        if let Some(Payload::SubscriptionConfirmed(mut confirmed)) = native.next().await.payload {
            return confirmed.topics.remove(0);
        }
    }
}

/// The next message of a link that is so wide: its `seq` and its offset, if it has one.
async fn next_message(native: &mut Native, window: i64) -> (i64, Option<i64>) {
    loop {
        let frame = native.next().await;
        native.take(window);
        if let Some(Payload::Message(message)) = frame.payload {
            return (message.seq, frame.offset);
        }
    }
}

/// A socket that comes back to a place.
async fn come_back(actor: &Actor, place: &TopicState) -> Socket {
    let mut socket = actor.socket().await;
    let TopicState { topic, offset, epoch, .. } = place;
    let topics = json!([{ "topic": topic, "offset": offset, "epoch": epoch }]);
    socket.ask("back", "subscribe", json!({ "topics": topics })).await;
    let confirmed = socket.answer_to("back").await;
    assert_eq!(confirmed["data"]["topics"][0]["recovered"], true, "{confirmed}");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_breaks_off_goes_on_for_whoever_resumes() {
    const WINDOW: i64 = 16_384;
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    for number in 1..=300 {
        say(&alice, &conversation, &format!("message {number}")).await;
    }
    let mut native = Native::open(&bob, Some(WINDOW as u64)).await;
    native.subscribe(&[(&conversation, None)]);
    let place = native.find(|payload| match payload {
        Payload::SubscriptionConfirmed(mut confirmed) => Some(confirmed.topics.remove(0)),
        _ => None,
    });
    let place = place.await;
    for seq in 1..=100 {
        assert_eq!(next_message(&mut native, WINDOW).await, (seq, None));
    }
    // What the link has not taken has not reached him, though it has left.
    until_delivered(&alice, &conversation, "bob", 100).await;
    drop(native);
    say(&alice, &conversation, "meanwhile").await;

    let mut socket = come_back(&bob, &place).await;
    let came = frames(&mut socket).await;
    let seqs: Vec<i64> = came.iter().map(|frame| frame["data"]["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (101..=301).collect::<Vec<i64>>());
    // The last stands in the log, and he in the place behind it: nothing is owed any more.
    let place = TopicState { offset: came[200]["offset"].as_i64().unwrap(), ..place };
    assert!(came[199].get("offset").is_none());
    until_delivered(&alice, &conversation, "bob", 301).await;
    drop(socket);
    assert!(frames(&mut come_back(&bob, &place).await).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_resumes_before_the_text_so_far_came_gets_it() {
    let upstream = Upstream::start(Script::anthropic().stepped().pieces(3).end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    upstream.release(1);
    eventually("it has begun", async || alice.message(&conversation, &answer).await["content"] != "").await;
    let mut native = Native::open(&bob, Some(1)).await;
    native.subscribe(&[(&conversation, None)]);
    let place = confirmed(&mut native).await;
    drop(native);
    upstream.release(1);
    let whole = format!("{}{}", piece(1), piece(2));
    eventually("it goes on", async || alice.message(&conversation, &answer).await["content"] == whole).await;

    let mut socket = come_back(&bob, &place).await;
    let came = frames(&mut socket).await;
    let kinds: Vec<&str> = came.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "start", "snapshot", "token"], "{came:?}");
    let texts = [&came[2], &came[3]].map(|frame| frame["data"]["content"].as_str().unwrap());
    assert_eq!(texts, [piece(1), piece(2)], "what the log holds comes from there");
    assert!(came[3]["offset"].is_i64());
    upstream.release(2);
    let token = socket.until("token").await;
    assert_eq!((&token["data"]["index"], &token["data"]["content"]), (&whole.len().into(), &piece(3).as_str().into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_at_once_follows_before_what_is_live() {
    const WINDOW: i64 = 65_536;
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let long = "x".repeat(32_768);
    for _ in 0..40 {
        say(&alice, &conversation, &long).await;
    }
    let mut native = Native::open(&bob, Some(1)).await;
    native.subscribe(&[(&conversation, None)]);
    confirmed(&mut native).await;
    say(&alice, &conversation, "live").await;
    native.take(WINDOW);
    for seq in 1..=40 {
        assert_eq!(next_message(&mut native, WINDOW).await, (seq, None));
    }
    let (seq, offset) = next_message(&mut native, WINDOW).await;
    assert!(seq == 41 && offset.is_some(), "{seq} at {offset:?}");
    until_delivered(&alice, &conversation, "bob", 41).await;
    assert!(waited(&bob, &conversation).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_that_stops_has_not_sent_waits_on() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    for content in ["one", "two", "three"] {
        say(&alice, &conversation, content).await;
    }
    let mut native = Native::open(&bob, Some(1)).await;
    native.subscribe(&[(&conversation, None)]);
    confirmed(&mut native).await;
    let last_words = async {
        let mut last_words = Vec::new();
        while let Ok(Some(frame)) = native.try_next().await {
            last_words.extend(frame.payload);
        }
        last_words
    };
    let (last_words, ()) = tokio::join!(last_words, server.stop());
    assert!(matches!(last_words[..], [Payload::Reconnect(_)]), "{last_words:?}");
    let server = server.restart(&[]).await;
    assert_eq!(waited(&bob.at(&server), &conversation).await, [1, 2, 3]);
}
