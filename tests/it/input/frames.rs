//! Bad frames of sockets.

use colloquy::proto::{ClientFrame, ConnectRequest, ConnectResponse};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use prost_types::Timestamp;
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};
use tonic::Code;

use super::{Case, Ids, NOBODYS, fields, refused};
use crate::harness::{Actor, Server, Socket, reason, soon};

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

/// Opens a native session whose first request is `request`, whatever that is, and returns how it ends.
async fn native<T: prost::Message + 'static>(alice: &Actor, request: T) -> (Code, String) {
    let mut grpc = alice.grpc();
    grpc.ready().await.unwrap();
    let requests = tonic::Request::new(stream::iter([request]).chain(stream::pending()));
    let path = "/colloquy.v1.SessionService/Connect".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<T, ConnectResponse>::default();
    let mut session = soon("a session", grpc.streaming(requests, path, codec)).await.unwrap().into_inner();
    loop {
        match soon("a frame", session.message()).await {
            Ok(frame) => assert!(frame.is_some(), "the session does not say what was wrong"),
            Err(status) => return reason::<()>(Err(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_session_ends_with_what_is_wrong_with_its_frame() {
    let alice = Server::start().await.register("alice").await;
    // Its first field is a number, where a session's is a message.
    let foreign = Timestamp { seconds: 5, nanos: 0 };
    assert_eq!(native(&alice, foreign).await, (Code::InvalidArgument, "INVALID_MESSAGE".into()));

    let large =
        ConnectRequest { frame: Some(ClientFrame { id: "x".repeat(65_700), ..ClientFrame::default() }), report: None };
    assert!(large.encoded_len() > 65_600);
    assert_eq!(native(&alice, large).await, (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_into_a_conversation_by_no_id_is_refused_instead_of_opened_outside() {
    let alice = Server::start().await.register("alice").await;
    for name in ["mine", "%C3%A9", "a%0Ab"] {
        let mut socket = Socket::open(&format!("{}&session_id={name}", alice.socket_url(""))).await;
        let refused = socket.until("error").await;
        assert_eq!(
            (&refused["data"]["code"], fields(&refused["data"]["details"])),
            (&json!("INVALID_MESSAGE"), vec!["session_id".to_owned()])
        );
        assert_eq!(socket.close_code().await, 3500, "{name}");
    }
}
