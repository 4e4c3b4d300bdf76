//! Sockets and their frames.

use std::time::Duration;

use colloquy_bridge::{MAX_FRAME_CAP, Settings};
use http::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, join};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    core::{Answering, Core, encode, show},
    harness::{Bridge, Socket, bridge, bridge_with},
};

const CONVERSATION: &str = "0190f3c2-7d1e-7b6a-9b0e-3f2d1c0b9a88";

/// A socket whose session the core has opened.
async fn open(bridge: &Bridge, core: &mut Core) -> (Socket, Answering) {
    join!(bridge.socket("/api/v1/ws?token=t"), async { core.expect("SessionService/Connect").await.open() })
}

#[tokio::test]
async fn frames_go_both_ways() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;

    socket
        .send(json!({"type": "read", "id": "f1", "timestamp": 12, "data": {"conversation_id": "c", "seq": "3"}}))
        .await;
    let frame = session.received().await.unwrap();
    assert_eq!(frame, json!({"frame": {"id": "f1", "read": {"conversation_id": "c", "seq": 3}}}));

    session
        .send(json!({"frame": {
            "id": "s1", "timestamp": "2026-01-02T03:04:05Z", "reply_to": "f1", "topic": "conversation:c", "offset": 4,
            "token": {"conversation_id": "c", "message_id": "m", "content": "é", "index": 0},
        }}))
        .await;
    let expected = json!({
        "type": "token", "id": "s1", "timestamp": "2026-01-02T03:04:05Z", "reply_to": "f1", "topic": "conversation:c", "offset": 4,
        "data": {"conversation_id": "c", "message_id": "m", "content": "é", "index": 0},
    });
    assert_eq!(socket.frame().await, expected);

    session.send(json!({"frame": {"id": "s2", "pong": {"pingId": "p"}}})).await;
    assert_eq!(socket.frame().await, json!({"type": "pong", "id": "s2", "data": {"pingId": "p"}}));
}

#[tokio::test]
async fn what_clients_write_differently_is_understood() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    let post = |content: &str| json!({"content": content});
    let table = [
        (json!({"type": "ping"}), json!({"id": "", "ping": {}})),
        (json!({"type": "ping", "id": 7, "data": null}), json!({"id": "7", "ping": {}})),
        (json!({"type": "ping", "id": null, "data": {"ping_id": "a"}}), json!({"id": "", "ping": {"pingId": "a"}})),
        (json!({"type": "message", "message": "hi"}), json!({"id": "", "message": post("hi")})),
        (json!({"type": "message", "data": {"message": "hi"}}), json!({"id": "", "message": post("hi")})),
        (json!({"type": "message", "data": {"content": "hi"}}), json!({"id": "", "message": post("hi")})),
        (
            json!({"data": {"conversation_id": "c"}, "message": "hi", "type": "message"}),
            json!({"id": "", "message": {"content": "hi", "conversation_id": "c"}}),
        ),
        (
            json!({"type": "join_session", "data": {"conversation_id": "c"}}),
            json!({"id": "", "join_session": {"session_id": "c"}}),
        ),
        (json!({"type": "auth.refresh", "data": {"token": "t"}}), json!({"id": "", "auth_refresh": {"token": "t"}})),
    ];
    for (sent, received) in table {
        socket.send(sent.clone()).await;
        assert_eq!(session.received().await.unwrap(), json!({"frame": received}), "{sent}");
    }
}

