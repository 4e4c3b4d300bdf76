//! Tools: called in rounds, shown once to everybody, kept with the answer, and told to the model ever after.

mod servers;

use serde_json::{Value, json};

use crate::harness::{
    Actor, Data, Happened, PASSWORD, Process, Server, eventually,
    upstream::{Script, Upstream, Wire},
};

const WIRES: [Wire; 2] = [Wire::Anthropic, Wire::OpenAi];
const BUILT_IN: (&str, &str) = ("tools", "time.now,calculator");

/// A round that calls one tool.
fn calling(wire: Wire, name: &str, arguments: &str) -> Script {
    Script::new(wire).tool("c1", name, arguments).end_for_tools()
}

/// Asks over SSE and watches to the end: what was seen, and the answer as it was stored.
async fn ask(actor: &Actor, message: Value) -> (Vec<Happened>, Value) {
    let mut events = actor.stream_chat(message).await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    let id = |field: &str| seen[0].data[field].as_str().unwrap().to_owned();
    let stored = actor.message(&id("conversation_id"), &id("message_id")).await;
    (seen, stored)
}

fn kinds(seen: &[Happened]) -> Vec<&str> {
    seen.iter().map(|event| event.kind.as_str()).collect()
}

/// The results that a request brings: the call's id and the text, for failures with a mark where the protocol has one.
fn results(body: &Value) -> Vec<(String, String, Option<bool>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let messages = body["messages"].as_array().unwrap();
    let blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    let anthropic = blocks.filter(|block| block["type"] == "tool_result");
    let anthropic =
        anthropic.map(|block| (text(&block["tool_use_id"]), text(&block["content"]), block["is_error"].as_bool()));
    let openai = messages.iter().filter(|message| message["role"] == "tool");
    let openai = openai.map(|message| (text(&message["tool_call_id"]), text(&message["content"]), None));
    anthropic.chain(openai).collect()
}

