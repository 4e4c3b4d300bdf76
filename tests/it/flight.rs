//! The flight recorder: admins see what passed on a connection, and never what was said.

use colloquy::proto::{Heartbeat, client_frame::Payload};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::harness::{ADMIN, Actor, Native, PATIENCE, RedisServer, Server, Socket, eventually, within};

/// What the recorder must not know.
const TEXT: &str = "for your eyes only";

async fn flight(admin: &Actor, connection: &str) -> (u16, Value) {
    admin.get(&format!("/api/v1/admin/connections/{connection}/frames")).await
}

/// What an admin sees as soon as it is so.
async fn seen(admin: &Actor, connection: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    within(PATIENCE, "the frames have passed", async || {
        seen = flight(admin, connection).await.1;
        is_so(&seen)
    })
    .await;
    seen
}

/// Opens a socket: it and the connection's id.
async fn connect(actor: &Actor) -> (Socket, String) {
    let mut socket = Socket::open(&actor.socket_url("")).await;
    let established = socket.until("connection.established").await;
    (socket, established["data"]["connection_id"].as_str().unwrap().to_owned())
}

fn text<'a>(frame: &'a Value, field: &str) -> &'a str {
    frame[field].as_str().unwrap_or_else(|| panic!("no {field}: {frame}"))
}

fn moment(frame: &Value, field: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text(frame, field), &Rfc3339).unwrap()
}

/// Which way frames went, their types, and the ids that the client gave.
fn passed(seen: &Value) -> Vec<(&str, &str, &str)> {
    let frames = seen["frames"].as_array().unwrap().iter();
    frames.map(|frame| (text(frame, "direction"), text(frame, "type"), text(frame, "id"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_see_what_passed_and_not_what_was_said() {
    let server = Server::with(&[&ADMIN[..], &[("node", "here")]].concat()).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let conversation = alice.conversation().await;
    let (mut socket, connection) = connect(&alice).await;
    socket.ask("j1", "join_session", json!({ "session_id": conversation })).await;
    socket.answer_to("j1").await;
    socket.ask("m1", "message", json!({ "content": TEXT, "conversation_id": conversation, "reply": false })).await;
    socket.until("message").await;
    socket.ask("s1", "stop", json!({ "message_id": conversation })).await;
    socket.answer_to("s1").await;
    socket.ask("s2", "stop", json!({ "message_id": "none" })).await;
    socket.answer_to("s2").await;

    let (status, seen) = flight(&root, &connection).await;
    assert_eq!(status, 200, "{seen}");
    let expected = [
        ("out", "connection.established", ""),
        ("in", "join_session", "j1"),
        ("out", "subscription.confirmed", "j1"),
        ("in", "message", "m1"),
        ("out", "message.accepted", "m1"),
        ("out", "message", ""),
        ("in", "stop", "s1"),
        ("out", "error", "s1"),
        ("in", "", "s2"),
        ("out", "error", "s2"),
    ];
    // What tells of presence and of delivery comes when it comes.
    let of_the_moment = ["user_joined", "user.status_changed", "message.delivered"];
    let passed: Vec<_> = passed(&seen).into_iter().filter(|(_, name, _)| !of_the_moment.contains(name)).collect();
    assert_eq!(passed, expected, "{seen}");
    let frames = seen["frames"].as_array().unwrap();
    let frame = |direction: &str, name: &str| {
        let is_meant = |frame: &&Value| frame["direction"] == direction && frame["type"] == name;
        frames.iter().find(is_meant).unwrap()
    };
    let codes: Vec<_> = frames.iter().map(|frame| text(frame, "code")).filter(|code| !code.is_empty()).collect();
    assert_eq!(codes, ["NOT_FOUND", "INVALID_MESSAGE", "INVALID_MESSAGE"]);
    let message = frame("out", "message");
    assert_eq!(message["topic"], format!("conversation:{conversation}"));
    assert!(message["offset"].as_i64().unwrap() > 0, "{message}");
    assert_eq!((&frame("in", "message")["topic"], frame("in", "message").get("offset")), (&json!(""), None));
    assert!(frame("in", "message")["bytes"].as_u64().unwrap() > (TEXT.len() + conversation.len()) as u64);
    assert!(frames.iter().all(|frame| frame["bytes"].as_u64().unwrap() > 0));
    let times: Vec<_> = frames.iter().map(|frame| moment(frame, "timestamp")).collect();
    assert!(moment(&seen, "connected_at") <= times[0] && times.is_sorted(), "{seen}");
    assert_eq!(
        (text(&seen, "connection_id"), text(&seen, "user_id"), text(&seen, "node")),
        (&*connection, &*alice.me().await.unwrap().id, "here")
    );
    assert_eq!((seen["frame_count"].as_u64(), seen.get("ended_at")), (Some(frames.len() as u64), None));
    assert!(!seen.to_string().contains(TEXT), "{seen}");

    assert_eq!(flight(&alice, &connection).await.0, 403);
    assert_eq!(flight(&server.visitor(), &connection).await.0, 401);
    assert_eq!(flight(&root, &conversation).await.0, 404);
    assert_eq!(flight(&root, "none").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hundred_frames_are_kept_beyond_the_end_of_the_connection() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let mut native = Native::open(&alice, None).await;
    let connection = native.find(|payload| match payload {
        colloquy::proto::server_frame::Payload::ConnectionEstablished(it) => Some(it.connection_id),
        _ => None,
    });
    let connection = connection.await;
    for _ in 0..150 {
        native.ask(Payload::Heartbeat(Heartbeat::default()));
    }
    let all = |seen: &Value| seen["frame_count"] == 301;
    let busy = seen(&root, &connection, all).await;
    assert_eq!(busy["frames"].as_array().unwrap().len(), 100);
    assert_eq!(passed(&busy)[99], ("out", "heartbeat_ack", "native"));
    native.hang_up();
    while native.try_next().await.unwrap().is_some() {}
    let ended = seen(&root, &connection, |seen| seen.get("ended_at").is_some()).await;
    assert_eq!((&ended["frames"], &ended["frame_count"]), (&busy["frames"], &busy["frame_count"]));
    assert!(moment(&ended, "ended_at") >= moment(&ended["frames"][99], "timestamp"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frames_of_another_nodes_connection_are_to_be_asked_for_there() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [&ADMIN[..], &[("redis_url", &*url), ("report_interval", "0.05")]].concat();
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    let (root, alice) = (here.admin().await, here.register("alice").await.at(&there));
    let (_socket, connection) = connect(&alice).await;
    eventually("it is told of", async || flight(&root, &connection).await.0 == 400).await;
    let (_, refused) = flight(&root, &connection).await;
    assert_eq!(refused["error"]["code"], "FAILED_PRECONDITION", "{refused}");
    let (status, seen) = flight(&root.at(&there), &connection).await;
    assert_eq!((status, passed(&seen)[0]), (200, ("out", "connection.established", "")), "{seen}");
}
