//! Presence and typing, as people see each other.

mod watching;

use std::time::Duration;

use colloquy::proto::{GetPresenceRequest, PresenceStatus, SetTypingRequest, UpdatePresenceRequest};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Actor, Data, Process, RedisServer, Server, Socket, eventually, reason, violations, within};

/// Frames that are about presence.
const PRESENCE: [&str; 4] = ["user_joined", "user_left", "user.status_changed", "typing"];

/// A socket that views a conversation.
async fn view(actor: &Actor, conversation: &str) -> Socket {
    let mut socket = Socket::open(&actor.socket_url(&format!("/{conversation}"))).await;
    socket.until("subscription.confirmed").await;
    socket
}

/// Waits until everybody sees that somebody is what.
async fn until_status(viewer: &Actor, conversation: &str, name: &str, status: &str) {
    eventually(&format!("{name} is {status}"), async || presence(viewer, conversation, name).await["status"] == status)
        .await;
}

/// A member's presence.
async fn presence(viewer: &Actor, conversation: &str, name: &str) -> Value {
    let (code, body) = viewer.get(&format!("/api/v1/conversations/{conversation}/presence")).await;
    assert_eq!(code, 200, "{body}");
    let members = body["presence"].as_array().unwrap();
    members.iter().find(|member| member["username"] == name).unwrap_or_else(|| panic!("no {name}: {body}")).clone()
}

/// The next frame about presence.
async fn next(socket: &mut Socket) -> Value {
    loop {
        let frame = socket.next().await.expect("the socket lives");
        if PRESENCE.contains(&frame["type"].as_str().unwrap()) {
            return frame;
        }
    }
}

/// What the next frame of a type about presence says.
async fn next_of(socket: &mut Socket, frame_type: &str) -> Value {
    loop {
        let frame = next(socket).await;
        if frame["type"] == frame_type {
            return frame["data"].clone();
        }
    }
}

