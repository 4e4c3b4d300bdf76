//! Deliveries: messages wait for those who are away, come when they return, in order, once; and the others learn of it.

mod resuming;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::harness::{
    Actor, RedisServer, Server, Socket, eventually,
    upstream::{Script, Upstream},
};

/// Sends a message that no model answers, and returns its `seq`.
async fn say(actor: &Actor, conversation: &str, content: &str) -> i64 {
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let (status, body) = actor.post(&path, json!({ "content": content, "reply": false })).await;
    assert_eq!(status, 200, "{body}");
    body["message"]["seq"].as_i64().unwrap()
}

/// A socket that has just joined a conversation.
async fn view(actor: &Actor, conversation: &str) -> Socket {
    let mut socket = Socket::open(&actor.socket_url(&format!("/{conversation}"))).await;
    socket.until("subscription.confirmed").await;
    socket
}

/// The frames up to now, but for who comes and goes.
async fn frames(socket: &mut Socket) -> Vec<Value> {
    socket.ask("now", "ping", json!({})).await;
    let mut frames = Vec::new();
    loop {
        let frame = socket.next().await.expect("the socket lives");
        match frame["type"].as_str().unwrap() {
            "pong" => return frames,
            "user_joined" | "user_left" | "user.status_changed" => {}
            _ => frames.push(frame),
        }
    }
}

/// The messages up to now.
async fn messages(socket: &mut Socket) -> Vec<i64> {
    let frames = frames(socket).await;
    let messages = frames.iter().filter(|frame| frame["type"] == "message");
    messages.map(|frame| frame["data"]["seq"].as_i64().unwrap()).collect()
}

/// What waited for somebody who comes now and goes again.
async fn waited(actor: &Actor, conversation: &str) -> Vec<i64> {
    messages(&mut view(actor, conversation).await).await
}

/// A member, as the others see it.
async fn member(viewer: &Actor, conversation: &str, name: &str) -> Value {
    let (status, body) = viewer.get(&format!("/api/v1/conversations/{conversation}/members")).await;
    assert_eq!(status, 200, "{body}");
    let members = body["members"].as_array().unwrap();
    members.iter().find(|member| member["username"] == name).unwrap_or_else(|| panic!("no {name}: {body}")).clone()
}