#[tokio::test]
async fn a_bad_frame_gets_an_error_and_the_connection_stays() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    let table = [
        ("{", "INVALID_JSON", None, None),
        ("nonsense", "INVALID_JSON", None, None),
        ("[1]", "INVALID_MESSAGE", None, None),
        (r#"{"id":"a"}"#, "INVALID_MESSAGE", Some("type"), Some("a")),
        (r#"{"id":"a","type":7}"#, "INVALID_MESSAGE", Some("type"), Some("a")),
        (r#"{"id":{},"type":"ping"}"#, "INVALID_MESSAGE", Some("id"), None),
        (r#"{"id":"a","type":"pong"}"#, "INVALID_MESSAGE_TYPE", Some("type"), Some("a")),
        (r#"{"id":"a","type":"ping","data":{"x":1}}"#, "INVALID_MESSAGE", Some("x"), Some("a")),
        (r#"{"id":"a","type":"ping","data":7}"#, "INVALID_MESSAGE", None, Some("a")),
        (r#"{"id":"a","type":"ping","extra":1}"#, "INVALID_MESSAGE", Some("extra"), Some("a")),
        (r#"{"id":3,"type":"ping","message":"hi"}"#, "INVALID_MESSAGE", Some("message"), Some("3")),
        (r#"{"type":"message","message":"a","data":{"content":"b"}}"#, "INVALID_MESSAGE", Some("message"), None),
        (r#"{"type":"read","data":{"seq":1.5}}"#, "INVALID_MESSAGE", Some("seq"), None),
        (r#"{"id":"a","type":"ping","type":"ping"}"#, "INVALID_MESSAGE", Some("type"), Some("a")),
        (r#"{"id":"a","id":"b","type":"ping"}"#, "INVALID_MESSAGE", Some("id"), Some("a")),
        (r#"{"id":"a","type":"ping","data":{},"data":{}}"#, "INVALID_MESSAGE", Some("data"), Some("a")),
        (r#"{"timestamp":1,"id":"a","type":"ping","timestamp":1}"#, "INVALID_MESSAGE", Some("timestamp"), Some("a")),
    ];
    for (sent, code, field, reply_to) in table {
        socket.send_message(Message::text(sent)).await;
        let frame = socket.frame().await;
        assert_eq!((&frame["type"], &frame["data"]["code"]), (&json!("error"), &json!(code)), "{sent}");
        assert_eq!(frame.get("reply_to"), reply_to.map(Value::from).as_ref(), "{sent}");
        assert!(frame["id"].is_string() && frame["timestamp"].is_string(), "{frame}");
        if let Some(field) = field {
            assert_eq!(frame["data"]["details"][0]["field"], field, "{sent}");
        }
    }
    socket.send_message(Message::binary(&b"x"[..])).await;
    assert_eq!(socket.frame().await["data"]["code"], "INVALID_MESSAGE");

    socket.send(json!({"type": "ping", "id": "still"})).await;
    assert_eq!(session.received().await.unwrap()["frame"]["id"], "still");
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_and_one_far_over_it_ends_the_connection() {
    for (max_frame_bytes, cap) in [(1000, 4000), (MAX_FRAME_CAP / 2, MAX_FRAME_CAP)] {
        let (bridge, mut core) = bridge_with(Settings { max_frame_bytes, ..Settings::default() }).await;
        let (mut socket, _session) = open(&bridge, &mut core).await;
        socket.send(json!({"type": "message", "id": "big", "message": "x".repeat(max_frame_bytes)})).await;
        let frame = socket.frame().await;
        assert_eq!((&frame["data"]["code"], &frame["reply_to"]), (&json!("MESSAGE_TOO_LARGE"), &json!("big")));
        socket.send_message(Message::text("x".repeat(cap))).await;
        assert_eq!(socket.frame().await["data"]["code"], "MESSAGE_TOO_LARGE");

        socket.send_message(Message::text("x".repeat(cap + 1))).await;
        assert_eq!(socket.closed().await, 1009);
    }
}

#[tokio::test]
async fn a_message_that_is_never_finished_does_not_pile_up() {
    let (bridge, mut core) = bridge_with(Settings { max_frame_bytes: 1000, ..Settings::default() }).await;
    let (mut socket, _session) = open(&bridge, &mut core).await;
    let fragment = |opcode| Frame::message(vec![b'x'; 1000], OpCode::Data(opcode), false);
    socket.send_message(Message::Frame(fragment(Data::Text))).await;
    for _ in 0..4 {
        socket.send_message(Message::Frame(fragment(Data::Continue))).await;
    }
    assert_eq!(socket.closed().await, 1009);
}

#[tokio::test]
async fn a_long_id_of_a_bad_frame_is_told_back_in_part() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, _session) = open(&bridge, &mut core).await;
    let id = "é".repeat(50_000);
    for bad in [json!({"id": id, "type": "ping"}), json!({"id": id[..1000], "type": "pong"})] {
        socket.send(bad).await;
        assert_eq!(socket.frame().await["reply_to"], "é".repeat(128));
    }
}

#[tokio::test]
async fn a_conversation_whose_name_is_no_id_is_refused_by_the_bridge_already() {
    let (bridge, mut core) = bridge().await;
    let mut socket = bridge.socket("/api/v1/ws?token=t&session_id=a%0Ab").await;
    let frame = socket.frame().await;
    assert_eq!(
        (&frame["data"]["code"], &frame["data"]["details"][0]["field"]),
        (&json!("INVALID_MESSAGE"), &json!("session_id"))
    );
    assert_eq!(socket.closed().await, 3500);
    assert!(core.is_idle());
}

#[tokio::test]
async fn repeated_abuse_ends_the_connection() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, _session) = open(&bridge, &mut core).await;
    for _ in 0..21 {
        socket.send_message(Message::text("x")).await;
    }
    for _ in 0..21 {
        assert_eq!(socket.frame().await["data"]["code"], "INVALID_JSON");
    }
    assert_eq!(socket.frame().await["type"], "error");
    assert_eq!(socket.closed().await, 1008);
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_the_connection() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, _session) = open(&bridge, &mut core).await;
    // A final, masked text frame of the byte 0xff.
    socket.stream().write_all(&[0x81, 0x81, 0, 0, 0, 0, 0xff]).await.unwrap();
    assert_eq!(socket.closed().await, 1007);
}

#[tokio::test]
async fn frames_may_be_protobuf() {
    let (bridge, mut core) = bridge().await;
    let protocol = [("sec-websocket-protocol", "unknown, colloquy.v1.proto")];
    let ((mut socket, headers), mut session) =
        join!(bridge.socket_with("/api/v1/ws?token=t", &protocol), async { core.call().await.open() });
    assert_eq!(headers["sec-websocket-protocol"], "colloquy.v1.proto");

    let ping = json!({"id": "f1", "ping": {"pingId": "p"}});
    socket.send_message(Message::binary(encode("colloquy.v1.ClientFrame", &ping))).await;
    assert_eq!(session.received().await.unwrap(), json!({"frame": ping}));

    let pong = json!({"id": "s1", "reply_to": "f1", "pong": {"pingId": "p"}});
    session.send(json!({"frame": pong})).await;
    assert_eq!(binary_frame(&mut socket).await, pong);

    for (bad, code) in [(&[0xff][..], "INVALID_MESSAGE"), (&[], "INVALID_MESSAGE_TYPE")] {
        socket.send_message(Message::binary(bad)).await;
        assert_eq!(binary_frame(&mut socket).await["error"]["code"], code);
    }
    socket.send_message(Message::text("{}")).await;
    assert_eq!(binary_frame(&mut socket).await["error"]["code"], "INVALID_MESSAGE");
}

async fn binary_frame(socket: &mut Socket) -> Value {
    match socket.message().await {
        Message::Binary(frame) => show("colloquy.v1.ServerFrame", &frame),
        message => panic!("{message:?} is not binary"),
    }
}

#[tokio::test]
async fn the_subprotocol_is_named_only_to_those_who_asked() {
    let (bridge, mut core) = bridge().await;
    for (asked, named) in
        [(&[][..], None), (&[("sec-websocket-protocol", "colloquy.v1.json")], Some("colloquy.v1.json"))]
    {
        let ((_socket, headers), _call) = join!(bridge.socket_with("/api/ws?token=t", asked), core.call());
        assert_eq!(headers.get("sec-websocket-protocol").map(|name| name.to_str().unwrap()), named);
    }
}

#[tokio::test]
async fn the_credential_and_the_conversation_come_by_several_ways() {
    let (bridge, mut core) = bridge().await;
    let by_path = format!("/api/v1/ws/{CONVERSATION}?ticket=k");
    let by_query = format!("/api/ws?token=t&session_id={CONVERSATION}");
    let header = [("authorization", "Bearer h")];
    let table: [(&str, &[_], &str, Option<&str>); 5] = [
        ("/api/v1/ws?token=t", &[], "Bearer t", None),
        ("/api/v1/ws/a.b.c", &[], "Bearer a.b.c", None),
        ("/api/ws/a.b.c?ticket=k", &header, "Bearer h", None),
        (&by_path, &[], "Bearer k", Some(CONVERSATION)),
        (&by_query, &[], "Bearer t", Some(CONVERSATION)),
    ];
    for (path, headers, authorization, conversation) in table {
        let (_socket, call) = join!(bridge.socket_with(path, headers), core.expect("SessionService/Connect"));
        assert_eq!(call.meta("authorization"), Some(authorization), "{path}");
        assert_eq!(call.meta("colloquy-session-id"), conversation, "{path}");
        assert!(call.meta("x-request-id").is_some() && call.meta("x-forwarded-for").is_some());
    }
}

#[tokio::test]
async fn without_a_credential_the_socket_is_told_and_closed() {
    let (bridge, mut core) = bridge().await;
    let mut socket = bridge.socket("/api/v1/ws").await;
    assert_eq!(socket.frame().await["data"]["code"], "UNAUTHENTICATED");
    assert_eq!(socket.closed().await, 1008);
    assert!(core.is_idle());
}

#[tokio::test]
async fn a_session_that_is_refused_closes_the_socket_with_a_reason() {
    let (bridge, mut core) = bridge().await;
    let limit = |limit: &str| {
        let details =
            ErrorDetails::with_error_info("CONNECTION_LIMIT_EXCEEDED", "colloquy", [("limit".into(), limit.into())]);
        Status::with_error_details(Code::ResourceExhausted, "too many connections", details)
    };
    let table = [
        (Status::unauthenticated("expired"), None, 1008),
        (limit("user"), Some("CONNECTION_LIMIT_EXCEEDED"), 4429),
        (limit("node"), Some("CONNECTION_LIMIT_EXCEEDED"), 4503),
        (Status::not_found("no such conversation"), Some("NOT_FOUND"), 3500),
        (Status::unavailable("later"), None, 3001),
    ];
    for (status, told, code) in table {
        let (mut socket, ()) = join!(bridge.socket("/api/v1/ws?token=t"), async { core.call().await.fail(status) });
        if let Some(told) = told {
            assert_eq!(socket.frame().await["data"]["code"], told);
        }
        assert_eq!(socket.closed().await, code);
    }
}

#[tokio::test]
async fn the_end_of_a_session_closes_the_socket() {
    let (bridge, mut core) = bridge().await;
    let reconnect = json!({"frame": {"reconnect": {"after_ms": 5, "reason": "slow_reader"}}});
    let table = [
        (None, Status::ok(""), 1000),
        (Some(reconnect), Status::ok(""), 3000),
        (None, Status::unauthenticated("revoked"), 1008),
        (None, Status::internal("broken"), 3001),
    ];
    for (last, status, code) in table {
        let (mut socket, mut session) = open(&bridge, &mut core).await;
        if let Some(last) = last {
            session.send(last).await;
            assert_eq!(socket.frame().await["type"], "reconnect");
        }
        session.end(status).await;
        assert_eq!(socket.closed().await, code);
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_session() {
    let (bridge, mut core) = bridge().await;
    let (socket, mut session) = open(&bridge, &mut core).await;
    socket.leave().await;
    assert_eq!(session.received().await, None);
    session.abandoned().await;
}

#[tokio::test]
async fn silence_ends_the_connection() {
    let settings = Settings {
        ping_interval: Duration::from_millis(10),
        silence_limit: Duration::from_millis(50),
        ..Settings::default()
    };
    let (bridge, mut core) = bridge_with(settings).await;
    let (mut socket, _session) = open(&bridge, &mut core).await;
    // A client answers pings only while it reads: the stop of reading is what the server sees as silence.
    socket.deaf_until_closed().await;
    assert_eq!(socket.closed().await, 3002);
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let settings = Settings {
        ping_interval: Duration::from_millis(10),
        silence_limit: Duration::from_secs(5),
        ..Settings::default()
    };
    let (bridge, mut core) = bridge_with(settings).await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    for _ in 0..5 {
        socket.pinged().await;
    }
    session.send(json!({"frame": {"pong": {}}})).await;
    assert_eq!(socket.frame().await["type"], "pong");
}

#[tokio::test]
async fn a_core_that_takes_nothing_stops_the_client_and_is_still_heard() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    for id in 0..10 {
        socket.send(json!({"type": "ping", "id": id})).await;
    }
    session.send(json!({"frame": {"pong": {}}})).await;
    assert_eq!(socket.frame().await["type"], "pong");
    for id in 0..10 {
        assert_eq!(session.received().await.unwrap()["frame"]["id"], id.to_string());
    }
}

#[tokio::test]
async fn a_client_that_does_not_drain_is_let_go_and_holds_up_the_core_meanwhile() {
    let settings = Settings {
        ping_interval: Duration::from_millis(10),
        drain_limit: Duration::from_millis(50),
        ..Settings::default()
    };
    let (bridge, mut core) = bridge_with(settings).await;
    let (_socket, mut session) = open(&bridge, &mut core).await;
    let frame = json!({"frame": {"token": {"content": "x".repeat(1 << 20)}}});
    while !session.is_abandoned() {
        session.send(frame.clone()).await;
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_kept_out_where_origins_are_listed() {
    use colloquy_bridge::AllowedOrigins;
    let settings = Settings {
        allowed_origins: AllowedOrigins::Only(vec!["https://chat.example".parse().unwrap()]),
        ..Settings::default()
    };
    let (bridge, _core) = bridge_with(settings).await;
    let answer = bridge.send(Method::GET, "/api/v1/ws", &[("origin", "https://evil.example")], "").await;
    assert_eq!((answer.status.as_u16(), &*answer.error()), (403, "PERMISSION_DENIED"));
    let (mut socket, _) = bridge.socket_with("/api/v1/ws", &[("origin", "https://chat.example")]).await;
    assert_eq!(socket.frame().await["data"]["code"], "UNAUTHENTICATED");
}
