//! Traces: one leads from whoever asks through bridge and core to the provider, and no collector is waited for.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use colloquy::proto::{GetMeRequest, SendMessageRequest};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::Request;
use uuid::Uuid;

use crate::{
    harness::{
        Actor, Collector, Data, PASSWORD, Process, Socket, Span, soon,
        upstream::{Script, Upstream},
    },
    logs::{TALKATIVE, line, said},
};

/// The span of whoever asks.
const PARENT: &str = "b7ad6b7169203331";
/// What nobody shall read in a trace.
const TEXT: &str = "between you and me";
/// How long a node may take to end, whatever becomes of its spans.
const END: Duration = Duration::from_secs(5);
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// A trace that somebody else began.
struct Begun {
    id: String,
    /// As it is told.
    parent: String,
}

impl Begun {
    fn new() -> Self {
        Self::told("01")
    }

    /// One of which whoever began it keeps nothing.
    fn dropped() -> Self {
        Self::told("00")
    }

    fn told(flags: &str) -> Self {
        let id = Uuid::now_v7().simple().to_string();
        Self { parent: format!("00-{id}-{PARENT}-{flags}"), id }
    }

    /// Waits for the span of this trace that begins with these words.
    async fn span(&self, collector: &Collector, name: &str) -> Span {
        collector.span(name, |span| span.trace == self.id && span.name.starts_with(name)).await
    }
}

async fn post(alice: &Actor, conversation: &str, traceparent: &str, request_id: &str) -> String {
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let request =
        alice.request(Method::POST, &path).header("traceparent", traceparent).header("x-request-id", request_id);
    let response = request.json(&json!({ "content": TEXT })).send().await.unwrap();
    let (status, body): (_, Value) = (response.status(), response.json().await.unwrap());
    body["reply"]["id"].as_str().unwrap_or_else(|| panic!("{status}: {body}")).to_owned()
}

