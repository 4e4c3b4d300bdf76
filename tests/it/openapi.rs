//! What HTTP says about itself: the document of the contract, the pages, health, and the shape of every error.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Actor, PASSWORD, Rpc, Server};

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_with_a_place_is_in_the_document_and_streams_are_events() {
    let (status, document) = Server::start().await.visitor().get("/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let mut described = 0;
    for rpc in Rpc::all() {
        let Some(route) = rpc.route() else { continue };
        let operation = &document["paths"][&route.path][route.method.as_str().to_lowercase()];
        assert_eq!(operation["operationId"], rpc.name().replace('/', "_"), "{}", route.path);
        let (_, answer) = success(operation);
        let expected = if rpc.is_streaming() { "text/event-stream" } else { "application/json" };
        let types = answer["content"].as_object().unwrap();
        assert!(types.contains_key(expected) || types.contains_key("*/*"), "{}: {types:?}", rpc.name());
        assert_eq!(types.contains_key("text/event-stream"), rpc.is_streaming(), "{}", rpc.name());
        described += rpc.places();
    }
    let operations = document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len());
    assert_eq!(operations.sum::<usize>(), described);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_what_the_document_says() {
    let server = Server::with(&ADMIN).await;
    let (_, document) = server.visitor().get("/openapi.json").await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let (user, _socket) = (json!({ "user_id": alice.me().await.unwrap().id }), alice.socket().await);
    let conversation = alice.conversation().await;
    let (message, reply) = alice.send(&conversation, "hello there").await;
    let in_it = |mut fields: Value| {
        fields["conversation_id"] = json!(conversation);
        fields
    };
    for (name, request) in [
        ("AuthService/Register", json!({ "username": "bob", "email": "bob@example.com", "password": PASSWORD })),
        ("AuthService/Login", json!({ "username": "alice", "password": PASSWORD })),
        ("AuthService/IssueTicket", json!({})),
        ("AuthService/ListSessions", json!({})),
        ("AuthService/GetJwks", json!({})),
        ("UserService/GetMe", json!({})),
        ("UserService/GetMyUsage", json!({})),
        ("UserService/SearchUsers", json!({ "query": "a" })),
        ("ConversationService/CreateConversation", json!({ "title": "another", "model": "echo" })),
        ("ConversationService/ListConversations", json!({})),
        ("ConversationService/ListMembers", in_it(json!({}))),
        ("ConversationService/AddContext", in_it(json!({ "content": "be kind" }))),
        ("ConversationService/ListContexts", in_it(json!({}))),
        ("ChatService/SendMessage", in_it(json!({ "content": "and again", "wait": true }))),
        ("ChatService/RegenerateMessage", in_it(json!({ "message_id": reply }))),
        ("ConversationService/ListMessages", in_it(json!({ "include_siblings": true }))),
        ("ConversationService/GetMessage", in_it(json!({ "message_id": message }))),
        ("ConversationService/MarkRead", in_it(json!({ "seq": 1 }))),
        ("ConversationService/DeleteMessage", in_it(json!({ "message_id": message }))),
        ("ChatService/ListModels", json!({})),
        ("ConversationService/DeleteConversation", in_it(json!({}))),
        ("AdminService/PromoteUser", user.clone()),
        ("AdminService/DemoteUser", user.clone()),
        ("AdminService/ActivateUser", user.clone()),
        ("AdminService/ListUsers", json!({ "role": "admin", "is_active": true })),
        ("AdminService/GetMetrics", json!({})),
        ("AdminService/GetSystemStatus", json!({})),
        ("AdminService/GetServiceStatus", json!({})),
        ("AdminService/GetRateLimits", user.clone()),
        ("AdminService/ListRateLimitViolations", json!({})),
        ("AdminService/ResetRateLimits", user.clone()),
        ("AdminService/ListUsage", user.clone()),
        ("AdminService/ListAuditLog", json!({ "action": "user.promote", "from": "2026-01-01T00:00:00Z" })),
        ("AdminService/ListConnections", user.clone()),
        ("AdminService/GetConnectionAnalytics", json!({})),
        ("AdminService/DeactivateUser", user.clone()),
    ] {
        let rpc = Rpc::named(name);
        let route = rpc.route().unwrap();
        let (status, answer) = success(&document["paths"][&route.path][route.method.as_str().to_lowercase()]);
        let actor = if name.starts_with("AdminService/") { &root } else { &alice };
        let got = rpc.over_http(actor, &request).await;
        assert_eq!(&got.status.to_string(), status, "{name}: {got:?}");
        let mut faults = Vec::new();
        let schema = &answer["content"]["application/json"]["schema"];
        conform(&document, schema, &got.json(), name, &mut faults);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_what_the_document_says_also_the_last_one_of_a_stream_that_fails() {
    let server = Server::start().await;
    let (_, document) = server.visitor().get("/openapi.json").await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (message, reply) = alice.send(&conversation, "hello there").await;
    // The answer, and a message that is none.
    for (followed, last) in [(reply, "end"), (message, "error")] {
        let mut events = alice.resume_chat(&followed, 0).await;
        let mut kind = String::new();
        while let Some(event) = events.next().await {
            kind = event.kind;
            let operation = &document["paths"]["/api/v1/chat/stream/{message_id}"]["get"];
            let (_, answer) = success(operation);
            let data = &answer["content"]["text/event-stream"]["schema"]["properties"]["data"];
            let variants = data["contentSchema"]["anyOf"].as_array().unwrap();
            let is_meant = |variant: &&Value| variant["allOf"][0]["properties"]["type"]["const"] == kind.as_str();
            let meant = variants.iter().find(is_meant).unwrap_or_else(|| panic!("{kind} is not described"));
            let mut faults = Vec::new();
            conform(&document, &meant["allOf"][1], &event.data, &kind, &mut faults);
            if kind == "error" {
                let mut whole = event.data;
                whole["type"] = json!("error");
                let schema = &document["components"]["schemas"]["StreamError"];
                conform(&document, schema, &whole, "StreamError", &mut faults);
            }
            assert!(faults.is_empty(), "{faults:#?}");
        }
        assert_eq!(kind, last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_may_be_anything_and_is_described_as_that() {
    let server = Server::start().await;
    let (_, document) = server.visitor().get("/openapi.json").await;
    let export = &document["paths"]["/api/v1/conversations/{conversation_id}:export"]["get"];
    assert_eq!(success(export).1["content"], json!({ "*/*": { "schema": {} } }));
}

#[test]
fn what_does_not_conform_is_found() {
    let document = json!({ "components": { "schemas": { "T": {
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": "integer" }, "b": { "type": "array", "items": { "type": "string", "enum": ["x"] } } },
    } } } });
    let schema = json!({ "$ref": "#/components/schemas/T" });
    let faults = |value: Value| {
        let mut faults = Vec::new();
        conform(&document, &schema, &value, "T", &mut faults);
        faults
    };
    assert!(faults(json!({ "a": 1, "b": ["x"] })).is_empty());
    for wrong in [json!({}), json!({ "a": "1" }), json!({ "a": 1, "c": 1 }), json!({ "a": 1, "b": ["y"] }), json!([])] {
        assert_eq!(faults(wrong.clone()).len(), 1, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_are_there() {
    let server = Server::start().await;
    let docs = get(&server.visitor(), "/docs").await;
    assert_eq!(docs.status(), 200);
    assert!(docs.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(docs.text().await.unwrap().contains("/openapi.json"));

    let alice = server.register("alice").await;
    for (path, needs_login) in
        [("/health", false), ("/api/v1/health", false), ("/api/v1/health/ready", false), ("/api/health/detailed", true)]
    {
        assert_eq!(get(&alice, path).await.status(), 200, "{path}");
        let expected = if needs_login { 401 } else { 200 };
        assert_eq!(get(&server.visitor(), path).await.status(), expected, "{path}");
    }
    let (_, health) = alice.get("/api/health/detailed").await;
    assert_eq!(health["status"], "ok");
    for part in ["core", "store", "live"] {
        assert_eq!(health["components"][part]["status"], "ok", "{health}");
        assert!(health["components"][part]["latency_ms"].is_number(), "{health}");
    }
    assert_eq!(health["connections"]["active"], 0);
    let _socket = alice.socket().await;
    assert_eq!(alice.get("/api/health/detailed").await.1["connections"]["active"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_request() {
    let alice = Server::start().await.register("alice").await;
    for path in ["/health", "/openapi.json", "/docs", "/api/v1/users/me", "/nothing", "/api/v1/conversations/x"] {
        let named = alice.request(Method::GET, path).header("x-request-id", "story-7").send().await.unwrap();
        assert_eq!(named.headers()["x-request-id"], "story-7", "{path}");
        if named.status().is_client_error() {
            assert_eq!(named.json::<Value>().await.unwrap()["error"]["request_id"], "story-7");
        }
        let unnamed = [get(&alice, path).await, get(&alice, path).await];
        let [one, other] = unnamed.each_ref().map(|response| response.headers()["x-request-id"].to_str().unwrap());
        assert!(!one.is_empty() && one != other, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_the_one_shape() {
    let server = Server::with(&[("sign_in_failures_per_account", "1")]).await;
    let (alice, visitor) = (server.register("alice").await, server.visitor());
    let viewer = server.register("viewer").await;
    let conversation = alice.conversation().await;
    alice.add(&conversation, &viewer, "viewer").await;
    let path = format!("/api/v1/conversations/{conversation}");
    let login = |password: &str| {
        let body = json!({ "username": "viewer", "password": password });
        visitor.request(Method::POST, "/api/v1/auth/login").json(&body)
    };
    let taken = json!({ "username": "alice", "email": "other@example.com", "password": PASSWORD });
    let large = json!({ "title": "x".repeat(1 << 20) });
    for (request, status, code) in [
        (alice.request(Method::PATCH, &path).json(&json!({ "colour": 1 })), 400, "INVALID_ARGUMENT"),
        (visitor.request(Method::GET, &path), 401, "UNAUTHENTICATED"),
        (login("wrong horse"), 401, "UNAUTHENTICATED"),
        (viewer.request(Method::DELETE, &path), 403, "PERMISSION_DENIED"),
        (alice.request(Method::GET, "/api/v1/nothing"), 404, "NOT_FOUND"),
        (alice.request(Method::PUT, &path), 405, "NOT_FOUND"),
        (visitor.request(Method::POST, "/api/v1/auth/register").json(&taken), 409, "ALREADY_EXISTS"),
        (alice.request(Method::PATCH, &path).json(&large), 413, "RESOURCE_EXHAUSTED"),
        (alice.request(Method::PATCH, &path).body("title=x"), 415, "INVALID_ARGUMENT"),
        (login(PASSWORD), 429, "RESOURCE_EXHAUSTED"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers().contains_key("retry-after"), status == 429);
        assert_eq!(response.headers().contains_key("allow"), status == 405);
        let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: Value = response.json().await.unwrap();
        let error = body["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "details", "message", "request_id"]);
        assert_eq!((&error["code"], &error["request_id"]), (&json!(code), &json!(request_id)), "{body}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert!(error["details"].as_array().unwrap().iter().any(|detail| detail["type"] == "error_info"), "{body}");
    }
}

async fn get(actor: &Actor, path: &str) -> Response {
    actor.request(Method::GET, path).send().await.unwrap()
}

/// The answer of an operation that succeeds, and its status.
fn success(operation: &Value) -> (&String, &Value) {
    let answers = operation["responses"].as_object().unwrap();
    answers.iter().find(|(status, _)| status.starts_with('2')).unwrap()
}

/// Compares a value with its schema: all that is required, nothing that is not described, each of its type.
fn conform(document: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return conform(document, schema, value, place, faults);
    }
    let is_of_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        other => panic!("{place}: a schema of type {other:?}"),
    };
    if !is_of_type || schema["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
        return faults.push(format!("{place}: {value} is not {schema}"));
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        faults.extend(required.filter(|name| !members.contains_key(*name)).map(|name| format!("{place}: no {name}")));
        for (name, member) in members {
            match properties.get(name) {
                Some(schema) => conform(document, schema, member, &format!("{place}.{name}"), faults),
                None => faults.push(format!("{place}: {name} is not described")),
            }
        }
    }
    for element in value.as_array().into_iter().flatten() {
        conform(document, &schema["items"], element, place, faults);
    }
}
