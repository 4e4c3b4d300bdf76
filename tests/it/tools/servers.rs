//! MCP servers: somebody else's, over both transports, slow ones and dead ones.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use colloquy::proto::{ResumeChatRequest, ResumeChatResponse};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tonic::Streaming;

use super::{BUILT_IN, WIRES, ask, calling, kinds, offered};
use crate::harness::{
    Actor, Events, Happened, PATIENCE, Server, soon,
    upstream::{Script, Upstream, Wire},
    within,
};

/// A tool that works for a minute.
const SLOW: (&str, &str) = ("demo_trigger-long-running-operation", r#"{"duration":60,"steps":1}"#);

/// The program of a third-party server that shows everything the protocol has.
fn everything() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/node_modules/@modelcontextprotocol");
    let program = folder.join("server-everything/dist/index.js");
    assert!(program.exists(), "the server is not there; install it with `npm ci --prefix tests/it`");
    program
}

/// The file that names the server as a program to start.
fn as_program() -> String {
    format!("[[mcp_servers]]\nname = \"demo\"\ncommand = \"node\"\nargs = [{:?}, \"stdio\"]\n", everything())
}

/// The file that names a server over HTTP.
fn as_url(url: &str) -> String {
    format!("[[mcp_servers]]\nname = \"demo\"\nurl = \"{url}\"\n")
}

/// The server over HTTP, in a process of its own; killed when it is dropped.
struct Everything {
    child: Child,
    url: String,
}

impl Everything {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let mut command = Command::new("node");
        command.arg(everything()).arg("streamableHttp").env("PORT", port.to_string()).kill_on_drop(true);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        within(PATIENCE, "the server answers", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        Self { child, url: format!("http://127.0.0.1:{port}/mcp") }
    }
}

