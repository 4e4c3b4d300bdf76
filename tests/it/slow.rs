//! Slow viewers: what they do not take waits in lanes, is joined and dropped in order, and never delays anybody else.

use std::time::Duration;

use colloquy::proto::{Heartbeat, LinkReport, Ping, ServerFrame, client_frame, server_frame::Payload};
use tonic::Code;

use crate::harness::{
    Actor, Native, PATIENCE, RedisServer, Server, eventually,
    upstream::{Script, Upstream, piece},
    within,
};

/// Far more than anything here is long.
const PLENTY: i64 = 10 << 20;

fn answered(after: Duration) -> LinkReport {
    let round_trip = after.try_into().ok();
    LinkReport { round_trip, ..LinkReport::default() }
}

fn failed(sends: i32) -> LinkReport {
    LinkReport { failed_sends: sends, ..LinkReport::default() }
}

/// Alice's conversation, and bob who views it over a link that took the word that he does, and takes nothing more.
async fn stalled(server: &Server) -> (Actor, Actor, String, Native) {
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "member").await;
    let mut native = Native::open(&bob, Some(1)).await;
    assert!(matches!(native.next().await.payload, Some(Payload::ConnectionEstablished(_))));
    native.subscribe(&[(&conversation, None)]);
    native.grant_one();
    native.find(|payload| matches!(payload, Payload::SubscriptionConfirmed(_)).then_some(())).await;
    (alice, bob, conversation, native)
}

async fn say(alice: &Actor, conversation: &str, messages: usize) {
    for nth in 0..messages {
        let body = serde_json::json!({ "content": format!("message {nth}"), "reply": false });
        let (status, _) = alice.post(&format!("/api/v1/conversations/{conversation}/messages"), body).await;
        assert_eq!(status, 200);
    }
}