/// Waits for frames of these types, in whatever order: statuses and conversations are told side by side.
async fn all_of(socket: &mut Socket, frame_types: &[&str]) {
    let mut missing = frame_types.to_vec();
    while !missing.is_empty() {
        let frame = next(socket).await;
        missing.retain(|frame_type| frame["type"] != *frame_type);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_learn_of_the_first_socket_that_comes_and_of_the_last_that_goes() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let mut viewer = view(&alice, &conversation).await;
    let first = view(&bob, &conversation).await;
    all_of(&mut viewer, &["user.status_changed", "user_joined"]).await;
    let bob_id = bob.me().await.unwrap().id;

    // Neither a second one nor one of the two going is news: what comes next is what follows.
    let mut second = view(&bob, &conversation).await;
    first.cut();
    second.ask("1", "leave_session", json!({ "session_id": conversation })).await;
    let gone = next_of(&mut viewer, "user_left").await;
    assert_eq!(gone, json!({ "conversation_id": conversation, "user_id": bob_id, "username": "bob" }));
    until_status(&alice, &conversation, "bob", "online").await;
    second.cut();
    let status = next_of(&mut viewer, "user.status_changed").await;
    assert_eq!((&status["user_id"], &status["status"]), (&bob_id.into(), &"offline".into()), "{status}");
    assert!(status["last_seen"].as_str().is_some(), "{status}");
    eventually("it is known when bob was seen", async || {
        presence(&alice, &conversation, "bob").await["last_seen"].is_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_told_to_those_who_share_a_conversation_and_to_nobody_else() {
    let server = Server::start().await;
    let (alice, bob, _) = server.alice_and_bob().await;
    let (carol, dave) = (server.register("carol").await, server.register("dave").await);
    let other = carol.conversation().await;
    carol.add(&other, &dave, "viewer").await;
    // Nobody views anything: being connected is enough.
    let (mut alices, mut carols) = (alice.socket().await, carol.socket().await);
    let mut bobs = bob.socket().await;
    let bob_id = bob.me().await.unwrap().id;
    let status = async |socket: &mut Socket| {
        let data = next_of(socket, "user.status_changed").await;
        (data["user_id"].as_str().unwrap().to_owned(), data["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(status(&mut alices).await, (bob_id.clone(), "online".into()));
    for choice in ["busy", "away", "offline", "online"] {
        bobs.ask(choice, "presence", json!({ "status": choice })).await;
        assert_eq!(status(&mut alices).await, (bob_id.clone(), choice.into()));
    }
    let request = UpdatePresenceRequest { status: PresenceStatus::Busy.into() };
    let chosen = bob.presence().update_presence(request).await.unwrap().into_inner().presence.unwrap();
    assert_eq!((chosen.username.as_str(), chosen.status()), ("bob", PresenceStatus::Busy));
    assert_eq!(status(&mut alices).await, (bob_id, "busy".into()));

    let _dave = dave.socket().await;
    assert_eq!(status(&mut carols).await, (dave.me().await.unwrap().id, "online".into()));
    // Bob has heard of alice alone, and nothing of himself.
    bobs.ask("last", "ping", json!({})).await;
    loop {
        let frame = bobs.next().await.unwrap();
        match frame["type"].as_str().unwrap() {
            "pong" => break,
            "user.status_changed" => assert_eq!(frame["data"]["user_id"], alice.me().await.unwrap().id),
            other => panic!("not expected: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_see_who_is_there_page_by_page_and_strangers_see_nothing() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let carol = server.register("carol").await;
    let _socket = bob.socket().await;
    until_status(&alice, &conversation, "bob", "online").await;
    assert_eq!(presence(&bob, &conversation, "alice").await["status"], "offline");
    let request = GetPresenceRequest { conversation_id: conversation.clone(), page_size: 1, page_token: String::new() };
    let first = alice.presence().get_presence(request.clone()).await.unwrap().into_inner();
    assert_eq!((first.presence.len(), first.presence[0].username.as_str()), (1, "alice"));
    let request = GetPresenceRequest { page_token: first.next_page_token, ..request };
    let last = alice.presence().get_presence(request.clone()).await.unwrap().into_inner();
    assert_eq!(last.presence[0].username, "bob");
    assert_eq!((last.presence[0].status(), last.next_page_token.as_str()), (PresenceStatus::Online, ""));
    assert_eq!(reason(carol.presence().get_presence(request).await), (Code::NotFound, "NOT_FOUND".into()));
    let nothing = UpdatePresenceRequest { status: 0 };
    assert_eq!(violations(carol.presence().update_presence(nothing).await), ["status"]);
    let (code, body) = put(&bob, "/api/v1/presence", json!({ "status": "gone" })).await;
    assert_eq!(code, 400, "{body}");
    let (code, body) = put(&bob, "/api/v1/presence", json!({ "status": "away" })).await;
    assert_eq!((code, &body["presence"]["status"]), (200, &"away".into()), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_appears_offline_is_gone_for_the_others_and_comes_back() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let mut viewer = view(&alice, &conversation).await;
    let mut bobs = view(&bob, &conversation).await;
    let bob_id = bob.me().await.unwrap().id;
    let came = next_of(&mut viewer, "user_joined").await;
    assert_eq!(came, json!({ "conversation_id": conversation, "user_id": bob_id, "username": "bob" }));
    bobs.ask("1", "presence", json!({ "status": "offline" })).await;
    next_of(&mut viewer, "user_left").await;
    assert_eq!(presence(&alice, &conversation, "bob").await["status"], "offline");
    // Neither is a new socket of his seen.
    let hidden = view(&bob, &conversation).await;
    hidden.cut();
    bobs.ask("2", "presence", json!({ "status": "online" })).await;
    all_of(&mut viewer, &["user.status_changed", "user_joined"]).await;
    assert_eq!(presence(&alice, &conversation, "bob").await["status"], "online");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_is_away_until_the_next_act() {
    let server = Server::with(&[("presence_idle", "0.5")]).await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let mut viewer = alice.socket().await;
    let mut bobs = bob.socket().await;
    for expected in ["online", "away"] {
        assert_eq!(next_of(&mut viewer, "user.status_changed").await["status"], expected);
    }
    // A client that keeps its connection alive is nobody who does something.
    bobs.ask("1", "ping", json!({})).await;
    bobs.answer_to("1").await;
    assert_eq!(presence(&alice, &conversation, "bob").await["status"], "away");
    bobs.ask("2", "history", json!({ "conversation_id": conversation })).await;
    for expected in ["online", "away"] {
        assert_eq!(next_of(&mut viewer, "user.status_changed").await["status"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_told_to_the_others_and_ends_by_itself() {
    let server = Server::with(&[("typing_timeout", "0.5")]).await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let mut viewer = view(&alice, &conversation).await;
    let mut bobs = view(&bob, &conversation).await;
    bobs.ask("1", "typing", json!({ "conversation_id": conversation, "is_typing": true })).await;
    let bob_id = bob.me().await.unwrap().id;
    for is_typing in [true, false] {
        let expected = json!({
            "conversation_id": conversation, "user_id": bob_id, "username": "bob", "is_typing": is_typing,
        });
        assert_eq!(next_of(&mut viewer, "typing").await, expected);
    }
    // It has no place in the conversation's log, and nobody gets their own.
    bobs.ask("2", "subscribe", json!({ "topics": [{ "topic": format!("conversation:{conversation}"), "offset": 0 }] }))
        .await;
    loop {
        let frame = bobs.next().await.unwrap();
        assert_ne!(frame["type"], "typing");
        if frame["reply_to"] == "2" {
            assert_eq!(frame["data"]["topics"][0]["offset"], 0, "{frame}");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_ends_with_the_message_with_the_word_and_with_the_connection() {
    let server = Server::with(&[("typing_timeout", "600")]).await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let mut viewer = view(&alice, &conversation).await;
    let mut bobs = view(&bob, &conversation).await;
    let typing = json!({ "conversation_id": conversation, "is_typing": true });
    let is_typing = async |viewer: &mut Socket| next_of(viewer, "typing").await["is_typing"].as_bool().unwrap();

    bobs.ask("1", "typing", typing.clone()).await;
    assert!(is_typing(&mut viewer).await);
    bobs.ask("2", "message", json!({ "conversation_id": conversation, "content": "hello", "reply": false })).await;
    assert!(!is_typing(&mut viewer).await);

    bobs.ask("3", "typing", typing.clone()).await;
    assert!(is_typing(&mut viewer).await);
    bobs.ask("4", "typing", json!({ "conversation_id": conversation, "is_typing": false })).await;
    assert!(!is_typing(&mut viewer).await);

    // Over gRPC, ended by a message over HTTP.
    let request = SetTypingRequest { conversation_id: conversation.clone(), is_typing: true };
    bob.presence().set_typing(request.clone()).await.unwrap();
    assert!(is_typing(&mut viewer).await);
    let path = format!("/api/v1/conversations/{conversation}/messages");
    bob.post(&path, json!({ "content": "hello", "reply": false })).await;
    assert!(!is_typing(&mut viewer).await);

    bobs.ask("5", "typing", typing).await;
    assert!(is_typing(&mut viewer).await);
    bobs.cut();
    assert!(!is_typing(&mut viewer).await);

    bob.presence().set_typing(request).await.unwrap();
    assert!(is_typing(&mut viewer).await);
    let (code, body) =
        bob.post(&format!("/api/v1/conversations/{conversation}:typing"), json!({ "is_typing": false })).await;
    assert_eq!(code, 200, "{body}");
    assert!(!is_typing(&mut viewer).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_write_can_be_typing() {
    let server = Server::start().await;
    let (alice, _, conversation) = server.alice_and_bob().await;
    let (carol, eve) = (server.register("carol").await, server.register("eve").await);
    alice.add(&conversation, &carol, "viewer").await;
    let typing = json!({ "conversation_id": conversation, "is_typing": true });
    for (actor, code) in [(&carol, "PERMISSION_DENIED"), (&eve, "NOT_FOUND")] {
        let mut socket = actor.socket().await;
        socket.ask("1", "typing", typing.clone()).await;
        let refused = socket.answer_to("1").await;
        assert_eq!((&refused["type"], &refused["data"]["code"]), (&"error".into(), &code.into()), "{refused}");
    }
    let mut socket = carol.socket().await;
    socket.ask("2", "presence", json!({ "status": "unspecified" })).await;
    assert_eq!(socket.answer_to("2").await["data"]["details"][0]["field"], "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_a_server_see_each_others_people() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [("redis_url", url.as_str()), ("typing_timeout", "1")];
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    let (alice, bob, conversation) = here.alice_and_bob().await;
    let mut viewer = view(&alice, &conversation).await;
    let mut bobs = view(&bob.at(&there), &conversation).await;
    all_of(&mut viewer, &["user.status_changed", "user_joined"]).await;
    bobs.ask("1", "typing", json!({ "conversation_id": conversation, "is_typing": true })).await;
    for is_typing in [true, false] {
        assert_eq!(next_of(&mut viewer, "typing").await["is_typing"], is_typing);
    }
    // A second connection elsewhere keeps him there when the first one goes.
    let also_here = view(&bob, &conversation).await;
    until_status(&alice, &conversation, "bob", "online").await;
    bobs.ask("2", "presence", json!({ "status": "busy" })).await;
    assert_eq!(next_of(&mut viewer, "user.status_changed").await["status"], "busy");
    until_status(&alice, &conversation, "bob", "busy").await;
    there.stop().await;
    until_status(&alice, &conversation, "bob", "busy").await;
    also_here.cut();
    all_of(&mut viewer, &["user.status_changed", "user_left"]).await;
    drop(viewer);
    let held = "return #redis.call('KEYS', '*{nodes}:held:*') + #redis.call('KEYS', '*{nodes}:view:*')";
    eventually("nobody is held", async || redis.tell(&format!("EVAL \"{held}\" 0")).await == ":0\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_takes_its_people_with_it() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [("redis_url", url.as_str()), ("node_ttl", "5")];
    let data = Data::fresh().await;
    let there = Process::start(&data, &settings).await;
    let here = there.server().beside(&settings).await;
    let (alice, bob, conversation) = here.alice_and_bob().await;
    let mut viewer = view(&alice, &conversation).await;
    let _bobs = view(&bob.at(there.server()), &conversation).await;
    all_of(&mut viewer, &["user.status_changed", "user_joined"]).await;
    until_status(&alice, &conversation, "bob", "online").await;
    there.kill().await;
    let limit = Duration::from_secs(30);
    let gone = tokio::time::timeout(limit, all_of(&mut viewer, &["user.status_changed", "user_left"])).await;
    assert!(gone.is_ok(), "nobody told it");
    within(limit, "bob is offline", async || presence(&alice, &conversation, "bob").await["status"] == "offline").await;
}

async fn put(actor: &Actor, path: &str, body: Value) -> (u16, Value) {
    let response = actor.request(reqwest::Method::PUT, path).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}
