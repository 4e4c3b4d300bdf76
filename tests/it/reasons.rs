//! Reasons of errors: each that the contract names is given, with the code that it documents.

use colloquy::proto::{DESCRIPTORS, ErrorReason};
use futures_util::{StreamExt as _, stream};
use prost_reflect::DescriptorPool;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Actor, Data, Process, Server, Socket, Transport, Viewer, soon,
    upstream::{Script, Upstream},
};

/// Where the reasons are documented.
const CONTRACT: &str = include_str!("../../proto/colloquy/v1/errors.proto");
/// Stories that are told at once.
const AT_ONCE: usize = 4;

/// How somebody was told of an error.
#[derive(Debug)]
struct Told {
    /// The code of the call, or that a run ended with it; frames have none.
    code: Option<String>,
    reason: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_is_given_with_the_code_that_the_contract_documents() {
    let given = reasons().into_iter().filter(|reason| *reason != ErrorReason::Unspecified);
    let wrong = stream::iter(given.map(mistold)).buffer_unordered(AT_ONCE).filter_map(std::future::ready);
    let wrong: Vec<String> = wrong.collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with how an error for this reason is told.
async fn mistold(reason: ErrorReason) -> Option<String> {
    let (name, code) = (reason.as_str_name(), documented(reason));
    let told = soon(name, Box::pin(story(reason))).await;
    let is_right =
        name == format!("ERROR_REASON_{}", told.reason) && told.code.as_deref().is_none_or(|given| given == code);
    (!is_right).then(|| format!("{name}, {code}: {told:?}"))
}

/// What leads to an error for this reason, and how it is told.
async fn story(reason: ErrorReason) -> Told {
    match reason {
        ErrorReason::Unspecified => panic!("a story is missing"),
        ErrorReason::InvalidJson => create(&alice(&[]).await, "{").await,
        ErrorReason::InvalidMessage => create(&alice(&[]).await, r#"{"colour":"red"}"#).await,
        ErrorReason::InvalidMessageType => {
            let alice = alice(&[]).await;
            let mut socket = alice.socket().await;
            socket.ask("bad", "dance", json!({})).await;
            let error = socket.answer_to("bad").await["data"].take();
            Told { code: None, reason: text(&error["code"]) }
        }
        ErrorReason::MessageTooLarge => {
            create(&alice(&[]).await, &json!({ "title": "x".repeat(1 << 20) }).to_string()).await
        }
        ErrorReason::ContentRejected => {
            let alice = alice(&[("content_policy", "reject")]).await;
            create(&alice, r#"{"title":"<script>x</script>"}"#).await
        }
        ErrorReason::Unauthenticated => create(&Server::start().await.visitor(), "{}").await,
        ErrorReason::PermissionDenied => {
            register(&Server::with(&[("registration", "closed")]).await.visitor(), "alice").await
        }
        ErrorReason::NotFound => {
            let server = Server::start().await;
            let conversation = server.register("alice").await.conversation().await;
            let path = format!("/api/v1/conversations/{conversation}");
            call(&server.register("bob").await, Method::GET, &path, "").await
        }
        ErrorReason::AlreadyExists => register(&alice(&[]).await, "alice").await,
        ErrorReason::ConversationBusy => {
            let alice = alice(&[("echo_interval", "60")]).await;
            let (_, made) = alice.post("/api/v1/conversations", json!({ "on_busy": "reject" })).await;
            let conversation = text(&made["conversation"]["id"]);
            alice.send(&conversation, "one two").await;
            let path = format!("/api/v1/conversations/{conversation}/messages");
            call(&alice, Method::POST, &path, r#"{"content":"three"}"#).await
        }
        ErrorReason::FailedPrecondition => {
            let alice = alice(&[]).await;
            let conversation = alice.conversation().await;
            let (question, _) = alice.send(&conversation, "hi").await;
            let path = format!("/api/v1/conversations/{conversation}/messages/{question}:regenerate");
            call(&alice, Method::POST, &path, "{}").await
        }
        ErrorReason::RateLimitExceeded => {
            let alice = alice(&[("sign_in_failures_per_account", "1")]).await;
            let guess = r#"{"username":"alice","password":"wrong horse"}"#;
            call(&alice, Method::POST, "/api/v1/auth/login", guess).await;
            call(&alice, Method::POST, "/api/v1/auth/login", guess).await
        }
        ErrorReason::ConnectionLimitExceeded => {
            let alice = alice(&[("max_connections_per_user", "1")]).await;
            let _first = alice.socket().await;
            let error = Socket::open(&alice.socket_url("")).await.until("error").await["data"].take();
            Told { code: None, reason: text(&error["code"]) }
        }
        ErrorReason::QuotaExceeded => {
            let alice = alice(&[("daily_token_quota", "1")]).await;
            let path = format!("/api/v1/conversations/{}/messages", alice.conversation().await);
            call(&alice, Method::POST, &path, r#"{"content":"one two","wait":true}"#).await;
            call(&alice, Method::POST, &path, r#"{"content":"three"}"#).await
        }
        ErrorReason::ProcessingError => {
            let server = Server::start().await;
            let alice = server.register("alice").await;
            server.data().sql("ALTER TABLE conversations RENAME TO mislaid");
            create(&alice, "{}").await
        }
        ErrorReason::Unavailable => {
            let bridge = Process::bridge(&["127.0.0.1:1".parse().unwrap()], &[]).await;
            create(&bridge.server().visitor(), "{}").await
        }
        ErrorReason::DeadlineExceeded => {
            let server = Server::start().await;
            let alice = server.register("alice").await;
            let path = format!("/api/v1/conversations/{}/messages", alice.conversation().await);
            let hurried = server.beside(&[("request_timeout", "0.2"), ("echo_interval", "60")]).await;
            call(&alice.at(&hurried), Method::POST, &path, r#"{"content":"one two","wait":true}"#).await
        }
        ErrorReason::ProviderRejected => answer(Script::anthropic().status(400)).await,
        ErrorReason::ProviderUnavailable => answer(Script::anthropic().status(500)).await,
        ErrorReason::ProviderTimeout => answer(Script::anthropic().text("a").stall()).await,
        ErrorReason::ProviderProtocol => answer(Script::anthropic().text("a").hang_up()).await,
        ErrorReason::Interrupted => {
            let data = Data::fresh().await;
            let node = Process::start(&data, &[("echo_interval", "60")]).await;
            let alice = node.server().register("alice").await;
            let conversation = alice.conversation().await;
            let (_, answer) = alice.send(&conversation, "one two").await;
            node.kill().await;
            let node = Process::start(&data, &[]).await;
            end_of_run(&alice.at(node.server()), &conversation, &answer).await
        }
    }
}

/// All that the contract names.
pub(crate) fn reasons() -> Vec<ErrorReason> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let named = pool.get_enum_by_name("colloquy.v1.ErrorReason").unwrap();
    named.values().map(|value| ErrorReason::try_from(value.number()).unwrap()).collect()
}

/// The last sentence on a reason in the contract: the code that it comes with, or that it ends a run.
fn documented(reason: ErrorReason) -> &'static str {
    let (before, _) = CONTRACT.split_once(&format!("  {} = ", reason.as_str_name())).unwrap();
    let comment = before.trim_end().rsplit("// ").next().unwrap().trim_end_matches('.');
    let last = comment.rsplit(". ").next().unwrap();
    last.split(" (").next().unwrap()
}

async fn alice(settings: &[(&str, &str)]) -> Actor {
    Server::with(settings).await.register("alice").await
}

async fn create(actor: &Actor, conversation: &str) -> Told {
    call(actor, Method::POST, "/api/v1/conversations", conversation).await
}

async fn register(actor: &Actor, name: &str) -> Told {
    let body = json!({ "username": name, "email": format!("{name}@example.com"), "password": "correct horse" });
    call(actor, Method::POST, "/api/v1/auth/register", &body.to_string()).await
}

/// How a call over HTTP was refused.
async fn call(actor: &Actor, method: Method, path: &str, body: &str) -> Told {
    let request = actor.request(method, path).header("content-type", "application/json").body(body.to_owned());
    let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
    let error = answer["error"].take();
    let details = error["details"].as_array().into_iter().flatten();
    let reason = details.map(|detail| text(&detail["reason"])).find(|reason| !reason.is_empty());
    Told { code: Some(text(&error["code"])), reason: reason.unwrap_or_default() }
}

/// How the answer of a provider that plays this script ended.
async fn answer(script: Script) -> Told {
    let upstream = Upstream::start(script).await;
    let settings = [("provider_retries", "0"), ("provider_silence_timeout", "1")];
    let alice = Server::asking(&upstream, &settings).await.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    end_of_run(&alice, &conversation, &answer).await
}

async fn end_of_run(actor: &Actor, conversation: &str, answer: &str) -> Told {
    let mut viewer = Viewer::new(actor, conversation, answer);
    viewer.attach(Transport::Sse).await;
    let last = viewer.until_last().await;
    Told { code: Some("Run error".to_owned()), reason: text(&last.data["code"]) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
