//! Frames of a socket: what each that a client may send brings, and the doors by which a socket comes in.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Actor, Server, Socket};

/// A conversation that alice owns and bob is a member of, each with a socket that has joined it.
async fn joined() -> (Actor, Socket, Actor, Socket, String) {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "member").await;
    let (mut hers, mut his) = (alice.socket().await, bob.socket().await);
    for socket in [&mut hers, &mut his] {
        join(socket, &conversation).await;
    }
    (alice, hers, bob, his, conversation)
}

async fn join(socket: &mut Socket, conversation: &str) {
    socket.ask("join", "join_session", json!({ "session_id": conversation })).await;
    let confirmed = socket.answer_to("join").await;
    assert_eq!(confirmed["type"], "subscription.confirmed");
    assert_eq!(confirmed["data"]["topics"][0]["topic"], format!("conversation:{conversation}"));
}

/// Says something that wants no answer and returns the `message.accepted`.
async fn say(socket: &mut Socket, data: Value) -> Value {
    let mut data = data;
    data["reply"] = json!(false);
    socket.ask("say", "message", data).await;
    socket.answer_to("say").await
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_are_answered_with_what_they_brought() {
    let alice = Server::start().await.register("alice").await;
    let mut socket = alice.socket().await;
    socket.ask("a", "heartbeat", json!({ "client_timestamp": "then" })).await;
    let ack = socket.answer_to("a").await;
    assert_eq!(ack["type"], "heartbeat_ack");
    assert_eq!(ack["data"]["client_timestamp"], "then");
    assert!(ack["data"]["server_timestamp"].is_string(), "{ack}");

    socket.ask("b", "ping", json!({ "pingId": "7" })).await;
    let pong = socket.answer_to("b").await;
    assert_eq!((&pong["type"], &pong["data"]["pingId"]), (&json!("pong"), &json!("7")));
    assert!(pong["data"]["timestamp"].is_string(), "{pong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_topic_hears_no_more_of_it() {
    let (_alice, mut hers, _bob, mut his, conversation) = joined().await;
    his.ask("leave", "leave_session", json!({ "session_id": conversation })).await;
    let removed = his.answer_to("leave").await;
    assert_eq!(removed["type"], "subscription.removed");
    assert_eq!(removed["data"]["topics"], json!([format!("conversation:{conversation}")]));
    say(&mut hers, json!({ "content": "are you there?", "conversation_id": conversation })).await;

    his.ask("events", "subscribe", json!({ "events": ["file.ready"] })).await;
    let confirmed = his.next().await.unwrap();
    assert_eq!(confirmed["reply_to"], "events", "what was said in between is not heard");
    assert_eq!(confirmed["data"]["events"], json!(["file.ready"]));
    his.ask("no events", "unsubscribe", json!({ "events": ["file.ready"] })).await;
    let removed = his.answer_to("no events").await;
    assert_eq!(removed["data"]["events"], json!(["file.ready"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn good_and_bad_topics_in_one_frame_are_told_apart() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let (own, foreign) = (alice.conversation().await, bob.conversation().await);
    let (own, foreign) = (format!("conversation:{own}"), format!("conversation:{foreign}"));
    let mut socket = alice.socket().await;
    let topics = json!([{ "topic": own }, { "topic": foreign }, { "topic": "weather" }]);
    socket.ask("mixed", "subscribe", json!({ "topics": topics, "events": ["file.ready", "no.such"] })).await;

    let confirmed = socket.answer_to("mixed").await;
    assert_eq!(confirmed["type"], "subscription.confirmed");
    assert_eq!(confirmed["data"]["events"], json!(["file.ready"]));
    let joined: Vec<_> = confirmed["data"]["topics"].as_array().unwrap().iter().map(|state| &state["topic"]).collect();
    assert_eq!(joined, ["event:file.ready", own.as_str()]);
    let refused = socket.answer_to("mixed").await;
    assert_eq!(refused["type"], "error");
    let told = refused["data"].to_string();
    for name in [foreign.as_str(), "weather", "no.such"] {
        assert!(told.contains(name), "{name} is not told of in {told}");
    }
    assert!(!told.contains(&own) && !told.contains("file.ready"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_where_it_says_or_where_the_socket_is_or_opens_a_conversation() {
    let alice = Server::start().await.register("alice").await;
    let mut socket = alice.socket().await;
    socket.send(json!({ "type": "message", "id": "first", "message": "hello", "data": { "reply": false } })).await;
    let opened = socket.answer_to("first").await["data"]["conversation_id"].clone();
    let second = say(&mut socket, json!({ "message": "and again" })).await;
    assert_eq!((&second["data"]["conversation_id"], &second["data"]["seq"]), (&opened, &json!(2)));

    let other = alice.conversation().await;
    let third = say(&mut socket, json!({ "content": "elsewhere", "conversation_id": other })).await;
    assert_eq!(third["data"]["conversation_id"], other);
    let fourth = say(&mut socket, json!({ "content": "but where?" })).await;
    assert_eq!(fourth["type"], "error", "it has joined two");
    assert_eq!(fourth["data"]["details"][0]["field"], "conversation_id", "{fourth}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_reads_history_and_asks_for_another_answer() {
    let (alice, mut hers, _, mut his, conversation) = joined().await;
    let (question, answer) = alice.send(&conversation, "one two three").await;
    while hers.until("message").await["data"]["id"] != answer {}

    hers.ask("page", "history", json!({ "conversation_id": conversation, "limit": 1 })).await;
    let page = hers.answer_to("page").await;
    assert_eq!((&page["type"], &page["data"]["has_more"]), (&json!("history"), &json!(true)));
    assert_eq!(page["data"]["messages"][0]["id"], answer);
    let before = json!({ "conversation_id": conversation, "before_seq": page["data"]["messages"][0]["seq"] });
    hers.ask("older", "history", before).await;
    let older = hers.answer_to("older").await;
    assert_eq!((&older["data"]["messages"][0]["id"], &older["data"]["has_more"]), (&json!(question), &json!(false)));

    hers.ask("again", "regenerate", json!({ "message_id": answer })).await;
    let accepted = hers.answer_to("again").await;
    let another = accepted["data"]["message_id"].clone();
    assert_eq!(accepted["type"], "accepted");
    assert_ne!(another, answer);
    for socket in [&mut hers, &mut his] {
        while socket.until("message").await["data"]["id"] != another {}
    }
    assert_eq!(alice.message(&conversation, &answer).await["sibling_ids"], json!([answer, another]));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_see_what_another_read_edited_and_deleted() {
    let (alice, mut hers, bob, mut his, conversation) = joined().await;
    let accepted = say(&mut hers, json!({ "content": "helo" })).await;
    let message = accepted["data"]["message_id"].as_str().unwrap().to_owned();
    his.until("message").await;

    his.ask("seen", "read", json!({ "conversation_id": conversation, "seq": 1 })).await;
    let read = hers.until("read").await;
    let bob_id = bob.me().await.unwrap().id;
    assert_eq!((&read["data"]["user_id"], &read["data"]["seq"]), (&json!(bob_id), &json!(1)));

    let path = format!("/api/v1/conversations/{conversation}/messages/{message}");
    let edit = alice.request(Method::PATCH, &path).json(&json!({ "content": "hello", "reply": false }));
    assert_eq!(edit.send().await.unwrap().status(), 200);
    let updated = his.until("message.updated").await;
    assert_eq!(updated["data"]["content"], "hello");

    let edited = updated["data"]["id"].as_str().unwrap();
    let path = format!("/api/v1/conversations/{conversation}/messages/{edited}");
    assert_eq!(alice.request(Method::DELETE, &path).send().await.unwrap().status(), 200);
    let deleted = his.until("message.deleted").await;
    assert_eq!(deleted["data"], json!({ "conversation_id": conversation, "message_id": edited }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_comes_in_by_every_documented_door() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (address, token) = (server.http(), &alice.access_token);
    let doors = [
        format!("/api/v1/ws?token={token}"),
        format!("/api/ws?token={token}"),
        format!("/api/v1/ws/{token}"),
        format!("/api/v1/ws/{conversation}?token={token}"),
    ];
    let me = json!(alice.me().await.unwrap().id);
    for door in doors {
        let mut socket = Socket::open(&format!("ws://{address}{door}")).await;
        let established = socket.until("connection.established").await;
        assert_eq!(established["data"]["user_id"], me, "{door}");
        if door.contains(&conversation) {
            assert_eq!(established["data"]["session_id"], conversation);
            socket.until("subscription.confirmed").await;
        }
    }
    let mut socket = Socket::open_as(&format!("ws://{address}/api/v1/ws"), &format!("Bearer {token}")).await;
    assert_eq!(socket.until("connection.established").await["data"]["user_id"], me);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_opens_no_socket() {
    let server = Server::with(&[("access_token_ttl", "60")]).await;
    let alice = server.register("alice").await;
    let later = server.beside(&[("access_token_ttl", "60"), ("clock_ahead_micros", "61000000")]).await;
    assert_eq!(Socket::open(&alice.at(&later).socket_url("")).await.close_code().await, 1008);
    drop(alice.socket().await);
}
