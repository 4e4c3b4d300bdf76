//! Published events: to users, to a conversation, to subscribers, to everyone; on every transport, once for each key.

use std::collections::BTreeSet;

use colloquy::{
    model::publication::BUILT_IN,
    proto::{SubscribeEventsRequest, streamed_event},
};
use serde_json::{Value, json};

use crate::{
    harness::{ADMIN, Actor, RedisServer, Server, Socket, soon},
    service_accounts::service,
};

const EVENTS: &str = "/api/v1/events";

/// Publishes an event, and returns how many it reached.
async fn publish(root: &Actor, body: Value) -> i64 {
    let (status, answer) = root.post(EVENTS, body).await;
    assert_eq!(status, 200, "{answer}");
    let (event_id, delivered) = (answer["event_id"].as_str().unwrap(), answer["delivered"].as_i64().unwrap());
    assert_eq!(answer, json!({ "event_id": event_id, "delivered": delivered }));
    delivered
}

/// A socket that is subscribed to these types.
async fn subscribed(actor: &Actor, types: &[&str]) -> Socket {
    let mut socket = actor.socket().await;
    socket.ask("types", "subscribe", json!({ "events": types })).await;
    socket.answer_to("types").await;
    socket
}

/// The published events that come to a socket up to now, by type and data.
async fn came(socket: &mut Socket) -> Vec<(String, Value)> {
    socket.ask("now", "ping", json!({})).await;
    let mut came = Vec::new();
    loop {
        let frame = socket.next().await.expect("the socket lives");
        let frame_type = frame["type"].as_str().unwrap();
        match frame_type {
            "pong" => return came,
            "connection.established" | "user.status_changed" | "user_joined" => {}
            _ => came.push((frame_type.to_owned(), frame["data"].clone())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_those_whom_it_is_for_and_nobody_else() {
    let server = Server::with(&ADMIN).await;
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    let mut reader = subscribed(&alice, &["review.created"]).await;
    let mut other = bob.socket().await;
    let mut viewer = Socket::open(&alice.socket_url(&format!("/{conversation}"))).await;
    viewer.until("subscription.confirmed").await;

    let data = json!({ "review_id": 7, "stars": 4.5, "tags": ["a", null], "by": { "name": "é" } });
    let body = |target: &str, value: Value| json!({ "type": "review.created", "data": data, target: value });
    assert_eq!(publish(&root, body("audience", json!("subscribers"))).await, 1);
    let expected = vec![("review.created".to_owned(), data.clone())];
    assert_eq!(came(&mut reader).await, expected);
    assert!(came(&mut other).await.is_empty() && came(&mut viewer).await.is_empty());

    // Subscribed or not.
    assert_eq!(publish(&root, body("user_ids", json!([bob.me().await.unwrap().id]))).await, 1);
    assert_eq!(came(&mut other).await, expected);
    assert_eq!(publish(&root, body("conversation_id", json!(conversation))).await, 1);
    assert_eq!(came(&mut viewer).await, expected);
    assert!(came(&mut reader).await.is_empty());
    assert_eq!(publish(&root, body("audience", json!("everyone"))).await, 3);
    for socket in [&mut reader, &mut other, &mut viewer] {
        assert_eq!(came(socket).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_and_admins_find_out_reaches_subscribers_field_by_field() {
    let server = Server::with(&ADMIN).await;
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let robot = service(&root, "robot", &["events:publish"]).await;
    let mut reader = subscribed(&alice, &["emotion_update", "analysis_update", "system.maintenance"]).await;
    let mut other = bob.socket().await;
    for (event_type, data) in [
        (
            "emotion_update",
            json!({ "emotion": "joy", "confidence": 0.9, "intensity": 0.5, "scores": { "joy": 0.9, "fear": 0.1 } }),
        ),
        (
            "analysis_update",
            json!({ "analysis_type": "mood", "status": "running", "progress": 0.5, "result": { "label": "good" } }),
        ),
        ("system.maintenance", json!({ "message": "at noon", "minutes": 10 })),
    ] {
        for publisher in [&root, &robot] {
            let body = json!({ "type": event_type, "data": data, "audience": "subscribers" });
            assert_eq!(publish(publisher, body).await, 1, "{event_type}");
            assert_eq!(came(&mut reader).await, [(event_type.to_owned(), data.clone())]);
        }
        assert!(came(&mut other).await.is_empty(), "{event_type}");
    }
}

#[test]
fn the_types_that_are_there_from_the_start_are_the_documented_ones() {
    let documented = [
        "upload.progress",
        "upload.completed",
        "upload.error",
        "upload.cancelled",
        "review.updated",
        "review.created",
        "review.deleted",
        "system.notification",
        "system.maintenance",
        "user.status_changed",
        "file.processing",
        "file.ready",
        "emotion_update",
        "analysis_update",
    ];
    assert_eq!(BTreeSet::from(BUILT_IN), BTreeSet::from(documented));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_follow_types_over_sse_and_grpc() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let mut sse = alice.follow(&format!("{EVENTS}/stream?events=review.created,file.ready")).await;
    let begun = sse.next().await.unwrap();
    assert_eq!((begun.offset, begun.kind.as_str()), (1, "subscription.confirmed"));
    assert_eq!(begun.data, json!({ "events": ["file.ready", "review.created"] }));
    let request = SubscribeEventsRequest { events: vec!["file.ready".to_owned()] };
    let mut grpc = alice.events().subscribe_events(request).await.unwrap().into_inner();
    let mut next = async || soon("an event", grpc.message()).await.unwrap().unwrap().event.unwrap().event.unwrap();
    assert!(matches!(next().await, streamed_event::Event::Subscribed(_)));

    let me = alice.me().await.unwrap().id;
    for (number, target) in
        [json!({ "audience": "subscribers" }), json!({ "audience": "everyone" }), json!({ "user_ids": [me] })]
            .into_iter()
            .enumerate()
    {
        let mut body = json!({ "type": "file.ready", "data": { "number": number } });
        body.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        assert_eq!(publish(&root, body).await, 2);
        let event = sse.next().await.unwrap();
        assert_eq!((event.kind.as_str(), event.data), ("file.ready", json!({ "number": number })));
        let streamed_event::Event::Published(published) = next().await else { panic!("an event is published") };
        assert_eq!(published.r#type, "file.ready");
    }
    publish(&root, json!({ "type": "upload.error", "audience": "everyone" })).await;
    publish(&root, json!({ "type": "review.created", "audience": "subscribers" })).await;
    assert_eq!(sse.next().await.unwrap().kind, "review.created", "and nothing of other types");
    for query in ["events=nonsense", "events=", ""] {
        assert_eq!(alice.get(&format!("{EVENTS}/stream?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_returns_gets_what_is_kept_and_still_good() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let server = Server::with(&[&ADMIN[..], &[("redis_url", &url)]].concat()).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let topic = "event:review.created";
    let mut socket = alice.socket().await;
    socket.ask("1", "subscribe", json!({ "topics": [{ "topic": topic }] })).await;
    let place = socket.answer_to("1").await["data"]["topics"][0].clone();
    socket.cut();
    let event = |name: &str| json!({ "type": "review.created", "audience": "subscribers", "data": { "name": name } });
    let with = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };
    publish(&root, event("kept")).await;
    publish(&root, with(event("of the moment"), "priority", json!("low"))).await;
    publish(&root, with(event("long"), "ttl_seconds", json!(3600))).await;
    publish(&root, with(event("short"), "ttl_seconds", json!(10))).await;
    publish(&root, with(event("high"), "priority", json!("high"))).await;
    let later = server.beside(&[("redis_url", &url), ("clock_ahead_micros", "60000000")]).await;
    let mut socket = alice.at(&later).socket().await;
    let since = json!({ "topic": topic, "offset": place["offset"], "epoch": place["epoch"] });
    socket.ask("2", "subscribe", json!({ "topics": [since] })).await;
    socket.answer_to("2").await;
    let names: Vec<Value> = came(&mut socket).await.into_iter().map(|(_, data)| data["name"].clone()).collect();
    assert_eq!(names, ["kept", "long", "high"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_once_on_all_nodes() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let here = Server::with(&[&ADMIN[..], &[("redis_url", &url)]].concat()).await;
    let there = here.beside(&[("redis_url", &url)]).await;
    let (root, alice) = (here.admin().await, here.register("alice").await);
    let mut socket = subscribed(&alice.at(&there), &["file.ready"]).await;
    let body = json!({ "type": "file.ready", "audience": "subscribers", "data": { "n": 1 }, "idempotency_key": "k" });
    let first = root.post(EVENTS, body.clone()).await;
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(root.post(EVENTS, body.clone()).await, first);
    assert_eq!(root.at(&there).post(EVENTS, body.clone()).await, first);
    let other = json!({ "type": "file.ready", "audience": "subscribers", "data": { "n": 2 }, "idempotency_key": "k2" });
    publish(&root, other).await;
    for number in [1, 2] {
        assert_eq!(socket.until("file.ready").await["data"], json!({ "n": number }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_registered_with_who_may_publish_and_who_may_subscribe() {
    let file = "[[event_types]]\nname = \"order.paid\"\npublish = [\"user\"]\nsubscribe = [\"admin\"]\n";
    let server = Server::configured(file, &ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let mut socket = subscribed(&root, &["order.paid"]).await;
    let body = json!({ "type": "order.paid", "audience": "subscribers", "data": { "order": "7" } });
    assert_eq!(publish(&alice, body.clone()).await, 1);
    assert_eq!(came(&mut socket).await, [("order.paid".to_owned(), json!({ "order": "7" }))]);
    assert_eq!(root.post(EVENTS, body).await.0, 403);
    let mut own = alice.socket().await;
    own.ask("1", "subscribe", json!({ "events": ["order.paid", "file.ready"] })).await;
    let refused = own.until("error").await;
    assert!(refused["data"].to_string().contains("order.paid"), "{refused}");
    assert_eq!(alice.get(&format!("{EVENTS}/stream?events=order.paid")).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_events_are_refused_by_field() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let event = |fields: Value| {
        let mut body = json!({ "type": "system.notification", "audience": "everyone", "data": { "message": "hi" } });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    assert_eq!(alice.post(EVENTS, event(json!({}))).await.0, 403);
    for (fields, named) in [
        (json!({ "type": "nonsense" }), "type"),
        (json!({ "user_ids": [alice.me().await.unwrap().id] }), "audience"),
        (json!({ "audience": "unspecified" }), "audience"),
        (json!({ "audience": "unspecified", "user_ids": ["x"] }), "user_ids[0]"),
        (json!({ "audience": "unspecified", "user_ids": ["019394c4-0000-7000-8000-000000000000"] }), "user_ids[0]"),
        (json!({ "data": { "message": "hi", "level": "loud" } }), "data.level"),
        (json!({ "data": {} }), "data.message"),
        (json!({ "data": { "message": "hi", "type": "x" } }), "data.type"),
        (json!({ "data": { "message": "x".repeat(32_768) } }), "data"),
        (json!({ "data": [] }), "data"),
        (json!({ "ttl_seconds": 0 }), "ttl_seconds"),
        (json!({ "ttl_seconds": 86_401 }), "ttl_seconds"),
        (json!({ "priority": "urgent" }), "priority"),
    ] {
        let (status, refused) = root.post(EVENTS, event(fields.clone())).await;
        assert_eq!(status, 400, "{fields}: {refused}");
        assert!(refused["error"].to_string().contains(named), "{named}: {refused}");
    }
    let elsewhere = json!({ "audience": "unspecified", "conversation_id": "019394c4-0000-7000-8000-000000000000" });
    assert_eq!(root.post(EVENTS, event(elsewhere)).await.0, 404);
}
