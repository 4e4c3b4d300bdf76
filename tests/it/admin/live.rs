//! What admins see and end of what is live: connections, limits, servers.

use serde_json::json;

use super::{deleted, entry, got, id, log, posted};
use crate::harness::{ADMIN, Native, PATIENCE, RedisServer, Server, eventually, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_listed_and_closed_from_another_node() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = |node| [&ADMIN[..], &[("redis_url", &*url), ("report_interval", "0.05"), ("node", node)]].concat();
    let here = Server::with(&settings("here")).await;
    let there = here.beside(&settings("there")).await;
    let (root, alice) = (here.admin().await, here.register("alice").await);
    let user = id(&alice).await;
    let (_native, mut socket) = (Native::open(&alice, None).await, alice.at(&there).socket().await);
    let _other = root.at(&there).socket().await;
    let listed = async |filter: &str| got(&root, &format!("connections?{filter}")).await["connections"].take();
    eventually("all are told of", async || listed("").await.as_array().unwrap().len() == 3).await;
    let own = listed(&format!("user_id={user}")).await;
    let of = |at: usize, name: &str| own[at][name].as_str().unwrap().to_owned();
    assert_eq!((of(0, "node"), of(0, "transport")), ("there".into(), "websocket".into()), "{own}");
    assert_eq!((of(1, "node"), of(1, "transport")), ("here".into(), "grpc".into()), "{own}");
    assert_eq!(
        (of(0, "user_id"), of(0, "health_status"), &own[0]["health_score"]),
        (user, "healthy".into(), &json!(1.0))
    );
    let page = got(&root, "connections?page_size=2").await;
    let rest = got(&root, &format!("connections?page_token={}", page["next_page_token"].as_str().unwrap())).await;
    assert_eq!((page["connections"].as_array().unwrap().len(), &rest["next_page_token"]), (2, &json!("")));
    assert_eq!(rest["connections"][0]["connection_id"], of(1, "connection_id"));

    let (status, body) = deleted(&root, &format!("admin/connections/{}", of(0, "connection_id"))).await;
    assert_eq!(status, 200, "{body}");
    let word = socket.until("reconnect").await;
    assert_eq!(word["data"], json!({"after_ms": 0, "reason": "closed_by_admin"}));
    assert_eq!(socket.close_code().await, 3000);
    let target = format!("connection:{}", of(0, "connection_id"));
    assert_eq!(log(&root, "").await, [entry("connection.close", &target, "ok")]);
    eventually("it is gone", async || listed("").await.as_array().unwrap().len() == 2).await;
    assert_eq!(deleted(&root, &format!("admin/connections/{}", of(0, "connection_id"))).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_tell_what_was_used_and_begin_anew_when_they_are_reset() {
    let redis = RedisServer::start().await;
    let shared = redis.url();
    for url in ["", &*shared] {
        let server = Server::with(&[&ADMIN[..], &[("messages_per_minute", "4"), ("redis_url", url)]].concat()).await;
        let (root, alice) = (server.admin().await, server.register("alice").await);
        let user = id(&alice).await;
        let mut socket = alice.socket().await;
        for nth in 0..5 {
            socket.ask(&nth.to_string(), "presence", json!({"status": "busy"})).await;
        }
        assert_eq!(socket.until("error").await["reply_to"], "4");
        let minute = async || {
            let limits = got(&root, &format!("rate-limits?user_id={user}")).await;
            assert_eq!(limits["identifier"], format!("user:{user}"));
            assert_eq!(limits["connections"]["used_by_user"], 1);
            limits["frames"][1].clone()
        };
        assert_eq!(minute().await, json!({"limit": 4, "window_seconds": 60.0, "used": 4}));
        let violations = got(&root, "rate-limit-violations").await["violations"].take();
        assert_eq!(
            (&violations[0]["identifier"], &violations[0]["count"]),
            (&json!(format!("user:{user}")), &json!(1))
        );
        let ttl = violations[0]["ttl"].as_i64().unwrap();
        assert!((3500..=3600).contains(&ttl), "{violations}");
        assert_eq!(posted(&root, &format!("rate-limits/reset?user_id={user}")).await.0, 200);
        assert_eq!(minute().await["used"], 0);
        assert_eq!(got(&root, "rate-limit-violations").await["violations"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_servers_tells_which_is_away() {
    let mut redis = RedisServer::start().await;
    let server = Server::with(&[&ADMIN[..], &[("redis_url", &redis.url())]].concat()).await;
    let root = server.admin().await;
    let status = got(&root, "service-status").await;
    let database = if server.data().is_postgres() { "ok" } else { "embedded" };
    assert_eq!((&status["db"], &status["redis"]), (&json!(database), &json!("ok")), "{status}");
    for latency in ["db_latency_ms", "redis_latency_ms"] {
        assert!(status[latency].as_f64().unwrap() > 0.0, "{status}");
    }
    redis.stop().await;
    let status = async || got(&root, "service-status").await;
    within(PATIENCE, "it is noticed", async || status().await["redis"] == "unavailable").await;
    assert_eq!(status().await.get("redis_latency_ms"), None);

    let alone = Server::with(&[&ADMIN[..], &[("redis_url", ""), ("database_url", "")]].concat()).await;
    let status = got(&alone.admin().await, "service-status").await;
    assert_eq!((&status["db"], &status["redis"]), (&json!("embedded"), &json!("embedded")), "{status}");
    assert_eq!(status.get("redis_latency_ms"), None, "{status}");
}