/// Waits for the spans of a message and its answer, checks how they hang together, and returns that of the call.
async fn follow(collector: &Collector, begun: &Begun, http: &str, rpc: &str) -> Span {
    let request = begun.span(collector, http).await;
    let rpc = begun.span(collector, rpc).await;
    let run = begun.span(collector, "run").await;
    let call = begun.span(collector, "chat scripted").await;
    assert_eq!((request.parent.as_str(), request.kind), (PARENT, SERVER));
    assert_eq!((&rpc.parent, rpc.kind), (&request.id, SERVER));
    assert_eq!(run.parent, rpc.id);
    assert_eq!((&call.parent, call.kind), (&run.id, CLIENT));
    assert_eq!(rpc.says("rpc.system"), Some("grpc"));
    assert_eq!(run.says("run.status"), Some("complete"));
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_whoever_asks_to_the_provider() {
    let collector = Collector::start().await;
    let upstream = Upstream::start(Script::anthropic().text("hello").end()).await;
    let url = upstream.url();
    let data = Data::fresh().await;
    // Spans go every 5 s: a connection that waits for them twice is not to be hung up on at that very moment.
    let common = [TALKATIVE[0], TALKATIVE[1], collector.setting(), ("handshake_timeout", "60")];
    let core = Process::core(&data, &[&common[..], &upstream.settings(&url), &[("node", "the core")]].concat()).await;
    let bridge = Process::bridge(&[core.server().grpc_address()], &common).await;
    let alice = bridge.server().register("alice").await;
    let conversation = alice.conversation().await;

    let begun = Begun::new();
    post(&alice, &conversation, &begun.parent, "by-rest").await;
    let route = "POST /api/v1/conversations/{";
    let call = follow(&collector, &begun, route, "colloquy.v1.ChatService/SendMessage").await;
    assert_eq!(
        ["gen_ai.provider.name", "gen_ai.request.model", "server.address", "http.response.status_code"]
            .map(|attribute| call.says(attribute).unwrap()),
        ["anthropic", "scripted", "127.0.0.1", "200"]
    );
    assert!(call.attributes.contains_key("gen_ai.usage.output_tokens"), "{call:?}");
    assert_eq!(call.resource["service.name"], "colloquy");
    assert_eq!(call.resource["service.instance.id"], "the core");
    assert_eq!(upstream.request(0).await.headers["traceparent"], format!("00-{}-{}-01", begun.id, call.id));
    for (process, logged) in [(&core, "provider call ended"), (&bridge, "request")] {
        let is_meant = |line: &Value| line["message"] == logged && said(line, "request_id") == Some("by-rest");
        let line = line(process, logged, is_meant).await;
        assert_eq!(said(&line, "trace_id"), Some(begun.id.as_str()));
        let request = begun.span(&collector, route).await;
        let own = if logged == "request" { &request.id } else { &call.id };
        assert_eq!(line["span"]["span_id"], own.as_str());
    }

    let begun = Begun::new();
    let mut socket = Socket::open_with(&alice.socket_url(""), "traceparent", &begun.parent).await;
    socket.ask("m1", "message", json!({ "content": TEXT, "conversation_id": conversation })).await;
    socket.until("end").await;
    socket.cut();
    follow(&collector, &begun, "GET /api/v1/ws", "colloquy.v1.SessionService/Connect").await;

    let begun = Begun::new();
    let message =
        SendMessageRequest { conversation_id: conversation.clone(), content: TEXT.to_owned(), ..Default::default() };
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", begun.parent.parse().unwrap());
    alice.chat().send_message(request).await.unwrap();
    let rpc = begun.span(&collector, "colloquy.v1.ChatService/SendMessage").await;
    assert_eq!((rpc.parent.as_str(), rpc.kind), (PARENT, SERVER));
    assert_eq!(
        ["rpc.service", "rpc.method", "rpc.grpc.status_code"].map(|attribute| rpc.says(attribute).unwrap()),
        ["colloquy.v1.ChatService", "SendMessage", "0"]
    );
    let call = begun.span(&collector, "chat scripted").await;
    assert_eq!(upstream.request(2).await.headers["traceparent"], format!("00-{}-{}-01", begun.id, call.id));

    // What whoever asks does not keep is not sent, and still one trace to the provider and in the logs.
    let dropped = Begun::dropped();
    post(&alice, &conversation, &dropped.parent, "dropped").await;
    assert!(upstream.request(3).await.headers["traceparent"].starts_with(&format!("00-{}-", dropped.id)));

    // What is no trace is ignored, and another one begins.
    for garbage in ["garbage", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-zz-b7ad6b7169203331-01"] {
        let id = Uuid::now_v7().to_string();
        let request = alice.request(Method::GET, "/api/v1/users/me").header("traceparent", garbage);
        assert_eq!(request.header("x-request-id", &id).send().await.unwrap().status(), 200);
        let of_request = |span: &Span| span.says("request_id") == Some(&id);
        let bridged = collector.span("the request", |span| of_request(span) && span.name.starts_with("GET ")).await;
        let called = collector.span("the call", |span| of_request(span) && span.parent == bridged.id).await;
        assert_eq!((bridged.parent.as_str(), &called.trace), ("", &bridged.trace));

        let mut request = Request::new(GetMeRequest {});
        let id = Uuid::now_v7().to_string();
        request.metadata_mut().insert("traceparent", garbage.parse().unwrap());
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        alice.users().get_me(request).await.unwrap();
        let called = collector.span("the call", |span| span.says("request_id") == Some(&id)).await;
        assert_eq!((called.name.as_str(), called.parent.as_str()), ("colloquy.v1.UserService/GetMe", ""));
    }

    assert_eq!(alice.get("/api/v1/users?query=whomever").await.0, 200);
    for process in [bridge, core] {
        process.terminate().await;
        assert_eq!(process.ended().await, Some(0));
    }
    let spans = collector.spans();
    assert!(!spans.iter().any(|span| span.trace == dropped.id));
    for secret in [TEXT, PASSWORD, "whomever", &alice.access_token, &alice.refresh_token] {
        let told = spans.iter().find(|span| format!("{span:?}").contains(secret));
        assert!(told.is_none(), "{secret:?} is traced: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_one_process_makes_the_same_trace_and_tells_what_failed() {
    let collector = Collector::start().await;
    let script = [Script::anthropic().text("hello").end(), Script::anthropic().status(401)];
    let upstream = Upstream::start_all(script).await;
    let url = upstream.url();
    let data = Data::fresh().await;
    let node = Process::start(&data, &[&upstream.settings(&url)[..], &[collector.setting()]].concat()).await;
    let alice = node.server().register("alice").await;
    let conversation = alice.conversation().await;

    let begun = Begun::new();
    post(&alice, &conversation, &begun.parent, "answered").await;
    follow(&collector, &begun, "POST ", "colloquy.v1.ChatService/SendMessage").await;

    let begun = Begun::new();
    post(&alice, &conversation, &begun.parent, "refused").await;
    let (run, call) = (begun.span(&collector, "run").await, begun.span(&collector, "chat scripted").await);
    assert!(run.has_failed && call.has_failed);
    assert_eq!(
        ["error.type", "http.response.status_code"].map(|attribute| call.says(attribute)),
        [Some("denied"), Some("401")]
    );
    assert_eq!(run.says("run.status"), Some("failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_begun_here_are_sent_in_part_and_those_that_came_as_whoever_began_them_says() {
    let collector = Collector::start().await;
    let data = Data::fresh().await;
    let node = Process::start(&data, &[collector.setting(), ("trace_sample_ratio", "0")]).await;
    let alice = node.server().register("alice").await;
    let begun = Begun::new();
    let request = alice.request(Method::GET, "/api/v1/users/me").header("traceparent", &begun.parent);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(alice.get("/api/v1/users/me").await.0, 200);
    node.terminate().await;
    assert_eq!(node.ended().await, Some(0));
    let traces: BTreeSet<String> = collector.spans().into_iter().map(|span| span.trace).collect();
    assert_eq!(traces, BTreeSet::from([begun.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_delays_nothing() {
    // One refuses, the other is silent: the kernel takes connections for it, and nobody answers them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = (silent.local_addr().unwrap(), silent);
    for (url, said) in [
        ("http://127.0.0.1:1".to_owned(), "the collector takes no spans"),
        (format!("http://{}", silent.0), "the last spans were not sent"),
    ] {
        let data = Data::fresh().await;
        let node = Process::start(&data, &[("otlp_endpoint", &url)]).await;
        let alice = node.server().register("alice").await;
        let mut events = soon("an answer", alice.stream_chat(json!({ "message": TEXT }))).await;
        let mut last = String::new();
        while let Some(event) = events.next().await {
            last = event.kind;
        }
        assert_eq!(last, "end");
        let asked = Instant::now();
        node.terminate().await;
        assert_eq!(node.ended().await, Some(0));
        assert!(asked.elapsed() < END, "{url}: {:?}", asked.elapsed());
        let log = std::fs::read_to_string(data.folder().join("stderr.log")).unwrap();
        assert_eq!(log.matches(said).count(), 1, "{url}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_logs_name_the_trace_that_was_given() {
    let upstream = Upstream::start(Script::anthropic().text("hello").end()).await;
    let url = upstream.url();
    let data = Data::fresh().await;
    let node = Process::start(&data, &[&TALKATIVE[..], &upstream.settings(&url)].concat()).await;
    let alice = node.server().register("alice").await;
    let conversation = alice.conversation().await;
    let begun = Begun::new();
    post(&alice, &conversation, &begun.parent, "given").await;
    let is_meant = |line: &Value| line["message"] == "provider call ended" && said(line, "request_id") == Some("given");
    let line = line(&node, "the call", is_meant).await;
    assert_eq!(said(&line, "trace_id"), Some(begun.id.as_str()));
    assert_eq!(said(&line, "span_id"), None);
    assert_eq!(upstream.request(0).await.headers.get("traceparent"), None);
}
