//! What the stop signal does.

use std::time::Duration;

use colloquy_bridge::Settings;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::join;
use tonic::Status;

use super::harness::{bridge, bridge_with, soon};

#[tokio::test]
async fn an_idle_bridge_ends_at_once() {
    let (bridge, _core) = bridge().await;
    bridge.get("/health").await;
    bridge.stop();
    bridge.ended().await;
}

#[tokio::test]
async fn requests_underway_are_answered() {
    let (bridge, mut core) = bridge().await;
    let (answer, ()) = join!(bridge.get("/api/v1/users/me"), async {
        let call = core.call().await;
        bridge.stop();
        call.answer(json!({})).await;
    });
    assert_eq!(answer.status, 200);
    bridge.ended().await;
}

#[tokio::test]
async fn event_streams_underway_come_to_their_end() {
    let (bridge, mut core) = bridge().await;
    let path = "/api/v1/chat/stream/m";
    let (response, mut answering) = join!(bridge.open(Method::GET, path, &[], ""), async { core.call().await.open() });
    bridge.stop();
    answering.send(json!({"event": {"offset": 1, "token": {"content": "a"}}})).await;
    answering.send(json!({"event": {"offset": 1, "end": {"finish_reason": "stop"}}})).await;
    answering.end(Status::ok("")).await;
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(body.contains("\"type\":\"token\"") && body.contains("\"type\":\"end\""), "{body}");
    bridge.ended().await;
}

#[tokio::test]
async fn event_streams_that_outlast_the_grace_are_told_to_come_back() {
    let settings = Settings { shutdown_grace: Duration::from_millis(20), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let path = "/api/v1/chat/stream/m";
    let (mut response, mut answering) =
        join!(bridge.open(Method::GET, path, &[], ""), async { core.call().await.open() });
    answering.send(json!({"event": {"offset": 1, "token": {"message_id": "m", "content": "a"}}})).await;
    let token = soon(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
    assert!(token.starts_with(b"id: 1\n"));
    bridge.stop();
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    let last = body.strip_prefix(b"id: 1\ndata: ").expect("one event, with the id of the one before: the cursor stays");
    let last: Value = serde_json::from_slice(last).unwrap();
    assert_eq!(last["type"], "error");
    assert_eq!((&last["code"], &last["retryable"]), (&json!("UNAVAILABLE"), &json!(true)));
    assert_eq!(last["message_id"], "m");
    answering.abandoned().await;
    bridge.ended().await;
}

#[tokio::test]
async fn sockets_end_in_the_words_of_the_core() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut answering) = join!(bridge.socket("/api/v1/ws?token=t"), async { core.call().await.open() });
    bridge.stop();
    answering.send(json!({"frame": {"reconnect": {"after_ms": 10, "reason": "shutdown"}}})).await;
    answering.end(Status::ok("")).await;
    assert_eq!(socket.frame().await["type"], "reconnect");
    assert_eq!(socket.closed().await, 3000);
    drop(socket);
    bridge.ended().await;
}

#[tokio::test]
async fn sockets_of_a_silent_core_are_asked_to_come_back_after_different_pauses() {
    let settings = Settings { shutdown_grace: Duration::from_millis(20), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(join!(bridge.socket("/api/v1/ws?token=t"), async { core.call().await.open() }));
    }
    bridge.stop();
    let mut pauses = Vec::new();
    for (mut socket, answering) in open {
        let frame = socket.frame().await;
        assert_eq!((&frame["type"], &frame["data"]["reason"]), (&json!("reconnect"), &json!("shutdown")), "{frame}");
        pauses.push(frame["data"]["after_ms"].as_i64().unwrap());
        assert_eq!(socket.closed().await, 3000);
        answering.abandoned().await;
    }
    assert!(pauses.iter().all(|pause| (0..5000).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "they would all come at once: {pauses:?}");
    bridge.ended().await;
}

#[tokio::test]
async fn requests_that_outlast_the_grace_are_cut() {
    let settings = Settings { shutdown_grace: Duration::from_millis(20), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let request = bridge.hanging("/api/v1/users/me").await;
    let call = core.call().await;
    bridge.stop();
    bridge.ended().await;
    drop((request, call));
}
