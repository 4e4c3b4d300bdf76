//! Bad frames of sockets.

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::{Case, Ids, NOBODYS, refused};
use crate::harness::Server;

/// What only frames can get wrong.
fn frames(ids: &Ids) -> Vec<Case> {
    let large = |bytes: usize| json!({ "type": "ping", "id": "bad", "data": { "pingId": "x".repeat(bytes) } });
    let id = &ids.own;
    vec![
        Case::new("an unknown type", "INVALID_MESSAGE_TYPE", "type").frame("dance", json!({})),
        Case::new("a type of the server's", "INVALID_MESSAGE_TYPE", "type").frame("token", json!({})),
        Case::invalid("no type", "type").text(r#"{"id":"bad"}"#),
        Case::invalid("a number for a type", "type").text(r#"{"id":"bad","type":5}"#),
        Case::new("a frame that is no JSON", "INVALID_JSON", "").text("hello"),
        Case::new("an empty frame", "INVALID_JSON", "").text(""),
        Case::invalid("a list for a frame", "").text("[]"),
        Case::invalid("an unknown member", "colour").text(r#"{"type":"ping","id":"bad","colour":"red"}"#),
        Case::invalid("a binary frame", "").binary(b"\x52\x00"),
        Case::new("a frame of more than 64 KiB", "MESSAGE_TOO_LARGE", "").text(large(65_536).to_string()),
        Case::invalid("a long id of a ping", "pingId").text(large(129).to_string()),
        Case::invalid("a long id of a frame", "id").text(json!({ "type": "ping", "id": "x".repeat(129) }).to_string()),
        Case::invalid("a read marker beyond the end", "seq").frame("read", json!({ "conversation_id": id, "seq": 9 })),
        Case::invalid("no limit", "limit").frame("history", json!({ "conversation_id": id, "limit": 0 })),
        Case::invalid("too many topics", "topics").frame("subscribe", json!({ "events": vec!["a"; 101] })),
        Case::new("a run that is not there", "NOT_FOUND", "").frame("stop", json!({ "message_id": id })),
        Case::new("somebody else's room", "NOT_FOUND", "").frame("join_session", json!({ "session_id": ids.foreign })),
        Case::new("nobody's room", "NOT_FOUND", "").frame("join_session", json!({ "session_id": NOBODYS })),
        Case::invalid("a room by no id", "session_id").frame("join_session", json!({ "session_id": "mine" })),
        Case::invalid("somebody else's topic", &format!("conversation:{}", ids.foreign))
            .frame("subscribe", json!({ "topics": [{ "topic": format!("conversation:{}", ids.foreign) }] })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_are_refused_and_the_socket_stays() {
    refused(&Server::start().await, frames).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_closes_its_socket_and_no_other() {
    let alice = Server::start().await.register("alice").await;
    let (mut broken, mut other) = (alice.socket().await, alice.socket().await);
    let text = Frame::message(&b"{\"type\":\"ping\",\"id\":\"\xff\"}"[..], OpCode::Data(Data::Text), true);
    broken.send_raw(Message::Frame(text)).await;
    assert_eq!(broken.close_code().await, 1007);
    for socket in [&mut other, &mut alice.socket().await] {
        socket.ask("after", "ping", json!({})).await;
        assert_eq!(socket.answer_to("after").await["type"], "pong");
    }
}
