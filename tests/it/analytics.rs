//! What is known of live connections: their health for their owners, and everything together for admins.

use std::time::Duration;

use colloquy::proto::{LinkReport, Ping, client_frame, server_frame::Payload};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Actor, Native, RedisServer, Server, eventually};

const HEALTH: &str = "/api/v1/websocket/connection-health";
const ANALYTICS: &str = "/api/v1/admin/websocket-analytics";

async fn got(actor: &Actor, path: &str) -> Value {
    let (status, body) = actor.get(path).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_the_health_of_the_own_connections_and_of_no_others() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    assert_eq!(got(&alice, HEALTH).await, json!({"connections": []}));
    let (_socket, mut native, _other) = (alice.socket().await, Native::open(&alice, None).await, bob.socket().await);
    native.report(LinkReport { round_trip: Duration::from_millis(550).try_into().ok(), ..LinkReport::default() });
    native.ask(client_frame::Payload::Ping(Ping::default()));
    native.find(|payload| matches!(payload, Payload::Pong(_)).then_some(())).await;

    let health = got(&alice, HEALTH).await;
    let mut connections = health["connections"].as_array().unwrap().clone();
    assert_eq!(connections.len(), 2, "{health}");
    connections.sort_by_key(|connection| connection.get("latency_ms").is_none());
    let me = alice.me().await.unwrap().id;
    assert!(connections.iter().all(|connection| connection["user_id"] == json!(me)));
    let [measured, new] = &connections[..] else { panic!("{health}") };
    assert_eq!((&measured["latency_ms"], &measured["status"]), (&json!(550.0), &json!("healthy")));
    let score = measured["health_score"].as_f64().unwrap();
    assert!((score - 0.75).abs() < 0.01, "{score}");
    assert_eq!(
        (&new["health_score"], &new["error_rate"], &new["status"]),
        (&json!(1.0), &json!(0.0), &json!("healthy"))
    );
    assert!(new["last_activity"].is_string() && new["connection_id"].is_string(), "{new}");
    drop(native);
    eventually("one is left", async || got(&alice, HEALTH).await["connections"].as_array().unwrap().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_see_what_passes_and_what_waits() {
    let server = Server::with(&ADMIN).await;
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "member").await;
    let mut socket = alice.socket().await;
    socket.ask("join", "join_session", json!({"session_id": conversation})).await;
    socket.answer_to("join").await;
    socket.ask("bad", "stop", json!({"message_id": "none"})).await;
    assert_eq!(socket.answer_to("bad").await["type"], "error");

    // Bob takes nothing, and three messages wait for him; who types waits behind them.
    let mut native = Native::open(&bob, Some(1)).await;
    native.find(|payload| matches!(payload, Payload::ConnectionEstablished(_)).then_some(())).await;
    native.report(LinkReport { round_trip: Duration::from_millis(40).try_into().ok(), ..LinkReport::default() });
    native.subscribe(&[(&conversation, None)]);
    native.grant_one();
    native.find(|payload| matches!(payload, Payload::SubscriptionConfirmed(_)).then_some(())).await;
    for _ in 0..3 {
        let body = json!({"content": "hi", "reply": false});
        assert_eq!(alice.post(&format!("/api/v1/conversations/{conversation}/messages"), body).await.0, 200);
    }
    socket.ask("typing", "typing", json!({"conversation_id": conversation, "is_typing": true})).await;
    let figures = async || got(&root, ANALYTICS).await;
    eventually("typing waits", async || figures().await["queue_sizes"]["low"] != 0).await;

    let figures = got(&root, "/api/admin/websocket-analytics").await;
    let expected = json!({"active_connections": 2, "active_users": 2, "active_topics": 1, "total_errors": 1});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(figures[name], *value, "{name} of {figures}");
    }
    assert_eq!(figures["error_codes"], json!({"INVALID_MESSAGE": 1}));
    assert_eq!(figures["message_types"]["join_session"], 1);
    assert_eq!(figures["message_types"]["connection.established"], 2);
    let types: i64 = figures["message_types"].as_object().unwrap().values().flat_map(Value::as_i64).sum();
    assert_eq!(figures["total_messages"], types);
    assert_eq!((&figures["queue_sizes"]["critical"], &figures["queue_sizes"]["high"]), (&json!(0), &json!(3)));
    assert_eq!(figures["latency_stats"], json!({"mean_ms": 40.0, "p50_ms": 40.0, "p95_ms": 40.0, "p99_ms": 40.0}));

    drop((socket, native));
    let is_idle = async || {
        let figures = got(&root, ANALYTICS).await;
        [
            &figures["active_connections"],
            &figures["active_users"],
            &figures["active_topics"],
            &figures["queue_sizes"]["high"],
        ]
        .iter()
        .all(|figure| **figure == json!(0))
    };
    eventually("nothing is left", is_idle).await;
    assert_eq!(alice.get(ANALYTICS).await.0, 403);
    assert_eq!(server.visitor().get(ANALYTICS).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_nodes_told_is_counted_as_well() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [ADMIN[0], ADMIN[1], ADMIN[2], ("report_interval", "0.05"), ("redis_url", &url)];
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    let (root, alice) = (here.admin().await, here.register("alice").await);
    let socket = alice.at(&there).socket().await;
    let active = async |count: i64| got(&root, ANALYTICS).await["active_connections"] == json!(count);
    eventually("it is seen here", async || active(1).await).await;
    assert_eq!(got(&alice, HEALTH).await["connections"].as_array().unwrap().len(), 1);
    drop(socket);
    eventually("it is gone here", async || active(0).await).await;
    there.stop().await;
}