/// The names of the tools that a request offers.
fn offered(body: &Value) -> Vec<&str> {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().map(|tool| tool["name"].as_str().or(tool["function"]["name"].as_str()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_calls_a_tool_and_goes_on_with_its_result() {
    for wire in WIRES {
        let scripts = [
            Script::new(wire).text("Let me see. ").tool("c1", "calculator", r#"{"expression":"6*7"}"#).end_for_tools(),
            Script::new(wire).text("It is 42.").end(),
            Script::new(wire).text("You are welcome.").end(),
        ];
        let upstream = Upstream::start_all(scripts).await;
        let server = Server::asking(&upstream, &[BUILT_IN]).await;
        let alice = server.register("alice").await;
        let (seen, stored) = ask(&alice, json!({ "message": "what is 6 times 7?" })).await;

        assert_eq!(kinds(&seen), ["start", "token", "tool_call", "tool_result", "token", "end"], "{wire:?}");
        let (call, result) = (&seen[2], &seen[3]);
        let said = "Let me see. ".len();
        assert_eq!((&call.data["id"], &call.data["name"]), (&"c1".into(), &"calculator".into()));
        assert_eq!((&call.data["arguments"], &call.data["index"]), (&json!({"expression": "6*7"}), &said.into()));
        assert_eq!((&result.data["id"], &result.data["content"]), (&"c1".into(), &"42".into()));
        assert_eq!((&result.data["is_error"], &result.data["index"]), (&false.into(), &said.into()));
        // Two providers' calls of 12 tokens in and 34 out each.
        let usage = json!({"input_tokens": 24, "output_tokens": 68});
        assert_eq!((&seen[5].data["usage"], &stored["usage"]), (&usage, &usage), "{wire:?}");

        assert_eq!((&stored["content"], &stored["status"]), (&"Let me see. It is 42.".into(), &"complete".into()));
        let mut kept = stored["tool_calls"][0].clone();
        assert!(kept["duration_ms"].take().is_number(), "{stored}");
        let expected = json!({"id": "c1", "name": "calculator", "arguments": {"expression": "6*7"}, "index": said,
            "content": "42", "is_error": false, "duration_ms": null});
        assert_eq!(kept, expected);

        let path = format!("/api/v1/conversations/{}:export", stored["conversation_id"].as_str().unwrap());
        assert_eq!(alice.get(&path).await.1["messages"][1]["tool_calls"], stored["tool_calls"]);

        assert_eq!(offered(&upstream.request(0).await.body), ["time_now", "calculator"], "{wire:?}");
        let second = upstream.request(1).await.body;
        let is_error = (wire == Wire::Anthropic).then_some(false);
        let brought = [("c1".to_owned(), "42".to_owned(), is_error)];
        assert_eq!(results(&second), brought, "{second}");

        let conversation = seen[0].data["conversation_id"].clone();
        ask(&alice, json!({ "message": "thanks", "conversation_id": conversation })).await;
        let third = upstream.request(2).await.body;
        assert_eq!(results(&third), brought, "what a tool returned is known in later turns: {third}");
        assert!(third.to_string().contains("It is 42."), "{third}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_model_calls_what_it_is_told_to() {
    let server = Server::with(&[BUILT_IN]).await;
    let alice = server.register("alice").await;
    let (seen, stored) = ask(&alice, json!({ "message": r#"/tool calculator {"expression":"6*7"}"# })).await;
    // It may have ended before its viewer began to follow: then the text comes whole, and first.
    let kinds: Vec<_> = kinds(&seen).into_iter().filter(|kind| !["token", "snapshot"].contains(kind)).collect();
    assert_eq!(kinds, ["start", "tool_call", "tool_result", "end"]);
    assert_eq!((&stored["content"], &stored["tool_calls"][0]["content"]), (&"42".into(), &"42".into()));
    let (_, stored) = ask(&alice, json!({ "message": "/tool time.now" })).await;
    assert_eq!(stored["tool_calls"][0]["name"], "time.now");
    assert!(stored["content"].as_str().unwrap().contains("time_zone"), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_with_a_dot_in_its_name_has_another_for_the_provider() {
    for wire in WIRES {
        let upstream =
            Upstream::start_all([calling(wire, "time_now", ""), Script::new(wire).text("Noon.").end()]).await;
        let server = Server::asking(&upstream, &[BUILT_IN]).await;
        let (seen, stored) = ask(&server.register("alice").await, json!({ "message": "what time is it?" })).await;
        assert_eq!((&seen[1].data["name"], &stored["tool_calls"][0]["name"]), (&"time.now".into(), &"time.now".into()));
        let told: Value = serde_json::from_str(stored["tool_calls"][0]["content"].as_str().unwrap()).unwrap();
        assert_eq!(told["time_zone"], "UTC", "{stored}");
        let body = upstream.request(1).await.body.to_string();
        assert!(body.contains("time_now") && !body.contains("time.now"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_gets_wrong_is_told_to_it_and_fails_nothing() {
    for wire in WIRES {
        let mistakes = Script::new(wire)
            .tool("c1", "calculator", r#"{"expression":"#)
            .tool("c2", "launch", "{}")
            .tool("c3", "calculator", r#"{"expression":"1/0"}"#)
            .end_for_tools();
        let upstream = Upstream::start_all([mistakes, Script::new(wire).text("Sorry.").end()]).await;
        let server = Server::asking(&upstream, &[BUILT_IN]).await;
        let (seen, stored) = ask(&server.register("alice").await, json!({ "message": "go" })).await;
        assert_eq!(seen.last().unwrap().kind, "end", "{wire:?}");
        assert_eq!((&stored["content"], &stored["status"]), (&"Sorry.".into(), &"complete".into()));
        let calls = stored["tool_calls"].as_array().unwrap();
        let told: Vec<_> = calls.iter().map(|call| call["content"].as_str().unwrap()).collect();
        assert!(told[0].contains("not a JSON object") && calls[0]["arguments"] == json!({}), "{stored}");
        assert!(told[1].contains("no tool") && told[2].contains("not a finite number"), "{stored}");
        assert!(calls.iter().all(|call| call["is_error"] == true), "{stored}");
        let brought = results(&upstream.request(1).await.body);
        assert_eq!(brought.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), ["c1", "c2", "c3"]);
        assert!(brought.iter().all(|(.., is_error)| *is_error != Some(false)), "{brought:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rounds_of_an_answer_are_bounded() {
    for wire in WIRES {
        let upstream = Upstream::start(calling(wire, "calculator", r#"{"expression":"1+1"}"#)).await;
        let server = Server::asking(&upstream, &[BUILT_IN, ("tool_rounds", "2")]).await;
        let (seen, stored) = ask(&server.register("alice").await, json!({ "message": "on and on" })).await;
        let end = seen.last().unwrap();
        assert_eq!((end.kind.as_str(), &end.data["finish_reason"]), ("end", &"tool_rounds".into()));
        assert_eq!(stored["status"], "complete");
        let calls = stored["tool_calls"].as_array().unwrap();
        assert_eq!((calls.len(), upstream.exchanges().len()), (2, 3));
        assert_ne!(calls[0]["id"], calls[1]["id"], "an id names one call, though the provider gave it twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tools_are_offered_unless_they_are_set() {
    for (wire, provider) in [(Wire::Anthropic, "anthropic"), (Wire::OpenAi, "openai")] {
        let upstream = Upstream::start(calling(wire, "calculator", "{}")).await;
        let server = Server::asking(&upstream, &[]).await;
        let (seen, stored) = ask(&server.register("alice").await, json!({ "message": "hello" })).await;
        assert_eq!(seen.last().unwrap().data["finish_reason"], "tool_calls");
        assert_eq!((&stored["tool_calls"], &stored["status"]), (&json!([]), &"complete".into()));
        assert_eq!(upstream.request(0).await.body.get("tools"), None);

        // A provider that takes none is offered none, and is told only what was said in a conversation that used some.
        let plain = Upstream::start(Script::new(wire).text("Plain.").end()).await;
        let able = Upstream::start_all([
            calling(wire, "calculator", r#"{"expression":"6*7"}"#),
            Script::new(wire).text("It is 42.").end(),
        ])
        .await;
        let file = format!(
            "[[providers]]\nname = \"able\"\nkind = \"{provider}\"\nbase_url = \"{}\"\n\
             [[providers]]\nname = \"plain\"\nkind = \"{provider}\"\nbase_url = \"{}\"\ntools = false\n",
            able.url(),
            plain.url()
        );
        let server = Server::configured(&file, &[BUILT_IN]).await;
        let alice = server.register("alice").await;
        let (seen, _) = ask(&alice, json!({ "message": "what is 6 times 7?", "model": "able/m" })).await;
        let conversation = seen[0].data["conversation_id"].clone();
        ask(&alice, json!({ "message": "sure?", "model": "plain/m", "conversation_id": conversation })).await;
        let body = plain.request(0).await.body;
        assert!(body.get("tools").is_none() && results(&body).is_empty(), "{body}");
        assert!(body.to_string().contains("It is 42."), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_no_tool_that_was_shown() {
    let scripts = [calling(WIRES[1], "calculator", r#"{"expression":"6*7"}"#), Script::openai().text("It is").stall()];
    let upstream = Upstream::start_all(scripts).await;
    let url = upstream.url();
    // Short, for a node that shares its database waits for it to run out.
    let settings: Vec<_> = upstream.settings(&url).into_iter().chain([BUILT_IN, ("run_lease", "1")]).collect();
    let data = Data::fresh().await;
    let process = Process::start(&data, &settings).await;
    let alice = process.server().register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "what is 6 times 7?").await;
    let mut events = alice.resume_chat(&answer, 0).await;
    while events.next().await.expect("the answer goes on").kind != "token" {}
    process.kill().await;

    let process = Process::start(&data, &settings).await;
    let alice = process.server().visitor().login("alice", PASSWORD).await.unwrap();
    eventually("the end of the answer", async || alice.message(&conversation, &answer).await["status"] != "streaming")
        .await;
    let message = alice.message(&conversation, &answer).await;
    assert_eq!((&message["status"], &message["content"]), (&"interrupted".into(), &"It is".into()));
    assert_eq!(message["tool_calls"][0]["content"], "42", "{message}");
    let mut events = alice.resume_chat(&answer, 0).await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    assert_eq!(kinds(&seen), ["snapshot", "tool_call", "tool_result", "error"]);
    let (_, usage) = alice.get("/api/v1/users/me/usage").await;
    assert_eq!(usage["usage"][0]["output_tokens"], message["usage"]["output_tokens"], "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_answer_takes_what_its_tools_returned_with_it() {
    let scripts = [calling(Wire::OpenAi, "calculator", r#"{"expression":"6*7"}"#), Script::openai().text("42").end()];
    let upstream = Upstream::start_all(scripts).await;
    let server = Server::asking(&upstream, &[BUILT_IN]).await;
    let alice = server.register("alice").await;
    let (_, stored) = ask(&alice, json!({ "message": "what is 6 times 7?" })).await;
    assert_eq!(server.data().number("(SELECT count(*) FROM tool_calls)"), 1);
    let (conversation, id) = (stored["conversation_id"].as_str().unwrap(), stored["id"].as_str().unwrap());
    let path = format!("/api/v1/conversations/{conversation}/messages/{id}");
    let response = alice.request(reqwest::Method::DELETE, &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(alice.message(conversation, id).await["tool_calls"], json!([]));
    assert_eq!(server.data().number("(SELECT count(*) FROM tool_calls)"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_remembered_when_its_tools_are_too_large() {
    for wire in WIRES {
        // Some 1,000 tokens, of a budget of 600 that holds the rest many times.
        let large = json!({ "expression": "6*7", "note": "n".repeat(4000) }).to_string();
        let scripts = [
            Script::new(wire).text("Let me see. ").tool("c1", "calculator", &large).end_for_tools(),
            Script::new(wire).text("It is 42.").end(),
            Script::new(wire).text("You are welcome.").end(),
        ];
        let upstream = Upstream::start_all(scripts).await;
        let server = Server::asking(&upstream, &[BUILT_IN, ("context_token_budget", "600")]).await;
        let alice = server.register("alice").await;
        let (seen, _) = ask(&alice, json!({ "message": "what is 6 times 7?" })).await;
        let conversation = seen[0].data["conversation_id"].clone();
        ask(&alice, json!({ "message": "thanks", "conversation_id": conversation })).await;
        let body = upstream.request(2).await.body;
        assert_eq!(results(&body), [], "{wire:?}");
        for said in ["what is 6 times 7?", "Let me see. It is 42.", "thanks"] {
            assert!(body.to_string().contains(said), "{wire:?}: {said}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_tools_takes_room_from_what_was_said() {
    // 100 tokens are said before; the tools take more than the other 100.
    for (tools, is_remembered) in [("", true), ("time.now,calculator", false)] {
        let upstream = Upstream::start(Script::openai().text("Fine.").end()).await;
        let server = Server::asking(&upstream, &[("tools", tools), ("context_token_budget", "200")]).await;
        let alice = server.register("alice").await;
        let (seen, _) = ask(&alice, json!({ "message": format!("marker {}", "x".repeat(393)) })).await;
        let conversation = seen[0].data["conversation_id"].clone();
        ask(&alice, json!({ "message": "and now?", "conversation_id": conversation })).await;
        let body = upstream.request(1).await.body.to_string();
        assert_eq!(body.contains("marker"), is_remembered, "{body}");
        assert!(body.contains("and now?"), "{body}");
    }
}