/// Waits until everything up to here has reached a member.
async fn until_delivered(viewer: &Actor, conversation: &str, name: &str, seq: i64) {
    eventually(&format!("{name} has {seq}"), async || member(viewer, conversation, name).await["delivered_seq"] == seq)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_gets_what_was_sent_in_order_and_once() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    for content in ["one", "two", "three"] {
        say(&alice, &conversation, content).await;
    }
    assert_eq!(member(&alice, &conversation, "bob").await["delivered_seq"], 0);
    let mut socket = view(&bob, &conversation).await;
    let came = frames(&mut socket).await;
    let texts: Vec<&str> = came.iter().map(|frame| frame["data"]["content"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    // They stand in no log: a place is what live frames have.
    assert!(came.iter().all(|frame| frame["type"] == "message" && frame.get("offset").is_none()), "{came:?}");
    assert!(waited(&bob, &conversation).await.is_empty(), "nothing waits any more, for none of his sockets");
    say(&alice, &conversation, "four").await;
    assert!(socket.until("message").await["offset"].is_i64());
    until_delivered(&alice, &conversation, "bob", 4).await;
    drop(socket);
    say(&alice, &conversation, "five").await;
    assert_eq!(waited(&bob, &conversation).await, [5]);

    // Joining by a frame is the same as by the address, and so is another node's life.
    say(&alice, &conversation, "six").await;
    let server = server.restart(&[]).await;
    let (alice, bob) = (alice.at(&server), bob.at(&server));
    say(&alice, &conversation, "seven").await;
    let mut socket = bob.socket().await;
    socket.ask("1", "join_session", json!({ "session_id": conversation })).await;
    assert_eq!(messages(&mut socket).await, [6, 7]);
    // What was noted last is stored when a node stops.
    let server = server.restart(&[]).await;
    assert!(waited(&bob.at(&server), &conversation).await.is_empty());
    assert_eq!(member(&alice.at(&server), &conversation, "bob").await["delivered_seq"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_their_own_and_answers_wait_when_they_are_whole() {
    let upstream = Upstream::start(Script::anthropic().stepped().pieces(2).end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    for _ in 0..3 {
        say(&alice, &conversation, "note to self").await;
    }
    assert!(waited(&alice, &conversation).await.is_empty());
    until_delivered(&bob, &conversation, "alice", 3).await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    say(&alice, &conversation, "meanwhile").await;

    // Seq 5 is being made: it comes as what it is so far, and what was said after it does not wait for its end.
    let mut socket = view(&bob, &conversation).await;
    let came = frames(&mut socket).await;
    let kinds: Vec<&str> = came.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "message", "message", "message", "message", "start", "snapshot"], "{came:?}");
    assert_eq!((&came[3]["data"]["seq"], &came[4]["data"]["seq"]), (&4.into(), &6.into()));
    until_delivered(&alice, &conversation, "bob", 4).await;
    drop(socket);
    upstream.release(2);
    eventually("the answer is whole", async || alice.message(&conversation, &answer).await["status"] == "complete")
        .await;
    for actor in [&bob, &alice] {
        assert_eq!(waited(actor, &conversation).await, [5], "and not what was said after it once more");
        assert!(waited(actor, &conversation).await.is_empty());
    }
    until_delivered(&alice, &conversation, "bob", 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_followed_an_answer_alone_has_it() {
    let server = Server::with(&[("echo_interval", "0")]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let body = json!({ "message": "hi", "conversation_id": conversation });
    let mut events = alice.stream_chat(body).await;
    while events.next().await.is_some() {}
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let (status, body) = alice.post(&path, json!({ "content": "again", "wait": true })).await;
    assert_eq!((status, &body["reply"]["status"]), (200, &"complete".into()), "{body}");
    assert!(waited(&alice, &conversation).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_somebody_comes_comes_once_and_in_order() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    for round in 0..8 {
        let conversation = alice.conversation().await;
        alice.add(&conversation, &bob, "viewer").await;
        let sending = async {
            for number in 1..=40 {
                say(&alice, &conversation, &number.to_string()).await;
            }
        };
        let reading = async {
            // Some are sent before, differently many in each round.
            let path = format!("/api/v1/conversations/{conversation}");
            let begun = async || bob.get(&path).await.1["conversation"]["last_seq"].as_i64() > Some(round);
            eventually("some are sent", begun).await;
            let mut socket = view(&bob, &conversation).await;
            let mut came = Vec::new();
            while came.last() != Some(&40) {
                came.push(socket.until("message").await["data"]["seq"].as_i64().unwrap());
            }
            came.extend(messages(&mut socket).await);
            came
        };
        let ((), came) = tokio::join!(sending, reading);
        assert_eq!(came, (1..=40).collect::<Vec<i64>>(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_know_of_each_other_what_was_delivered() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [("redis_url", url.as_str())];
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    let (alice, bob, conversation) = here.alice_and_bob().await;
    let mut viewer = view(&alice, &conversation).await;
    say(&alice, &conversation, "one").await;
    say(&alice, &conversation, "two").await;
    let mut socket = view(&bob.at(&there), &conversation).await;
    assert_eq!(messages(&mut socket).await, [1, 2]);
    let told = viewer.until("message.delivered").await;
    assert_eq!(told["data"]["seq"], 2, "{told}");
    say(&alice, &conversation, "three").await;
    assert_eq!(socket.until("message").await["data"]["seq"], 3);
    assert_eq!(viewer.until("message.delivered").await["data"]["seq"], 3);
    assert!(waited(&bob, &conversation).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_are_told_in_integers_that_only_grow() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let bob_id = bob.me().await.unwrap().id;
    let (mut alices, mut bobs) = (view(&alice, &conversation).await, view(&bob, &conversation).await);
    for _ in 0..20 {
        say(&alice, &conversation, "hello").await;
    }
    let mut told = Vec::new();
    while told.last() != Some(&20) {
        let frame = alices.until("message.delivered").await;
        assert_eq!(
            (&frame["data"]["user_id"], &frame["data"]["conversation_id"]),
            (&bob_id.as_str().into(), &conversation.as_str().into(),)
        );
        assert!(frame.get("offset").is_none(), "{frame}");
        told.push(frame["data"]["seq"].as_i64().unwrap());
    }
    assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    let frames = frames(&mut bobs).await;
    assert!(frames.iter().all(|frame| frame["type"] == "message"), "nobody is told of themselves: {frames:?}");
    let seen = member(&bob, &conversation, "bob").await;
    assert_eq!((&seen["delivered_seq"], &seen["last_read_seq"]), (&20.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_large_conversations_only_the_list_of_members_tells() {
    let server = Server::with(&[("delivery_receipts_max_members", "1")]).await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let (mut alices, _bobs) = (view(&alice, &conversation).await, view(&bob, &conversation).await);
    say(&alice, &conversation, "hello").await;
    until_delivered(&alice, &conversation, "bob", 1).await;
    say(&alice, &conversation, "hello").await;
    until_delivered(&alice, &conversation, "bob", 2).await;
    let frames = frames(&mut alices).await;
    assert!(frames.iter().all(|frame| frame["type"] == "message"), "{frames:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_the_history_has_it_and_markers_never_go_back() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    for _ in 0..6 {
        say(&alice, &conversation, "hello").await;
    }
    let path = format!("/api/v1/conversations/{conversation}");
    let (status, body) = bob.post(&format!("{path}:read"), json!({ "seq": 2 })).await;
    assert_eq!(status, 200, "{body}");
    let seen = member(&alice, &conversation, "bob").await;
    assert_eq!((&seen["delivered_seq"], &seen["last_read_seq"]), (&2.into(), &2.into()));
    // An older page takes nothing over.
    bob.get(&format!("{path}/messages?before_seq=6&limit=1")).await;
    let (_, page) = bob.get(&format!("{path}/messages?after_seq=2&limit=1")).await;
    assert_eq!(page["messages"][0]["seq"], 3);
    until_delivered(&alice, &conversation, "bob", 3).await;

    let mut socket = bob.socket().await;
    let cursor = json!({ "conversation_id": conversation, "after_seq": 3, "limit": 2 });
    socket.ask("after", "history", cursor).await;
    let page = socket.answer_to("after").await;
    let seqs: Vec<_> = page["data"]["messages"].as_array().unwrap().iter().map(|message| &message["seq"]).collect();
    assert_eq!((seqs, &page["data"]["has_more"]), (vec![&Value::from(4), &Value::from(5)], &true.into()));
    let both = json!({ "conversation_id": conversation, "after_seq": 3, "before_seq": 5 });
    socket.ask("both", "history", both).await;
    let refused = socket.answer_to("both").await;
    assert_eq!(
        (&refused["data"]["code"], &refused["data"]["details"][0]["field"]),
        (&"INVALID_MESSAGE".into(), &"after_seq".into(),)
    );
    assert_eq!(waited(&bob, &conversation).await, [6]);
    until_delivered(&alice, &conversation, "bob", 6).await;
    bob.post(&format!("{path}:read"), json!({ "seq": 4 })).await;
    bob.get(&format!("{path}/messages?after_seq=0&limit=1")).await;
    say(&alice, &conversation, "hello").await;
    bob.get(&format!("{path}/messages")).await;
    until_delivered(&alice, &conversation, "bob", 7).await;
    assert_eq!(member(&alice, &conversation, "bob").await["last_read_seq"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_replaced_or_before_ones_time_does_not_wait() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let mut ids = Vec::new();
    for content in ["one", "two", "three"] {
        let (_, body) = alice.post(&path, json!({ "content": content, "reply": false })).await;
        ids.push(body["message"]["id"].as_str().unwrap().to_owned());
    }
    let (status, body) = answer(&alice, reqwest::Method::DELETE, &format!("{path}/{}", ids[0]), json!({})).await;
    assert_eq!(status, 200, "{body}");
    let edit = json!({ "content": "three, better", "reply": false });
    let (status, body) = answer(&alice, reqwest::Method::PATCH, &format!("{path}/{}", ids[2]), edit).await;
    assert_eq!((status, &body["message"]["seq"]), (200, &4.into()), "{body}");
    let carol = server.register("carol").await;
    alice.add(&conversation, &carol, "viewer").await;
    assert_eq!(waited(&bob, &conversation).await, [2, 4]);
    until_delivered(&alice, &conversation, "bob", 4).await;
    assert!(waited(&carol, &conversation).await.is_empty());
    assert_eq!(member(&alice, &conversation, "carol").await["delivered_seq"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_a_place_gets_the_log_and_what_waits_where_the_log_is_gone() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    say(&alice, &conversation, "one").await;
    let mut socket = bob.socket().await;
    let topic = format!("conversation:{conversation}");
    let subscribe = async |socket: &mut Socket, position: Value| {
        let mut wanted = json!({ "topic": topic });
        wanted.as_object_mut().unwrap().extend(position.as_object().unwrap().clone());
        socket.ask("subscribe", "subscribe", json!({ "topics": [wanted] })).await;
        socket.answer_to("subscribe").await["data"]["topics"][0].clone()
    };
    let state = subscribe(&mut socket, json!({})).await;
    assert_eq!(messages(&mut socket).await, [1]);
    drop(socket);
    say(&alice, &conversation, "two").await;

    let mut socket = bob.socket().await;
    subscribe(&mut socket, json!({ "offset": state["offset"], "epoch": state["epoch"] })).await;
    let came = frames(&mut socket).await;
    assert_eq!((came.len(), &came[0]["data"]["seq"]), (1, &2.into()), "{came:?}");
    assert!(came[0]["offset"].is_i64(), "from the log");
    drop(socket);
    say(&alice, &conversation, "three").await;

    let mut socket = bob.socket().await;
    let state = subscribe(&mut socket, json!({ "offset": 1000, "epoch": state["epoch"] })).await;
    assert_eq!((&state["recovered"], &state["reason"]), (&false.into(), &"offset_unknown".into()), "{state}");
    assert_eq!(messages(&mut socket).await, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_joined_as_many_topics_as_there_may_be_may_name_them_again() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let making = stream::iter(0..1001).map(async |_| format!("conversation:{}", alice.conversation().await));
    let topics: Vec<String> = making.buffer_unordered(16).collect().await;
    let mut socket = alice.socket().await;
    let mut subscribe = async |topics: &[String]| {
        let topics: Vec<Value> = topics.iter().map(|topic| json!({ "topic": topic })).collect();
        socket.ask("join", "subscribe", json!({ "topics": topics })).await;
        socket.answer_to("join").await
    };
    for topics in topics[..1000].chunks(100) {
        assert_eq!(subscribe(topics).await["type"], "subscription.confirmed");
    }
    assert_eq!(subscribe(&topics[1000..]).await["data"]["code"], "INVALID_MESSAGE");
    let again = subscribe(&topics[..100]).await;
    assert_eq!(
        (&again["type"], again["data"]["topics"].as_array().map(Vec::len)),
        (&"subscription.confirmed".into(), Some(100))
    );
}

async fn answer(actor: &Actor, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
    let response = actor.request(method, path).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}