/// A node with this file whose conversations are answered by this provider.
async fn serve(file: &str, upstream: &Upstream, settings: &[(&str, &str)]) -> Server {
    let url = upstream.url();
    let asking = upstream.settings(&url);
    Server::configured(file, &asking.iter().chain(settings).copied().collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_a_server_are_called_over_either_transport() {
    let everything = Everything::start().await;
    for (file, wire) in [(as_program(), WIRES[0]), (as_url(&everything.url), WIRES[1])] {
        let sum = calling(wire, "demo_get-sum", r#"{"a":2,"b":40}"#);
        let wrong = calling(wire, "demo_get-sum", r#"{"a":"two"}"#);
        let upstream = Upstream::start_all([sum, wrong, Script::new(wire).text("42.").end()]).await;
        let server = serve(&file, &upstream, &[BUILT_IN]).await;
        let (seen, stored) = ask(&server.register("alice").await, json!({ "message": "add them" })).await;
        assert_eq!(seen.last().unwrap().kind, "end", "{stored}");
        let (good, bad) = (&stored["tool_calls"][0], &stored["tool_calls"][1]);
        assert_eq!((&good["name"], &good["is_error"]), (&"demo.get-sum".into(), &false.into()), "{stored}");
        assert_eq!(good["content"], "The sum of 2 and 40 is 42.");
        assert_eq!(bad["is_error"], true, "{stored}");
        let body = upstream.request(0).await.body;
        let offered = offered(&body);
        assert!(["time_now", "calculator", "demo_echo"].iter().all(|name| offered.contains(name)), "{offered:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_no_variable_that_is_not_passed_on() {
    let upstream =
        Upstream::start_all([calling(Wire::OpenAi, "demo_get-env", "{}"), Script::openai().text(".").end()]).await;
    let server = serve(&as_program(), &upstream, &[]).await;
    let (_, stored) = ask(&server.register("alice").await, json!({ "message": "tell me all" })).await;
    let told = stored["tool_calls"][0]["content"].as_str().unwrap();
    assert!(told.contains("PATH") && !told.contains("CARGO"), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ends_with_the_node() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec node {} stdio", file.display(), everything().display());
    let config = format!("[[mcp_servers]]\nname = \"demo\"\ncommand = \"sh\"\nargs = [\"-c\", {script:?}]\n");
    let upstream = Upstream::start(Script::openai().text("hello").end()).await;
    let server = serve(&config, &upstream, &[]).await;
    ask(&server.register("alice").await, json!({ "message": "hello" })).await;
    let process = Path::new("/proc").join(std::fs::read_to_string(&file).unwrap().trim());
    assert!(process.exists());
    server.stop().await;
    assert!(!process.exists(), "it outlived the node");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_takes_too_long_is_left_behind() {
    let upstream =
        Upstream::start_all([calling(WIRES[0], SLOW.0, SLOW.1), Script::anthropic().text("Later.").end()]).await;
    let server = serve(&as_program(), &upstream, &[("tool_timeout", "0.5")]).await;
    let (seen, stored) = ask(&server.register("alice").await, json!({ "message": "work" })).await;
    assert_eq!(kinds(&seen), ["start", "tool_call", "tool_result", "token", "end"]);
    assert_eq!((&seen[2].data["is_error"], &stored["content"]), (&true.into(), &"Later.".into()));
    assert!(seen[2].data["content"].as_str().unwrap().contains("within 0.5 s"), "{:?}", seen[2]);
    assert!(seen[2].data["duration_ms"].as_i64() >= Some(500), "{:?}", seen[2]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_costs_its_tools_and_nothing_else() {
    let mut everything = Everything::start().await;
    let sum = r#"{"a":2,"b":40}"#;
    let upstream = Upstream::start_all([
        calling(WIRES[1], "demo_get-sum", sum),
        Script::openai().text("42.").end(),
        calling(WIRES[1], "demo_get-sum", sum),
        Script::openai().text("Gone.").end(),
        Script::openai().text("Alone.").end(),
    ])
    .await;
    let server = serve(&as_url(&everything.url), &upstream, &[BUILT_IN]).await;
    let alice = server.register("alice").await;
    let (_, stored) = ask(&alice, json!({ "message": "add them" })).await;
    assert_eq!(stored["tool_calls"][0]["is_error"], false, "{stored}");

    everything.child.kill().await.unwrap();
    let (_, stored) = ask(&alice, json!({ "message": "add them again" })).await;
    assert_eq!((&stored["tool_calls"][0]["is_error"], &stored["content"]), (&true.into(), &"Gone.".into()), "{stored}");
    let (_, stored) = ask(&alice, json!({ "message": "and now?" })).await;
    assert_eq!(stored["content"], "Alone.");
    assert_eq!(offered(&upstream.request(4).await.body), ["time_now", "calculator"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_in_the_middle_of_a_call() {
    let upstream = Upstream::start(calling(WIRES[0], SLOW.0, SLOW.1)).await;
    let server = serve(&as_program(), &upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "work").await;
    let mut events = alice.resume_chat(&answer, 0).await;
    while events.next().await.expect("a tool is called").kind != "tool_call" {}
    let path = format!("/api/v1/conversations/{conversation}/messages/{answer}:stop");
    let (status, stopped) = soon("the stop", alice.post(&path, json!({}))).await;
    assert_eq!((status, &stopped["message"]["status"]), (200, &"stopped".into()), "{stopped}");
    assert_eq!(events.next().await.unwrap().data["finish_reason"], "stopped");
    let call = alice.message(&conversation, &answer).await["tool_calls"][0].clone();
    assert_eq!((&call["name"], call.get("content")), (&"demo.trigger-long-running-operation".into(), None), "{call}");
    assert_eq!(upstream.exchanges().len(), 1);

    // Providers refuse calls without results: the next turn tells what became of it.
    let (_, answer) = alice.send(&conversation, "and now?").await;
    let body = upstream.request(1).await.body.to_string();
    assert!(body.contains("cut off"), "{body}");
    let path = format!("/api/v1/conversations/{conversation}/messages/{answer}:stop");
    assert_eq!(alice.post(&path, json!({})).await.0, 200);
    server.stop().await;
}

/// What is told of tools, in short: which event, of which call.
fn told(event: &Happened) -> Option<String> {
    event.kind.starts_with("tool_").then(|| format!("{} {}", event.kind, event.data["id"].as_str().unwrap()))
}

/// What a viewer over SSE is told of tools until there were so many events of them.
async fn watch(events: &mut Events, count: usize) -> (Vec<String>, u64) {
    let (mut seen, mut place) = (Vec::new(), 0);
    while seen.len() < count {
        let event = events.next().await.expect("the answer goes on");
        place = event.offset;
        seen.extend(told(&event));
    }
    (seen, place)
}

async fn follow(actor: &Actor, answer: &str, after: u64) -> Streaming<ResumeChatResponse> {
    let request = ResumeChatRequest { message_id: answer.to_owned(), after: after.cast_signed() };
    actor.chat().resume_chat(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_sees_every_tool_once() {
    let round = Script::openai()
        .text("Hm. ")
        .tool("c1", "calculator", r#"{"expression":"6*7"}"#)
        .tool("c2", SLOW.0, SLOW.1)
        .end_for_tools();
    let upstream = Upstream::start(round).await;
    let server = serve(&as_program(), &upstream, &[BUILT_IN]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "go").await;
    let whole = ["tool_call c1", "tool_call c2", "tool_result c1"];

    // While the second tool works: from the beginning, from between the events, from after them, by bytes alone.
    let (seen, place) = watch(&mut alice.resume_chat(&answer, 0).await, 3).await;
    assert_eq!((seen, place), (whole.map(str::to_owned).to_vec(), 3_000_000_004));
    for (after, missed) in [(0, 3), (1_000_000_004, 2), (2_000_000_004, 1), (4, 3)] {
        let (seen, _) = watch(&mut alice.resume_chat(&answer, after).await, missed).await;
        assert_eq!(seen, whole[3 - missed..], "after {after}");
    }
    let mut up_to_date = alice.resume_chat(&answer, place).await;
    let mut over_grpc = follow(&alice, &answer, 1_000_000_004).await;
    let mut socket = alice.socket().await;
    socket.ask("join", "join_session", json!({ "session_id": conversation })).await;
    let snapshot = socket.until("snapshot").await;
    assert_eq!(snapshot["data"]["content"], "Hm. ");
    let mut over_socket = Vec::new();
    for _ in whole {
        let frame = socket.next().await.unwrap();
        over_socket.push(format!("{} {}", frame["type"].as_str().unwrap(), frame["data"]["id"].as_str().unwrap()));
    }
    assert_eq!(over_socket, whole);

    let path = format!("/api/v1/conversations/{conversation}/messages/{answer}:stop");
    assert_eq!(alice.post(&path, json!({})).await.0, 200);
    assert_eq!(up_to_date.next().await.unwrap().kind, "end", "nothing came twice");
    let mut seen = Vec::new();
    while let Some(response) = soon("an event", over_grpc.message()).await.unwrap() {
        seen.extend(told(&Happened::from(response.event.unwrap())));
    }
    assert_eq!(seen, whole[1..]);
    assert_eq!(socket.next().await.unwrap()["type"], "end");
    socket.cut();

    // Once it has ended: the text, the tools that were not seen, the end.
    for (after, missed) in [(0, 3), (2_000_000_004, 1), (place, 0)] {
        let mut events = alice.resume_chat(&answer, after).await;
        let mut seen = vec![events.next().await.unwrap()];
        assert_eq!((seen[0].kind.as_str(), &seen[0].data["content"]), ("snapshot", &Value::from("Hm. ")));
        while let Some(event) = events.next().await {
            seen.push(event);
        }
        assert_eq!(seen.iter().filter_map(told).collect::<Vec<_>>(), whole[3 - missed..], "after {after}");
        assert_eq!(seen.last().unwrap().kind, "end");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_earlier_rounds_are_cut_when_there_is_no_room_for_them() {
    let wire = WIRES[0];
    let said = |letter: &str| json!({ "message": letter.repeat(3000) }).to_string();
    let scripts = [
        calling(wire, "demo_echo", &said("a")),
        calling(wire, "demo_echo", &said("b")),
        Script::new(wire).text("Done.").end(),
    ];
    let upstream = Upstream::start_all(scripts).await;
    let server = serve(&as_program(), &upstream, &[("context_token_budget", "1000")]).await;
    let (_, stored) = ask(&server.register("alice").await, json!({ "message": "go" })).await;
    assert_eq!(stored["content"], "Done.", "{stored}");
    let whole = |at: usize| stored["tool_calls"][at]["content"].as_str().unwrap().len() >= 3000;
    assert!(whole(0) && whole(1), "what is stored and shown is whole: {stored}");
    let brought = |request: usize| {
        let results = super::results(&upstream.exchanges()[request].body);
        results.into_iter().map(|(_, content, _)| content).collect::<Vec<_>>()
    };
    assert!(brought(1)[0].len() >= 3000, "the newest stays whole");
    let last = brought(2);
    assert!(last[0].len() < 300 && last[0].contains("cut"), "{last:?}");
    assert!(last[1].len() >= 3000, "{last:?}");
    server.stop().await;
}