/// The offsets of what is kept, up to this one; none may be missing, none may come twice.
async fn offsets_until(native: &mut Native, mut last: i64, until: i64) {
    while last < until {
        let ServerFrame { offset, payload, .. } = native.next().await;
        assert!(!matches!(payload, Some(Payload::Reconnect(_))), "sent away at {last}");
        if let Some(offset) = offset {
            assert_eq!(offset, last + 1);
            last = offset;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_takes_nothing_gets_an_answer_later_in_fewer_pieces_and_whole() {
    const PIECES: usize = 400;
    let upstream = Upstream::start(Script::anthropic().pieces(PIECES).end()).await;
    let server = Server::asking(&upstream, &[("lane_frames", "50")]).await;
    let (alice, _, conversation, mut native) = stalled(&server).await;
    say(&alice, &conversation, 5).await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let is_whole = async || alice.message(&conversation, &answer).await["status"] == "complete";
    within(PATIENCE, "the answer is whole", is_whole).await;

    native.grant(PLENTY);
    let (mut text, mut pieces) = (String::new(), 0);
    let length = native
        .find(|payload| match payload {
            Payload::Token(token) => {
                assert_eq!(token.index, text.len() as i64);
                text += &token.content;
                pieces += 1;
                None
            }
            Payload::End(end) => Some(end.content_length),
            _ => None,
        })
        .await;
    assert_eq!(text, alice.message(&conversation, &answer).await["content"]);
    assert_eq!(length, text.len() as i64);
    assert!(pieces < PIECES / 4, "{pieces}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_too_slow_is_told_at_once_and_gets_everything_when_it_resumes() {
    let server = Server::with(&[("lane_frames", "10")]).await;
    let (alice, bob, conversation, mut native) = stalled(&server).await;
    say(&alice, &conversation, 60).await;
    let reconnect =
        native.find(|payload| if let Payload::Reconnect(reconnect) = payload { Some(reconnect) } else { None }).await;
    assert_eq!((reconnect.reason.as_str(), reconnect.after_ms), ("slow_reader", 0));
    assert!(native.try_next().await.unwrap().is_none());

    let mut again = Native::open(&bob, None).await;
    again.subscribe(&[(&conversation, Some(0))]);
    offsets_until(&mut again, 0, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_too_slow_at_one_node_gets_the_answer_whole_at_another() {
    const PIECES: usize = 400;
    let (redis, upstream) =
        (RedisServer::start().await, Upstream::start(Script::anthropic().stepped().pieces(PIECES).end()).await);
    let (redis_url, url) = (redis.url(), upstream.url());
    let settings = [&[("redis_url", redis_url.as_str())], &upstream.settings(&url)[..]].concat();
    let here = Server::with(&[&settings[..], &[("lane_frames", "10")]].concat()).await;
    // There as much may wait as there is, and nothing is joined: each piece has the next offset.
    let there = here.beside(&settings).await;
    let (alice, bob, conversation, mut native) = stalled(&here).await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let whole: String = (1..=PIECES).map(piece).collect();

    // Half of it, and more messages than may wait.
    upstream.release(PIECES / 2);
    eventually("half is said", async || {
        let message = alice.message(&conversation, &answer).await;
        message["content"].as_str().is_some_and(|content| content.len() >= whole.len() / 4)
    })
    .await;
    say(&alice.at(&there), &conversation, 30).await;
    let (mut text, mut place) = (String::new(), 0);
    loop {
        let ServerFrame { offset, payload, .. } = native.next().await;
        place = offset.unwrap_or(place);
        match payload.unwrap() {
            Payload::Token(token) => {
                assert_eq!(token.index, text.len() as i64);
                text += &token.content;
            }
            Payload::Reconnect(reconnect) => {
                assert_eq!(reconnect.reason, "slow_reader");
                break;
            }
            _ => {}
        }
    }
    assert!(native.try_next().await.unwrap().is_none());

    upstream.release(PIECES);
    let mut again = Native::open(&bob.at(&there), None).await;
    again.subscribe(&[(&conversation, Some(place))]);
    let mut is_ended = false;
    while !is_ended {
        let ServerFrame { offset, payload, .. } = again.next().await;
        if let Some(offset) = offset {
            assert_eq!(offset, place + 1, "nothing is missing, nothing comes twice");
            place = offset;
        }
        match payload.unwrap() {
            Payload::Token(token) => {
                assert_eq!(token.index, text.len() as i64);
                text += &token.content;
            }
            Payload::End(_) => is_ended = true,
            Payload::Snapshot(_) | Payload::Reconnect(_) => panic!("not expected of a place that can be recovered"),
            _ => {}
        }
    }
    assert_eq!(text, whole);
    assert_eq!(bob.at(&there).message(&conversation, &answer).await["content"], whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_five_failed_sends_nothing_is_sent_until_a_ping_is_answered_and_then_everything() {
    let server = Server::with(&[("lane_frames", "10"), ("recovery_page_bytes", "2000")]).await;
    let (alice, _, conversation, mut native) = stalled(&server).await;
    native.grant(PLENTY);
    say(&alice, &conversation, 3).await;
    offsets_until(&mut native, 0, 3).await;

    // Four are not enough, and what is taken in between begins the count anew.
    native.report(failed(4));
    native.grant(1);
    native.report(failed(4));
    say(&alice, &conversation, 1).await;
    offsets_until(&mut native, 3, 4).await;

    native.report(failed(1));
    // Reports are read in order, and an answer to this one says that they were.
    native.ask(client_frame::Payload::Heartbeat(Heartbeat::default()));
    native.find(|payload| matches!(payload, Payload::HeartbeatAck(_)).then_some(())).await;
    // Far more than may wait: it waits in the history.
    say(&alice, &conversation, 40).await;
    native.ask(client_frame::Payload::Ping(Ping::default()));
    assert!(matches!(native.next().await.payload, Some(Payload::Pong(_))), "sent although the breaker is open");
    native.report(answered(Duration::from_millis(20)));
    offsets_until(&mut native, 4, 44).await;
    say(&alice, &conversation, 2).await;
    offsets_until(&mut native, 44, 46).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_caught_up_does_not_hold_up_what_is_live() {
    const MISSED: usize = 300;
    let server = Server::with(&[("recovery_page_bytes", "4000")]).await;
    let alice = server.register("alice").await;
    let (long, live) = (alice.conversation().await, alice.conversation().await);
    say(&alice, &long, MISSED).await;

    let mut native = Native::open(&alice, Some(4000)).await;
    native.subscribe(&[(&long, Some(0)), (&live, None)]);
    native.find(|payload| matches!(payload, Payload::SubscriptionConfirmed(_)).then_some(())).await;
    say(&alice, &live, 1).await;
    say(&alice, &long, 1).await;
    native.grant(PLENTY);
    let (mut last, mut before) = (0, None);
    while last < MISSED as i64 + 1 {
        let frame = native.next().await;
        match (frame.topic, frame.offset) {
            (Some(topic), Some(offset)) if topic.ends_with(&long) => {
                assert_eq!(offset, last + 1);
                last = offset;
            }
            (Some(_), Some(_)) => before = Some(last),
            _ => {}
        }
    }
    assert!(before.is_some_and(|before| before < MISSED as i64 / 2), "live after {before:?} of {MISSED} missed ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_out_is_gone_at_once_even_when_it_takes_nothing() {
    let server = Server::start().await;
    let (_, bob, _, mut native) = stalled(&server).await;
    assert_eq!(bob.post("/api/v1/auth/logout", serde_json::json!({})).await.0, 200);
    let end = loop {
        match native.try_next().await {
            Ok(frame) => assert!(frame.is_some(), "ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_on_without_taking_answers_is_sent_away() {
    let server = Server::start().await;
    let (_, _, _, mut native) = stalled(&server).await;
    for _ in 0..40 {
        native.ask(client_frame::Payload::Ping(Ping::default()));
    }
    let reason = native
        .find(|payload| if let Payload::Reconnect(reconnect) = payload { Some(reconnect.reason) } else { None })
        .await;
    assert_eq!(reason, "slow_reader");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_unhealthy_three_times_running_is_asked_to_come_back() {
    let server = Server::with(&[("health_interval", "0.2")]).await;
    let alice = server.register("alice").await;
    let mut native = Native::open(&alice, None).await;
    // Slow, but without errors: degraded, and left alone.
    native.report(answered(Duration::from_secs(5)));
    native.ask(client_frame::Payload::Heartbeat(Heartbeat::default()));
    native.find(|payload| matches!(payload, Payload::HeartbeatAck(_)).then_some(())).await;
    native.report(failed(100));
    let reconnect =
        native.find(|payload| if let Payload::Reconnect(reconnect) = payload { Some(reconnect) } else { None }).await;
    assert_eq!(reconnect.reason, "unhealthy");
    assert!(native.try_next().await.unwrap().is_none());
}
