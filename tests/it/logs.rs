//! What operators read: every line that a request leaves has its id, in the bridge as in the core, and no line a secret.

use std::{collections::BTreeSet, time::Duration};

use colloquy::proto::{GetMeRequest, GetUserRequest, SendMessageRequest};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::{Request, metadata::MetadataMap};
use uuid::Uuid;

use crate::{
    harness::{Actor, Data, PASSWORD, Process, Socket, within},
    service_accounts::service,
};

/// One JSON object a line, and everything that this program has to say.
pub(crate) const TALKATIVE: [(&str, &str); 2] =
    [("log_format", "json"), ("log_level", "info,colloquy=debug,colloquy_bridge=debug")];
/// A provider that is not there: runs fail, and say so in the log.
const NO_PROVIDER: [(&str, &str); 3] = [
    ("anthropic_base_url", "http://127.0.0.1:1"),
    ("default_model", "anthropic/claude-haiku-4-5"),
    ("provider_retries", "0"),
];
/// What nobody shall read in a log.
const TEXT: &str = "between you and me";

/// The lines of a log.
fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

/// What a field says in the spans of a line; one that is said twice is said alike.
pub(crate) fn said<'a>(line: &'a Value, field: &str) -> Option<&'a str> {
    let spans = line["spans"].as_array().into_iter().flatten();
    let found: BTreeSet<&str> = spans.filter_map(|span| span[field].as_str()).collect();
    assert!(found.len() <= 1, "{field} is ambiguous: {line}");
    found.first().copied()
}

/// Waits until a log has a line that is meant, and returns it.
pub(crate) async fn line(process: &Process, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
    let mut found = None;
    within(Duration::from_secs(20), what, async || {
        // The last line may not be whole yet.
        let log = process.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..=end]);
        found = lines(whole).into_iter().find(&is_meant);
        found.is_some()
    })
    .await;
    found.unwrap()
}

fn request_id(metadata: &MetadataMap) -> String {
    metadata.get("x-request-id").expect("an answer has an id").to_str().unwrap().to_owned()
}

async fn send(alice: &Actor, conversation: &str, request_id: &str) -> String {
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let request = alice.request(Method::POST, &path).header("x-request-id", request_id);
    let response = request.json(&json!({ "content": TEXT })).send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], request_id);
    let body: Value = response.json().await.unwrap();
    body["reply"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_request_has_its_id_and_no_line_a_secret() {
    let data = Data::fresh().await;
    let core = Process::core(&data, &[&TALKATIVE[..], &NO_PROVIDER].concat()).await;
    let bridge = Process::bridge(&[core.server().grpc_address()], &TALKATIVE).await;
    let alice = bridge.server().register("alice").await;
    let user_id = alice.me().await.unwrap().id;
    let conversation = alice.conversation().await;
    let is_run = |reply: &str, line: &Value| said(line, "message.id") == Some(reply) && line["level"] == "WARN";

    // REST: one id in the answer, in the bridge and in the core, also in what outlives the request.
    let reply = send(&alice, &conversation, "by-rest").await;
    let run = line(&core, "the run that failed", |line| is_run(&reply, line)).await;
    assert_eq!(
        ["request_id", "user_id", "conversation.id"].map(|field| said(&run, field)),
        [Some("by-rest"), Some(user_id.as_str()), Some(conversation.as_str())]
    );
    line(&bridge, "the request", |line| said(line, "request_id") == Some("by-rest")).await;
    let refused = alice.request(Method::GET, "/api/v1/users/nobody").send().await.unwrap();
    let id = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["request_id"], id.as_str());
    line(&core, "the refused call", |line| said(line, "request_id") == Some(&id)).await;

    // WebSocket: the id of the handshake, and the connection's.
    let mut socket = Socket::named(&alice.socket_url(""), "by-socket").await;
    let established = socket.until("connection.established").await;
    socket.ask("m1", "message", json!({ "content": TEXT, "conversation_id": conversation })).await;
    let accepted = socket.answer_to("m1").await;
    let reply = accepted["data"]["reply_message_id"].as_str().unwrap();
    let run = line(&core, "the run that failed", |line| is_run(reply, line)).await;
    assert_eq!(
        ["request_id", "user_id", "connection_id"].map(|field| said(&run, field)),
        [Some("by-socket"), Some(user_id.as_str()), established["data"]["connection_id"].as_str()]
    );
    line(&bridge, "the handshake", |line| said(line, "request_id") == Some("by-socket")).await;

    // gRPC: made where none is given, on answers and on errors, and taken when it is sane.
    let made = alice.users().get_me(GetMeRequest {}).await.unwrap();
    let other = alice.users().get_user(GetUserRequest { user_id: "nobody".to_owned() }).await.unwrap_err();
    let ids = [request_id(made.metadata()), request_id(other.metadata())];
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        assert_eq!(Uuid::parse_str(id).unwrap().get_version_num(), 7, "{id}");
        line(&core, "the call", |line| said(line, "request_id") == Some(id)).await;
    }
    for (given, is_taken) in [("by-grpc", true), ("two words", false), (&"x".repeat(129), false)] {
        let message = SendMessageRequest {
            conversation_id: conversation.clone(),
            content: TEXT.to_owned(),
            ..Default::default()
        };
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-request-id", given.parse().unwrap());
        let sent = alice.chat().send_message(request).await.unwrap();
        let id = request_id(sent.metadata());
        assert_eq!(id == given, is_taken, "{given}: {id}");
        let reply = sent.into_inner().reply.unwrap().id;
        let run = line(&core, "the run that failed", |line| is_run(&reply, line)).await;
        assert_eq!(said(&run, "request_id"), Some(id.as_str()));
    }

    // A key of a service account, also one that nobody has and one that is not good for what is asked.
    let root = bridge.server().register("root").await;
    assert_eq!(Process::run(&data, &["admin", "promote", "root"]).await.code, Some(0));
    let key = service(&root, "robot", &["users:read"]).await.access_token;
    let strange = format!("{key}x");
    for (credential, status) in [(&key, 200), (&strange, 401)] {
        assert_eq!(alice.with_token(credential).get("/api/v1/users/me").await.0, status);
    }
    assert_eq!(alice.with_token(&key).get("/api/v1/conversations").await.0, 403);
    Socket::open(&alice.with_token(&key).socket_url("")).await.close_code().await;

    let logs = [core.log(), bridge.log()];
    for line in logs.iter().flat_map(|log| lines(log)) {
        // What the process does by itself is nobody's request.
        let is_own = line["target"].as_str().unwrap().starts_with("colloquy::cli");
        assert!(is_own || said(&line, "request_id").is_some_and(|id| !id.is_empty()), "no id: {line}");
    }
    let secrets = [TEXT, PASSWORD, &alice.access_token, &alice.refresh_token, &key, &strange];
    for (log, secret) in logs.iter().flat_map(|log| secrets.map(|secret| (log, secret))) {
        assert!(!secret.is_empty() && !log.contains(secret), "{secret:?} is logged:\n{log}");
    }
}
