//! The operator's desk: what admins see and do, and whom it reaches.

mod accounts;
mod live;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Actor, Server, eventually};

/// The JSON of a value with the name of its type in place of each scalar, and one entry in place of each list.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(entries) => entries.first().map(shape).into_iter().collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
    }
}

async fn got(actor: &Actor, path: &str) -> Value {
    let (status, body) = actor.get(&format!("/api/v1/admin/{path}")).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn posted(actor: &Actor, path: &str) -> (u16, Value) {
    actor.post(&format!("/api/v1/admin/{path}"), json!({})).await
}

async fn deleted(actor: &Actor, path: &str) -> (u16, Value) {
    let response = actor.request(Method::DELETE, &format!("/api/v1/{path}")).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn id(actor: &Actor) -> String {
    actor.me().await.unwrap().id
}

/// Who acts at the machine, as the log has it.
pub(crate) const OPERATOR: &str = "00000000-0000-0000-0000-000000000000";

/// What the log tells of admins, newest first: the action, the target's id and the result.
async fn log(admin: &Actor, filter: &str) -> Vec<(String, String, String)> {
    let log = got(admin, &format!("audit-log?page_size=100&{filter}")).await;
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let entries = log["audit_log"].as_array().unwrap().iter().filter(|entry| entry["admin_id"] != OPERATOR);
    entries.map(|entry| (text(entry, "action"), text(entry, "target"), text(entry, "result"))).collect()
}

fn entry(action: &str, target: &str, result: &str) -> (String, String, String) {
    (action.to_owned(), target.to_owned(), result.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_in_the_documented_shape() {
    let server = Server::with(&[&ADMIN[..], &[("messages_per_minute", "2")]].concat()).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let conversation = alice.conversation().await;
    let path = format!("/api/v1/conversations/{conversation}/messages");
    assert_eq!(alice.post(&path, json!({"content": "one two", "wait": true})).await.0, 200);
    let mut socket = alice.socket().await;
    for nth in 0..3 {
        socket.ask(&nth.to_string(), "presence", json!({"status": "busy"})).await;
    }
    assert_eq!(socket.until("error").await["data"]["code"], "RATE_LIMIT_EXCEEDED");
    let user = id(&alice).await;
    let connection = got(&root, "connections").await["connections"][0]["connection_id"].take();
    let connection = format!("connections/{}", connection.as_str().unwrap());

    let account = json!({
        "id": "string", "name": "string", "scopes": ["string"], "is_active": "boolean", "created_at": "string",
    });
    let asked = json!({"name": "robot", "scopes": ["chat:*"]});
    let (status, robot) = root.post("/api/v1/admin/service-accounts", asked).await;
    let made = json!({"service_account": account, "api_key": "string"});
    assert_eq!((status, shape(&robot)), (201, made), "{robot}");
    let message = json!({"message": "string"});
    for act in ["promote", "demote", "activate"] {
        let (status, body) = posted(&root, &format!("users/{user}/{act}")).await;
        assert_eq!((status, shape(&body)), (200, message.clone()), "{act}: {body}");
    }
    let rate = json!([{"limit": "number", "window_seconds": "number", "used": "number"}]);
    let next = json!("string");
    let mut servers = json!({"db": "string", "redis": "string", "db_latency_ms": "number"});
    if server.data().settings().iter().any(|(name, _)| *name == "redis_url") {
        servers["redis_latency_ms"] = json!("number");
    }
    let frames = format!("{connection}/frames");
    let shapes = [
        (
            "users",
            json!({"users": [{
                "id": "string", "username": "string", "email": "string", "is_active": "boolean", "is_admin": "boolean",
                "role": "string", "display_name": "string", "created_at": "string", "updated_at": "string",
            }], "next_page_token": next}),
        ),
        (
            "metrics",
            json!({
                "user_count": "number", "message_count": "number", "active_user_count": "number", "admin_count": "number",
                "conversation_count": "number", "session_count": "number", "running_count": "number",
                "connection_count": "number",
            }),
        ),
        ("system-status", json!({"cpu": "number", "memory": "number", "disk": "number", "node": "string"})),
        ("service-status", servers),
        ("service-accounts", json!({"service_accounts": [account], "next_page_token": next})),
        (
            "rate-limits",
            json!({
                "identifier": "string", "frames": rate, "requests": rate,
                "connections": {
                    "per_user": "number", "per_address": "number", "per_node": "number", "used_by_user": "number",
                    "used_on_node": "number",
                },
            }),
        ),
        (
            "rate-limit-violations",
            json!({
                "violations": [{"identifier": "string", "count": "number", "ttl": "number"}], "next_page_token": next,
            }),
        ),
        (
            "usage",
            json!({"usage": [{
                "user_id": "string", "day": "string", "model": "string", "input_tokens": "number",
                "output_tokens": "number", "message_count": "number",
            }], "next_page_token": next}),
        ),
        (
            "audit-log",
            json!({"audit_log": [{
                "id": "string", "timestamp": "string", "admin_id": "string", "action": "string", "target": "string",
                "result": "string", "address": "string", "request_id": "string",
                "details": {"username": "string", "role_before": "string", "state_before": "string"},
            }], "next_page_token": next}),
        ),
        (
            "connections",
            json!({"connections": [{
                "connection_id": "string", "user_id": "string", "node": "string", "transport": "string",
                "connected_at": "string", "last_activity": "string", "health_score": "number",
                "health_status": "string",
            }], "next_page_token": next}),
        ),
        (
            &*frames,
            json!({
                "connection_id": "string", "user_id": "string", "node": "string", "connected_at": "string",
                "frame_count": "number",
                "frames": [{
                    "timestamp": "string", "direction": "string", "type": "string", "bytes": "number", "id": "string",
                    "topic": "string", "code": "string",
                }],
            }),
        ),
    ];
    for (path, expected) in shapes {
        let body = got(&root, path).await;
        assert_eq!(shape(&body), expected, "{path}: {body}");
        assert_eq!(alice.get(&format!("/api/v1/admin/{path}")).await.0, 403, "{path}");
        assert_eq!(server.visitor().get(&format!("/api/v1/admin/{path}")).await.0, 401, "{path}");
    }
    let analytics = json!({
        "active_connections": "number", "active_users": "number", "active_topics": "number",
        "total_messages": "number", "total_errors": "number", "message_types": ["number"],
        "error_codes": {"RATE_LIMIT_EXCEEDED": "number"},
        "latency_stats": {"mean_ms": "number", "p50_ms": "number", "p95_ms": "number", "p99_ms": "number"},
        "queue_sizes": {"critical": "number", "high": "number", "medium": "number", "low": "number"},
    });
    for path in ["/api/v1/admin/websocket-analytics", "/api/admin/websocket-analytics"] {
        let (status, mut body) = root.get(path).await;
        // Which types have passed is left to chance.
        let counts: Vec<Value> = body["message_types"].as_object().unwrap().values().cloned().collect();
        body["message_types"] = json!(counts);
        assert_eq!((status, shape(&body)), (200, analytics.clone()), "{path}: {body}");
        assert_eq!((alice.get(path).await.0, server.visitor().get(path).await.0), (403, 401), "{path}");
    }
    let (status, body) = root.post("/api/v1/admin/broadcast", json!({"message": "hello"})).await;
    let told = json!({"message": "string", "event_id": "string", "delivered": "number"});
    assert_eq!((status, shape(&body)), (200, told), "{body}");
    let robot = robot["service_account"]["id"].as_str().unwrap();
    assert_eq!(deleted(&root, &format!("admin/service-accounts/{robot}")).await, (200, json!({})));
    for (status, body) in [
        posted(&root, &format!("rate-limits/reset?user_id={user}")).await,
        deleted(&root, &format!("admin/{connection}")).await,
        posted(&root, &format!("users/{user}/deactivate")).await,
    ] {
        assert_eq!((status, shape(&body)), (200, message.clone()), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_what_is_there() {
    let server = Server::with(&ADMIN).await;
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    let path = format!("/api/v1/conversations/{conversation}/messages");
    assert_eq!(alice.post(&path, json!({"content": "one two", "wait": true})).await.0, 200);
    let _socket = alice.socket().await;
    assert_eq!(posted(&root, &format!("users/{}/deactivate", id(&bob).await)).await.0, 200);
    let expected = json!({
        "user_count": 3, "message_count": 2, "active_user_count": 2, "admin_count": 1, "conversation_count": 1,
        "session_count": 2, "running_count": 0, "connection_count": 1,
    });
    assert_eq!(got(&root, "metrics").await, expected);

    let load = got(&root, "system-status").await;
    for part in ["cpu", "memory", "disk"] {
        let percent = load[part].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{part}: {load}");
    }
    let usage = got(&root, "usage").await["usage"].take();
    let own = got(&root, &format!("usage?user_id={}", id(&alice).await)).await["usage"].take();
    assert_eq!((usage.as_array().unwrap().len(), &usage), (1, &own));
    assert_eq!((&own[0]["model"], &own[0]["message_count"]), (&json!("echo"), &json!(1)));
    assert_eq!(got(&root, "usage?from=2020-01-01&to=2020-02-01").await["usage"], json!([]));
    assert_eq!(root.get("/api/v1/admin/usage?from=2020-01-01").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_by_filters() {
    let server = Server::with(&ADMIN).await;
    let root = server.admin().await;
    for name in ["anna", "Anton", "berta", "carl"] {
        let actor = server.register(name).await;
        let conversation = actor.conversation().await;
        let path = format!("/api/v1/conversations/{conversation}/messages");
        assert_eq!(actor.post(&path, json!({"content": "hi", "wait": true})).await.0, 200);
        let user = id(&actor).await;
        let act = if name == "carl" { "deactivate" } else { "promote" };
        assert_eq!(posted(&root, &format!("users/{user}/{act}")).await.0, 200);
    }
    let names = async |filter: &str| -> Vec<String> {
        let users = got(&root, &format!("users?{filter}")).await["users"].take();
        users.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("query=AN").await, ["anna", "Anton"]);
    assert_eq!(names("is_active=false").await, ["carl"]);
    assert_eq!(names("role=user").await, ["carl"]);
    assert_eq!(names("role=admin&is_active=true&page_size=2").await, ["anna", "Anton"]);
    assert_eq!(root.get("/api/v1/admin/users?query=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await.0, 400);
    assert_eq!(root.get("/api/v1/admin/users?role=nobody").await.0, 400);

    for (path, list, count) in [("users", "users", 5), ("audit-log", "audit_log", 5), ("usage", "usage", 4)] {
        let all = got(&root, path).await[list].take();
        let (mut paged, mut token) = (Vec::new(), String::new());
        loop {
            let page = got(&root, &format!("{path}?page_size=2&page_token={token}")).await;
            paged.extend(page[list].as_array().unwrap().iter().cloned());
            token = page["next_page_token"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((paged.len(), json!(paged)), (count, all), "{path}");
        assert_eq!(root.get(&format!("/api/v1/admin/{path}?page_token=!!")).await.0, 400, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_who_did_what_to_whom_from_where_and_how_it_ended() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let (admin, user) = (id(&root).await, id(&alice).await);
    let path = format!("/api/v1/admin/users/{user}/promote");
    let request = root.request(Method::POST, &path).header("x-request-id", "a request of its own");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let promoted = got(&root, "audit-log").await["audit_log"][0].take();
    for (name, value) in [
        ("admin_id", json!(admin)),
        ("action", json!("user.promote")),
        ("target", json!(format!("user:{user}"))),
        ("result", json!("ok")),
        ("address", json!("127.0.0.1")),
        ("details", json!({"username": "alice", "role_before": "user", "state_before": "active"})),
    ] {
        assert_eq!(promoted[name], value, "{name} of {promoted}");
    }
    let nobody = "0199a000-0000-7000-8000-000000000000";
    assert_eq!(posted(&root, &format!("users/{nobody}/demote")).await.0, 404);
    assert_eq!(posted(&root, &format!("rate-limits/reset?user_id={nobody}")).await.0, 404);
    assert_eq!(deleted(&root, &format!("admin/connections/{nobody}")).await.0, 404);
    assert_eq!(posted(&alice, &format!("users/{user}/demote")).await.0, 200, "she is an admin now");
    // Whoever is none does not get as far as the log.
    eventually("she is none any more", async || posted(&alice, &format!("users/{user}/promote")).await.0 == 403).await;
    assert_eq!(posted(&root, "users/nobody/promote").await.0, 400);

    let refused = [
        entry("connection.close", &format!("connection:{nobody}"), "NOT_FOUND"),
        entry("rate_limits.reset", &format!("user:{nobody}"), "NOT_FOUND"),
        entry("user.demote", &format!("user:{nobody}"), "NOT_FOUND"),
    ];
    let done =
        [entry("user.demote", &format!("user:{user}"), "ok"), entry("user.promote", &format!("user:{user}"), "ok")];
    let all = [&done[..1], &refused, &done[1..]].concat();
    assert_eq!(log(&root, "").await, all);
    assert_eq!(log(&root, &format!("admin_id={user}")).await, done[..1]);
    assert_eq!(log(&root, "action=user.demote").await, [done[0].clone(), refused[2].clone()]);
    assert_eq!(log(&root, &format!("target=user:{user}")).await, done);
    assert_eq!(log(&root, &format!("target={user}")).await, done);
    assert_eq!(log(&root, &format!("target=connection:{user}")).await, []);
    let at = promoted["timestamp"].as_str().unwrap();
    assert_eq!(log(&root, &format!("to={at}")).await, []);
    assert_eq!(log(&root, &format!("from={at}")).await, all);
}
