//! Streams over Server-Sent Events.

use std::time::Duration;

use colloquy_bridge::Settings;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::join;
use tonic::Status;

use super::harness::{Bridge, bridge, bridge_with, soon};

/// Reads the body's next chunk of whole events; `None` at the end.
async fn chunk(response: &mut Response<Incoming>) -> Option<String> {
    let frame = soon(response.body_mut().frame()).await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

async fn post(bridge: &Bridge, body: Value) -> Response<Incoming> {
    let headers = [("content-type", "application/json")];
    bridge.open(Method::POST, "/api/v1/chat/stream", &headers, &body.to_string()).await
}

fn data(event: &str) -> Value {
    let line = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str(line).unwrap()
}

#[tokio::test]
async fn events_are_flat_and_carry_their_offset() {
    let (bridge, mut core) = bridge().await;
    let (mut response, mut answering) = join!(post(&bridge, json!({"message": "hi"})), async {
        let mut call = core.expect("ChatService/StreamChat").await;
        assert_eq!(call.message().await, json!({"message": "hi"}));
        call.open()
    });
    // The head is there before the first event.
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-cache");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert!(response.headers().contains_key("x-request-id"));

    answering.send(json!({"event": {"start": {"session_id": "c", "conversation_id": "c", "message_id": "m"}}})).await;
    let start = chunk(&mut response).await.unwrap();
    assert!(start.starts_with("id: 0\ndata: {\"type\":\"start\",") && start.ends_with("}\n\n"), "{start}");

    answering
        .send(json!({"event": {"offset": 5, "token": {"conversation_id": "c", "message_id": "m", "content": "a\nb"}}}))
        .await;
    let token = chunk(&mut response).await.unwrap();
    assert_eq!(token.lines().collect::<Vec<_>>()[0], "id: 5");
    assert_eq!(
        data(&token),
        json!({"type": "token", "conversation_id": "c", "message_id": "m", "content": "a\nb", "index": 0}),
    );

    answering.end(Status::ok("")).await;
    assert_eq!(chunk(&mut response).await, None);
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_id_or_the_query() {
    let (bridge, mut core) = bridge().await;
    let table = [
        ("/api/v1/chat/stream/m", Some(("last-event-id", "7")), 7),
        ("/api/v1/chat/stream/m?after=5", None, 5),
        ("/api/v1/chat/stream/m?after=5", Some(("last-event-id", "7")), 7),
        ("/api/v1/chat/stream/m", None, 0),
    ];
    for (path, header, after) in table {
        let (answer, ()) = join!(bridge.send(Method::GET, path, header.as_slice(), ""), async {
            let mut call = core.expect("ChatService/ResumeChat").await;
            assert_eq!(call.message().await, json!({"message_id": "m", "after": after}));
            call.answer(json!({"event": {"offset": 9, "end": {"finish_reason": "stop"}}})).await;
        });
        assert!(answer.body.starts_with(b"id: 9\ndata: {\"type\":\"end\","), "{answer:?}");
    }
    let answer = bridge.send(Method::GET, "/api/v1/chat/stream/m", &[("last-event-id", "x")], "").await;
    assert_eq!((answer.status.as_u16(), &*answer.error()), (400, "INVALID_ARGUMENT"));
}

#[tokio::test]
async fn a_call_that_fails_before_it_streams_is_an_ordinary_error() {
    let (bridge, mut core) = bridge().await;
    let (answer, ()) = join!(bridge.get("/api/v1/chat/stream/m"), async {
        core.call().await.fail(Status::not_found("there is no such message"));
    });
    assert_eq!((answer.status.as_u16(), &*answer.error()), (404, "NOT_FOUND"));

    // A stream whose first word is a failure is no stream either.
    let (answer, ()) = join!(bridge.get("/api/v1/chat/stream/m"), async {
        core.call().await.open_and_end(Status::permission_denied("not yours"));
    });
    assert_eq!((answer.status.as_u16(), &*answer.error()), (403, "PERMISSION_DENIED"));
}

#[tokio::test]
async fn a_stream_that_fails_in_the_middle_ends_with_an_error_event() {
    let (bridge, mut core) = bridge().await;
    let (mut response, mut answering) =
        join!(post(&bridge, json!({"message": "hi"})), async { core.call().await.open() });
    answering.send(json!({"event": {"offset": 1, "token": {"content": "a"}}})).await;
    chunk(&mut response).await.unwrap();
    answering.end(Status::unavailable("the node stops")).await;
    let error = chunk(&mut response).await.unwrap();
    assert!(error.starts_with("id: 1\ndata: "), "the place behind the last event: {error}");
    let expected =
        json!({"type": "error", "code": "UNAVAILABLE", "message": "the node stops", "retryable": true, "details": []});
    assert_eq!(data(&error), expected);
    assert_eq!(chunk(&mut response).await, None);
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_event_leaves_the_client_where_it_was() {
    let (bridge, mut core) = bridge().await;
    let (mut response, mut answering) =
        join!(bridge.open(Method::GET, "/api/v1/chat/stream/m", &[("last-event-id", "7")], ""), async {
            core.call().await.open()
        });
    answering.end(Status::unavailable("the node stops")).await;
    let error = chunk(&mut response).await.unwrap();
    assert!(error.starts_with("id: 7\ndata: "), "{error}");
}

#[tokio::test]
async fn silence_is_broken_by_comments() {
    let settings = Settings { sse_keep_alive: Duration::from_millis(10), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (mut response, _answering) = join!(post(&bridge, json!({"message": "hi"})), async { core.call().await.open() });
    for _ in 0..2 {
        assert_eq!(chunk(&mut response).await.unwrap(), ":\n\n");
    }
}

#[tokio::test]
async fn a_client_that_leaves_drops_the_call() {
    let (bridge, mut core) = bridge().await;
    let (response, answering) = join!(post(&bridge, json!({"message": "hi"})), async { core.call().await.open() });
    drop(response);
    answering.abandoned().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let settings = Settings { drain_limit: Duration::from_millis(50), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (_deaf, call) = join!(bridge.hanging("/api/v1/chat/stream/m"), core.call());
    let mut answering = call.open();
    let token = json!({"event": {"offset": 1, "token": {"content": "x".repeat(1 << 20)}}});
    while !answering.is_abandoned() {
        answering.send(token.clone()).await;
    }
}
