//! Service accounts: API keys and what they are good for.

use std::{fs, path::Path, time::Duration};

use colloquy::{
    model::scope::SCOPES,
    proto::{ListConversationsRequest, Ping, client_frame, server_frame::Payload},
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{ADMIN, Actor, Native, PASSWORD, Rpc, Server, Socket, eventually, reason, within};

const ACCOUNTS: &str = "/api/v1/admin/service-accounts";
/// How long the end of a key may take to be felt.
const FELT_WITHIN: Duration = Duration::from_secs(5);

/// Has an account made, and returns who calls with its key.
pub(crate) async fn service(root: &Actor, name: &str, scopes: &[&str]) -> Actor {
    let (_, api_key) = create(root, name, scopes).await;
    root.with_token(api_key)
}

/// Has an account made: its id and its key.
async fn create(root: &Actor, name: &str, scopes: &[&str]) -> (String, String) {
    let (status, body) = root.post(ACCOUNTS, json!({ "name": name, "scopes": scopes })).await;
    assert_eq!(status, 201, "{body}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&body["service_account"]["id"]), text(&body["api_key"]))
}

async fn delete(root: &Actor, id: &str) -> u16 {
    root.request(Method::DELETE, &format!("{ACCOUNTS}/{id}")).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_makes_lists_and_ends_accounts_and_sees_each_key_once() {
    let server = Server::with(&ADMIN).await;
    let root = server.admin().await;
    let (status, made) =
        root.post(ACCOUNTS, json!({ "name": "billing", "scopes": ["events:publish", "chat:*"] })).await;
    assert_eq!(status, 201, "{made}");
    let account = made["service_account"].clone();
    assert_eq!(
        (&account["name"], &account["scopes"], &account["is_active"]),
        (&json!("billing"), &json!(["events:publish", "chat:*"]), &json!(true))
    );
    assert!(account["created_at"].is_string(), "{account}");
    let key = made["api_key"].as_str().unwrap();
    assert!(key.starts_with("clq_ak_") && key.len() == 50, "{} characters", key.len());

    let names = ["crm", "mailer"];
    for name in names {
        service(&root, name, &[]).await;
    }
    let (_, first) = root.get(&format!("{ACCOUNTS}?page_size=2")).await;
    let (_, second) =
        root.get(&format!("{ACCOUNTS}?page_size=2&page_token={}", plain(&first["next_page_token"]))).await;
    let listed: Vec<&Value> =
        [&first, &second].iter().flat_map(|page| page["service_accounts"].as_array().unwrap()).collect();
    assert_eq!(listed.iter().map(|account| plain(&account["name"])).collect::<Vec<_>>(), ["mailer", "crm", "billing"]);
    assert_eq!((listed[2], &second["next_page_token"]), (&account, &json!("")));
    assert!(!first.to_string().contains("clq_ak_"), "{first}");
    let kept = format!("(SELECT count(*) FROM service_accounts WHERE length(key_hash) = 32 AND scopes <> '{key}')");
    assert_eq!(server.data().number(&kept), 3);

    let id = plain(&account["id"]);
    assert_eq!([delete(&root, id).await, delete(&root, id).await], [200, 404]);
    assert_eq!(root.with_token(key).get("/api/v1/models").await.0, 401);
    // A new key for the same name: the account is another one.
    let (other, _) = create(&root, "billing", &[]).await;
    assert_ne!(other, id);
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_account_is_named() {
    let server = Server::with(&ADMIN).await;
    let root = server.admin().await;
    let many = vec!["chat:*"; 51];
    for (name, scopes, fields) in [
        ("a b", vec!["chat:*"], vec!["name"]),
        ("robot", vec!["chat:*", "chat", "*", "admin:*"], vec!["scopes[1]", "scopes[2]", "scopes[3]"]),
        ("", vec!["chat:fly"], vec!["name", "scopes[0]"]),
        ("robot", many, vec!["scopes"]),
    ] {
        let (status, body) = root.post(ACCOUNTS, json!({ "name": name, "scopes": scopes })).await;
        let details = body["error"]["details"].as_array().unwrap();
        let violations = details.iter().flat_map(|detail| detail["field_violations"].as_array().into_iter().flatten());
        let named: Vec<&str> = violations.map(|violation| plain(&violation["field"])).collect();
        assert_eq!((status, named), (400, fields), "{body}");
    }
    server.register("alice").await;
    service(&root, "robot", &[]).await;
    for taken in ["Alice", "ROBOT"] {
        assert_eq!(root.post(ACCOUNTS, json!({ "name": taken, "scopes": [] })).await.0, 409, "{taken}");
    }
    assert_eq!(delete(&root, &root.me().await.unwrap().id).await, 404, "a person is no service");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lets_a_service_in_on_every_transport() {
    let server = Server::with(&ADMIN).await;
    let root = server.admin().await;
    let robot = service(&root, "robot", &["conversations:*", "chat:*", "users:read", "sessions:connect"]).await;
    let me = robot.me().await.unwrap();
    assert_eq!((me.username.as_str(), me.role().as_str_name(), me.email), ("robot", "USER_ROLE_SERVICE", None));

    let conversation = robot.conversation().await;
    let mut events = robot.stream_chat(json!({ "message": "hello", "conversation_id": conversation })).await;
    let mut last = events.next().await.unwrap();
    while let Some(event) = events.next().await {
        last = event;
    }
    assert_eq!(last.kind, "end", "{last:?}");
    let list = ListConversationsRequest::default();
    assert_eq!(robot.conversations().list_conversations(list).await.unwrap().into_inner().conversations.len(), 1);

    let address = format!("ws://{}/api/v1/ws", server.http());
    let by_header = Socket::open_as(&address, &format!("Bearer {}", robot.access_token)).await;
    for mut socket in [by_header, Socket::open(&robot.socket_url("")).await] {
        socket.until("connection.established").await;
        socket
            .ask("m", "message", json!({ "content": "hello", "reply": false, "conversation_id": conversation }))
            .await;
        assert_eq!(socket.answer_to("m").await["type"], "message.accepted");
    }
    let mut native = Native::open(&robot, None).await;
    native.ask(client_frame::Payload::Ping(Ping::default()));
    native.find(|payload| matches!(payload, Payload::Pong(_)).then_some(())).await;

    // What counts and what is well is for everybody who is let in.
    let idle = service(&root, "idle", &[]).await;
    assert_eq!(idle.get("/api/health/detailed").await.0, 200);
    assert_eq!(Socket::open(&idle.socket_url("")).await.close_code().await, 3500, "it need not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_key_is_felt_on_every_node_and_by_live_connections() {
    let alone: Vec<_> = ADMIN.into_iter().chain([("redis_url", "")]).collect();
    let here = Server::with(&alone).await;
    let there = here.beside(&alone).await;
    let root = here.admin().await;
    let (id, key) = create(&root, "robot", &["users:read", "sessions:connect"]).await;
    let robot = root.with_token(key);
    let stays = service(&root, "other", &["sessions:connect"]).await;
    let mut other = stays.at(&there).socket().await;
    let (mut near, mut far) = (robot.socket().await, robot.at(&there).socket().await);
    let mut native = Native::open(&robot.at(&there), None).await;
    native.next().await;
    robot.at(&there).me().await.unwrap();

    assert_eq!(delete(&root, &id).await, 200);
    assert_eq!(reason(robot.me().await), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
    assert_eq!(near.close_code().await, 1008);
    let felt = async {
        assert_eq!(far.close_code().await, 1008);
        assert_eq!(native.try_next().await.unwrap_err().code(), Code::Unauthenticated);
    };
    tokio::time::timeout(FELT_WITHIN, felt).await.unwrap();
    within(FELT_WITHIN, "the key is nobody's there", async || robot.at(&there).me().await.is_err()).await;
    other.ask("p", "ping", json!({})).await;
    assert_eq!(other.answer_to("p").await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_worth_nothing_while_its_account_is_deactivated() {
    let server = Server::with(&ADMIN).await;
    let robot = service(&server.admin().await, "robot", &["users:read", "sessions:connect"]).await;
    let mut socket = robot.socket().await;
    server.data().sql("UPDATE users SET is_active = false WHERE username = 'robot'");
    eventually("the key is refused", async || robot.me().await.is_err()).await;
    assert_eq!(socket.close_code().await, 1008);
    server.data().sql("UPDATE users SET is_active = true WHERE username = 'robot'");
    eventually("the key is good again", async || robot.me().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_cannot_sign_in() {
    let server = Server::with(&ADMIN).await;
    let (id, key) = create(&server.admin().await, "robot", &["users:read"]).await;
    let visitor = server.visitor();
    for name in ["robot", &id, ""] {
        for password in ["", PASSWORD, &key] {
            let refused = visitor.login(name, password).await.map(|actor| actor.access_token);
            assert_eq!(reason(refused), (Code::Unauthenticated, "UNAUTHENTICATED".into()), "{name:?}");
        }
    }
    assert!(visitor.with_refresh_token(&key).refresh().await.is_err());
}

#[test]
fn every_scope_is_listed_for_operators_with_what_it_opens() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    let (_, rest) = page.split_once("| scope | opens |\n|---|---|\n").expect("the page has a table of scopes");
    let table = rest.split("\n\n").next().unwrap();
    let rows = table.lines().map(|line| line.trim_matches(['|', ' ']).split_once(" | ").unwrap());
    let rows: Vec<(&str, &str)> = rows.map(|(scope, opens)| (scope.trim_matches('`'), opens)).collect();
    assert_eq!(rows.iter().map(|(scope, _)| *scope).collect::<Vec<_>>(), SCOPES);
    for rpc in Rpc::all() {
        let Some(scope) = rpc.scope() else { continue };
        let (_, opens) = rows.iter().find(|(name, _)| *name == scope).unwrap();
        let name = rpc.name();
        assert!(opens.contains(name.rsplit('/').next().unwrap()), "{name} is not listed under {scope}");
    }
}
