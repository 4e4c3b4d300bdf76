//! Viewers of a conversation: they see the same, from when they come until they must leave.

use colloquy::proto::{
    ClientFrame, ConnectRequest, ConnectResponse, LogoutRequest, RemoveMemberRequest, ResumeChatRequest, ServerFrame,
    Subscribe, TopicPosition, client_frame, server_frame::Payload,
};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tonic::{Code, Streaming};

use crate::harness::{
    Actor, Server, Socket, Transport, Viewer, soon,
    upstream::{Script, Upstream, piece},
};

/// A frame's type, topic and offset: what all viewers must agree on.
type Place = (&'static str, String, i64);

/// Subscribes to a conversation, from a place on or from now on, and returns its state.
async fn subscribe(socket: &mut Socket, conversation: &str, since: Value) -> Value {
    let mut topic = json!({ "topic": format!("conversation:{conversation}") });
    for (name, value) in since.as_object().into_iter().flatten() {
        topic[name] = value.clone();
    }
    socket.ask("subscribe", "subscribe", json!({ "topics": [topic] })).await;
    socket.answer_to("subscribe").await["data"]["topics"][0].clone()
}

/// The frame by which a native client subscribes to a conversation.
fn subscription(conversation: &str) -> ClientFrame {
    let topic = TopicPosition { topic: format!("conversation:{conversation}"), ..TopicPosition::default() };
    let payload = client_frame::Payload::Subscribe(Subscribe { topics: vec![topic], ..Subscribe::default() });
    ClientFrame { id: "subscribe".to_owned(), timestamp: None, payload: Some(payload) }
}

/// Opens a native session that has joined a conversation.
async fn session(actor: &Actor, conversation: &str) -> Streaming<ConnectResponse> {
    let frame = ConnectRequest { frame: Some(subscription(conversation)), report: None };
    let requests = stream::iter([frame]).chain(stream::pending());
    let mut session = actor.sessions().connect(requests).await.unwrap().into_inner();
    loop {
        let frame = soon("a frame", session.message()).await.unwrap().unwrap().frame.unwrap();
        if let Some(Payload::SubscriptionConfirmed(_)) = frame.payload {
            return session;
        }
    }
}

fn place(frame: ServerFrame) -> Place {
    let kind = match frame.payload.unwrap() {
        Payload::Start(_) => "start",
        Payload::Token(_) => "token",
        Payload::End(_) => "end",
        Payload::Message(_) => "message",
        other => panic!("not expected here: {other:?}"),
    };
    (kind, frame.topic.unwrap(), frame.offset.unwrap())
}

/// What a socket shows of a conversation, as a native client would see it; who comes meanwhile has no place.
async fn place_on(socket: &mut Socket) -> Place {
    let mut frame = socket.next().await.unwrap();
    while frame["offset"].is_null() {
        frame = socket.next().await.unwrap();
    }
    let kind = ["start", "token", "end", "message"].into_iter().find(|kind| frame["type"] == *kind);
    let kind = kind.unwrap_or_else(|| panic!("not expected here: {frame}"));
    (kind, frame["topic"].as_str().unwrap().to_owned(), frame["offset"].as_i64().unwrap())
}

/// A conversation of alice's and bob's that a scripted model answers.
async fn shared(script: Script) -> (Server, Upstream, Actor, Actor, String) {
    let upstream = Upstream::start(script).await;
    let server = Server::asking(&upstream, &[]).await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "member").await;
    (server, upstream, alice, bob, conversation)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_on_sockets_and_on_a_native_stream_see_the_same_in_the_same_order() {
    let (server, upstream, alice, bob, conversation) = shared(Script::anthropic().stepped().pieces(20).end()).await;
    let carol = server.register("carol").await;
    alice.add(&conversation, &carol, "viewer").await;
    let (mut first, mut second) = (alice.socket().await, bob.socket().await);
    subscribe(&mut first, &conversation, json!({})).await;
    subscribe(&mut second, &conversation, json!({})).await;
    let mut native = session(&carol, &conversation).await;
    let (_, answer) = bob.send(&conversation, "hi").await;

    let mut seen: Vec<Place> = Vec::new();
    let mut kinds: Vec<&str> = Vec::new();
    let mut released = 0;
    while kinds.last() != Some(&"message") || kinds.len() == 1 {
        if kinds.len() >= 2 && released < 20 {
            upstream.release(1);
            released += 1;
        }
        let frame = place_on(&mut first).await;
        assert_eq!(place_on(&mut second).await, frame);
        let mut same = soon("a frame", native.message()).await.unwrap().unwrap().frame.unwrap();
        while same.offset.is_none() {
            same = soon("a frame", native.message()).await.unwrap().unwrap().frame.unwrap();
        }
        assert_eq!(place(same), frame);
        kinds.push(frame.0);
        seen.push(frame);
    }
    let tokens = ["token"; 20];
    assert_eq!(kinds, [&["message", "start"][..], &tokens, &["end", "message"]].concat());
    let offsets: Vec<i64> = seen.iter().map(|(_, _, offset)| *offset).collect();
    let begin = offsets[0];
    assert_eq!(offsets, (begin..begin + 24).collect::<Vec<_>>(), "without a gap");
    assert!(seen.iter().all(|(_, topic, _)| *topic == format!("conversation:{conversation}")));
    assert_eq!(alice.message(&conversation, &answer).await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_in_mid_answer_gets_the_text_so_far_and_then_what_is_new() {
    let (_server, upstream, alice, bob, conversation) = shared(Script::openai().stepped().pieces(4).end()).await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let mut viewer = Viewer::new(&alice, &conversation, &answer);
    viewer.attach(Transport::Grpc).await;
    upstream.release(2);
    let so_far = piece(1) + &piece(2);
    viewer.until_bytes(so_far.len()).await;

    let mut socket = bob.socket().await;
    subscribe(&mut socket, &conversation, json!({})).await;
    let question = socket.next().await.unwrap();
    assert_eq!((&question["type"], &question["data"]["content"]), (&"message".into(), &"hi".into()));
    let start = socket.next().await.unwrap();
    assert_eq!((&start["type"], &start["data"]["message_id"]), (&"start".into(), &answer.into()));
    let snapshot = socket.next().await.unwrap();
    assert_eq!((&snapshot["type"], &snapshot["data"]["content"]), (&"snapshot".into(), &so_far.as_str().into()));
    let mut length = so_far.len();
    for number in 3..=4 {
        upstream.release(1);
        let token = socket.next().await.unwrap();
        assert_eq!(token["type"], "token");
        assert_eq!((&token["data"]["content"], &token["data"]["index"]), (&piece(number).into(), &length.into()));
        length += piece(number).len();
    }
    assert_eq!(socket.next().await.unwrap()["type"], "end");
    assert_eq!(socket.next().await.unwrap()["type"], "message");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_anew_while_pieces_wait_sees_none_of_them_twice() {
    // More than a stream holds for somebody who does not read.
    let pieces: Vec<String> = (0..48).map(|number| format!("{number:03} ").repeat(2000)).collect();
    let script = pieces.iter().fold(Script::openai().stepped(), Script::text).pause().end();
    let (_server, upstream, alice, bob, conversation) = shared(script).await;
    let (frames, requests) = mpsc::unbounded_channel();
    let ask = || frames.send(ConnectRequest { frame: Some(subscription(&conversation)), report: None }).unwrap();
    let mut session = bob.sessions().connect(UnboundedReceiverStream::new(requests)).await.unwrap().into_inner();
    let mut next = async || soon("a frame", session.message()).await.unwrap().unwrap().frame.unwrap().payload.unwrap();
    ask();
    while !matches!(next().await, Payload::SubscriptionConfirmed(_)) {}

    let (_, answer) = alice.send(&conversation, "hi").await;
    let mut logged = Viewer::new(&alice, &conversation, &answer);
    logged.attach(Transport::Grpc).await;
    for (number, piece) in pieces.iter().enumerate() {
        upstream.release(1);
        logged.until_bytes((number + 1) * piece.len()).await;
    }
    ask();
    let mut text = String::new();
    loop {
        match next().await {
            Payload::Token(token) => {
                assert_eq!(token.index, text.len() as i64, "a double or a gap");
                text += &token.content;
            }
            Payload::Snapshot(snapshot) => {
                assert!(text.len() < snapshot.content.len(), "pieces wait");
                text = snapshot.content;
                upstream.release(1);
            }
            Payload::End(_) => break,
            _ => {}
        }
    }
    assert_eq!(text, pieces.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_is_told_and_sees_nothing_more() {
    let (_server, upstream, alice, bob, conversation) =
        shared(Script::anthropic().text("a").pause().text("b").end()).await;
    let mut socket = bob.socket().await;
    subscribe(&mut socket, &conversation, json!({})).await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    socket.until("token").await;
    let mut follower = Viewer::new(&bob, &conversation, &answer);
    follower.attach(Transport::Grpc).await;
    follower.until_bytes(1).await;

    let user_id = bob.me().await.unwrap().id;
    let request = RemoveMemberRequest { conversation_id: conversation.clone(), user_id };
    alice.conversations().remove_member(request).await.unwrap();
    let removed = socket.next().await.unwrap();
    assert_eq!(removed["type"], "subscription.removed");
    assert_eq!(removed["data"]["topics"], json!([format!("conversation:{conversation}")]));
    assert_eq!(follower.next().await, None);

    upstream.release(1);
    let mut viewer = Viewer::new(&alice, &conversation, &answer);
    viewer.attach(Transport::Sse).await;
    viewer.until_last().await;
    socket.ask("after", "ping", json!({})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "pong", "nothing came in between");
    socket.ask("again", "join_session", json!({ "session_id": conversation })).await;
    assert_eq!(socket.answer_to("again").await["type"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_every_link_and_says_why() {
    let (_server, _upstream, alice, bob, conversation) = shared(Script::anthropic().text("a").stall()).await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let mut socket = bob.socket().await;
    let mut session = session(&bob, &conversation).await;
    let request = ResumeChatRequest { message_id: answer.clone(), after: 0 };
    let mut following = bob.chat().resume_chat(request).await.unwrap().into_inner();
    let mut events = bob.resume_chat(&answer, 0).await;
    assert_eq!(events.next().await.unwrap().kind, "start");
    soon("the start", following.message()).await.unwrap().unwrap();

    bob.auth().logout(LogoutRequest {}).await.unwrap();
    assert_eq!(socket.close_code().await, 1008);
    assert_eq!(soon("the end", end_of(&mut session)).await, Code::Unauthenticated);
    assert_eq!(soon("the end", end_of(&mut following)).await, Code::Unauthenticated);
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    let last = last.unwrap();
    assert_eq!((last.kind.as_str(), &last.data["code"]), ("error", &"UNAUTHENTICATED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiring_token_is_announced_and_a_new_one_keeps_the_socket() {
    let server = Server::with(&[("access_token_ttl", "3")]).await;
    let longer = server.beside(&[]).await;
    let alice = server.register("alice").await;
    let (mut kept, mut lost) = (alice.socket().await, alice.socket().await);
    kept.until("auth.expiring").await;
    lost.until("auth.expiring").await;

    let refreshed = alice.at(&longer).refresh().await.unwrap();
    kept.ask("refresh", "auth.refresh", json!({ "token": refreshed.access_token })).await;
    let answer = kept.answer_to("refresh").await;
    assert_eq!(answer["type"], "auth.refreshed", "{answer}");
    assert_eq!(lost.close_code().await, 1008);
    kept.ask("after", "ping", json!({})).await;
    assert_eq!(kept.answer_to("after").await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_token_does_not_keep_a_socket() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut socket = alice.socket().await;
    socket.ask("refresh", "auth.refresh", json!({ "token": bob.access_token })).await;
    let answer = socket.answer_to("refresh").await;
    assert_eq!((&answer["type"], &answer["data"]["code"]), (&"error".into(), &"PERMISSION_DENIED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_gone_is_said_to_be_gone() {
    let (_server, _upstream, alice, bob, conversation) = shared(Script::anthropic().text("so far").stall()).await;
    let mut socket = bob.socket().await;
    let state = subscribe(&mut socket, &conversation, json!({ "offset": 0 })).await;
    assert_eq!((&state["recovered"], state.get("reason")), (&true.into(), None));
    let (_, answer) = alice.send(&conversation, "hi").await;
    socket.until("token").await;

    let epoch = state["epoch"].clone();
    for (since, reason) in [
        (json!({ "offset": 1, "epoch": "0123456789abcdef" }), "epoch_changed"),
        (json!({ "offset": 1000, "epoch": epoch }), "offset_unknown"),
    ] {
        let state = subscribe(&mut socket, &conversation, since).await;
        assert_eq!((&state["recovered"], &state["reason"]), (&false.into(), &reason.into()), "{state}");
        // What lasts is shown anew, so that the viewer needs to load only what has ended.
        assert_eq!(socket.next().await.unwrap()["data"]["message_id"], answer);
        let snapshot = socket.next().await.unwrap();
        assert_eq!((&snapshot["type"], &snapshot["data"]["content"]), (&"snapshot".into(), &"so far".into()));
    }

    // More than the history holds.
    let note = "x".repeat(32_000);
    for _ in 0..40 {
        let body = json!({ "content": note, "reply": false });
        let (status, body) = alice.post(&format!("/api/v1/conversations/{conversation}/messages"), body).await;
        assert_eq!(status, 200, "{body}");
    }
    let mut late = bob.socket().await;
    let state = subscribe(&mut late, &conversation, json!({ "offset": 1, "epoch": epoch })).await;
    assert_eq!((&state["recovered"], &state["reason"]), (&false.into(), &"history_lost".into()), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_may_speak_protobuf() {
    let (_server, _upstream, alice, bob, conversation) = shared(Script::openai().text("é🦀").end()).await;
    let mut request = bob.socket_url("").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "colloquy.v1.proto".parse().unwrap());
    let (mut socket, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "colloquy.v1.proto");
    socket.send(Message::binary(subscription(&conversation).encode_to_vec())).await.unwrap();
    let mut text = String::new();
    loop {
        let Message::Binary(bytes) = soon("a frame", socket.next()).await.unwrap().unwrap() else { continue };
        match ServerFrame::decode(bytes).unwrap().payload.unwrap() {
            Payload::SubscriptionConfirmed(confirmed) => {
                assert!(confirmed.topics[0].recovered);
                alice.send(&conversation, "hi").await;
            }
            Payload::Token(token) => text += &token.content,
            Payload::End(end) => {
                assert_eq!((text.as_str(), end.content_length), ("é🦀", 6));
                break;
            }
            _ => {}
        }
    }
}

/// The code with which a stream ends; what comes before is passed over.
async fn end_of<T>(stream: &mut Streaming<T>) -> Code {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}
