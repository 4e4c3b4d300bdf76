//! Sending: once however often it is tried, in turn, and until somebody stops it.

use std::time::{Duration, Instant};

use colloquy::proto::{SendMessageRequest, StreamChatRequest, chat_event};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Actor, Server, Transport, Viewer, eventually,
    upstream::{Script, Upstream, piece},
};

/// How often the same message is sent.
const TIMES: usize = 50;

/// Does something to a conversation or a message of it over HTTP.
async fn act(actor: &Actor, method: Method, path: &str, body: Value) -> (u16, Value) {
    let response = actor.request(method, &format!("/api/v1/conversations/{path}")).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Ids of the chosen path, in order.
async fn path(actor: &Actor, conversation: &str) -> Vec<String> {
    let (status, body) = actor.get(&format!("/api/v1/conversations/{conversation}/messages")).await;
    assert_eq!(status, 200, "{body}");
    body["messages"].as_array().unwrap().iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

/// A conversation that treats a busy model like this.
async fn conversation(actor: &Actor, on_busy: &str) -> String {
    let (status, body) = actor.post("/api/v1/conversations", json!({ "on_busy": on_busy })).await;
    assert_eq!(status, 201, "{body}");
    body["conversation"]["id"].as_str().unwrap().to_owned()
}

/// Waits until an answer holds this text.
async fn until_said(actor: &Actor, conversation: &str, answer: &str, text: &str) {
    let mut viewer = Viewer::new(actor, conversation, answer);
    viewer.attach(Transport::Grpc).await;
    viewer.until_bytes(text.len()).await;
    assert_eq!(viewer.text, text);
}

/// The answer, once it has ended.
async fn ended(actor: &Actor, conversation: &str, answer: &str) -> Value {
    let mut viewer = Viewer::new(actor, conversation, answer);
    viewer.attach(Transport::Grpc).await;
    viewer.until_last().await;
    actor.message(conversation, answer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_sent_many_times_at_once_by_every_door_is_one_message_and_one_run() {
    let upstream = Upstream::start(Script::anthropic().text("once").pause().end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let sends = (0..TIMES).map(async |number| match number % 4 {
        0 => {
            let body = json!({ "content": "hi", "client_message_id": "c1" });
            let (status, body) = act(&alice, Method::POST, &format!("{conversation}/messages"), body).await;
            assert_eq!(status, 200, "{body}");
            (id(&body["message"]["id"]), id(&body["reply"]["id"]))
        }
        1 => {
            let mut socket = alice.socket().await;
            let data = json!({ "content": "hi", "client_message_id": "c1", "conversation_id": conversation });
            socket.ask("send", "message", data).await;
            let accepted = socket.answer_to("send").await;
            (id(&accepted["data"]["message_id"]), id(&accepted["data"]["reply_message_id"]))
        }
        2 => {
            let request = SendMessageRequest {
                conversation_id: conversation.clone(),
                content: "hi".to_owned(),
                client_message_id: Some("c1".to_owned()),
                ..SendMessageRequest::default()
            };
            let sent = alice.chat().send_message(request).await.unwrap().into_inner();
            (sent.message.unwrap().id, sent.reply.unwrap().id)
        }
        _ => {
            let body = json!({ "message": "hi", "client_message_id": "c1", "conversation_id": conversation });
            let start = alice.stream_chat(body).await.next().await.unwrap();
            assert_eq!(start.kind, "start");
            (id(&start.data["user_message_id"]), id(&start.data["message_id"]))
        }
    });
    let mut sent = join_all(sends).await;
    sent.dedup();
    assert_eq!(sent.len(), 1, "{sent:?}");
    upstream.release(1);
    assert_eq!(ended(&alice, &conversation, &sent[0].1).await["content"], "once");
    assert_eq!(server.data().number("(SELECT count(*) FROM messages)"), 2);
    assert_eq!(upstream.exchanges().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_sent_many_times_at_once_opens_one_conversation() {
    let upstream = Upstream::start(Script::openai().text("once").pause().end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let sends = (0..TIMES).map(async |number| {
        if number % 2 == 0 {
            let start = alice.stream_chat(json!({ "message": "hi", "client_message_id": "c1" })).await.next().await;
            let start = start.unwrap();
            (id(&start.data["conversation_id"]), id(&start.data["message_id"]))
        } else {
            let request = StreamChatRequest {
                message: "hi".to_owned(),
                client_message_id: Some("c1".to_owned()),
                ..StreamChatRequest::default()
            };
            let mut stream = alice.chat().stream_chat(request).await.unwrap().into_inner();
            match stream.message().await.unwrap().unwrap().event.unwrap().event.unwrap() {
                chat_event::Event::Start(start) => (start.conversation_id, start.message_id),
                other => panic!("not the start: {other:?}"),
            }
        }
    });
    let mut sent = join_all(sends).await;
    sent.dedup();
    assert_eq!(sent.len(), 1, "{sent:?}");
    upstream.release(1);
    assert_eq!(ended(&alice, &sent[0].0, &sent[0].1).await["status"], "complete");
    assert_eq!(server.data().number("(SELECT count(*) FROM conversations)"), 1);
    assert_eq!(server.data().number("(SELECT count(*) FROM messages)"), 2);
    assert_eq!(upstream.exchanges().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_conversation_answers_in_turn() {
    let upstream = Upstream::start(Script::anthropic().stepped().pieces(2).end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = conversation(&alice, "queue").await;
    let (_, first) = alice.send(&conversation, "one").await;
    let (_, second) = alice.send(&conversation, "two").await;
    upstream.release(1);
    until_said(&alice, &conversation, &first, &piece(1)).await;
    assert_eq!(alice.message(&conversation, &second).await["status"], "pending");
    assert_eq!(upstream.exchanges().len(), 1);
    upstream.release(3);
    assert_eq!(ended(&alice, &conversation, &second).await["status"], "complete");
    let turns = upstream.request(1).await.body["messages"].clone();
    let texts: Vec<_> = turns.as_array().unwrap().iter().map(text_of).collect();
    assert_eq!(texts, ["one".to_owned(), piece(1) + &piece(2), "two".to_owned()], "the second knows the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_conversation_may_refuse() {
    let upstream = Upstream::start(Script::anthropic().text("so").pause().end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = conversation(&alice, "reject").await;
    let (_, first) = alice.send(&conversation, "one").await;
    let messages = format!("{conversation}/messages");
    let (status, body) = act(&alice, Method::POST, &messages, json!({ "content": "two" })).await;
    let reason = &body["error"]["details"][0]["reason"];
    assert_eq!((status, reason), (409, &"CONVERSATION_BUSY".into()), "{body}");
    let (status, body) = act(&alice, Method::POST, &messages, json!({ "content": "note", "reply": false })).await;
    assert_eq!(status, 200, "what asks for no answer keeps nobody busy: {body}");
    assert_eq!(body.get("reply"), None);
    upstream.release(1);
    ended(&alice, &conversation, &first).await;
    alice.send(&conversation, "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_conversation_may_drop_what_it_was_saying() {
    let scripts = [Script::openai().text("so far").stall(), Script::openai().text("instead").end()];
    let upstream = Upstream::start_all(scripts).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = conversation(&alice, "replace").await;
    let (_, first) = alice.send(&conversation, "one").await;
    until_said(&alice, &conversation, &first, "so far").await;
    let (_, second) = alice.send(&conversation, "two").await;
    assert_eq!(ended(&alice, &conversation, &second).await["content"], "instead");
    let first = alice.message(&conversation, &first).await;
    assert_eq!((&first["status"], &first["content"]), (&"stopped".into(), &"so far".into()));
    upstream.closed(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_and_another_answer_stand_beside_the_old_ones_and_move_the_path() {
    let scripts = ["a", "b", "c"].map(|text| Script::anthropic().text(text).end());
    let upstream = Upstream::start_all(scripts).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (question, a) = alice.send(&conversation, "one").await;
    ended(&alice, &conversation, &a).await;

    let (status, body) = act(&alice, Method::POST, &format!("{conversation}/messages/{a}:regenerate"), json!({})).await;
    assert_eq!(status, 200, "{body}");
    let b = id(&body["message"]["id"]);
    assert_eq!(ended(&alice, &conversation, &b).await["content"], "b");
    assert_eq!(path(&alice, &conversation).await, [question.as_str(), &b]);
    assert_eq!(alice.message(&conversation, &a).await["sibling_ids"], json!([a, b]));

    let edit = json!({ "content": "uno" });
    let (status, body) = act(&alice, Method::PATCH, &format!("{conversation}/messages/{question}"), edit).await;
    assert_eq!(status, 200, "{body}");
    let (edited, c) = (id(&body["message"]["id"]), id(&body["reply"]["id"]));
    assert_eq!(ended(&alice, &conversation, &c).await["content"], "c");
    assert_eq!(path(&alice, &conversation).await, [edited.as_str(), &c]);
    assert_eq!(alice.message(&conversation, &question).await["sibling_ids"], json!([question, edited]));
    let asked = |index: usize| upstream.exchanges()[index].body["messages"].as_array().unwrap().len();
    assert_eq!([asked(0), asked(1), asked(2)], [1, 1, 1], "what lies beside the path is not asked");

    let (status, body) = act(&alice, Method::PATCH, &conversation, json!({ "head_message_id": a })).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(path(&alice, &conversation).await, [question.as_str(), &a], "the old path can be chosen again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_from_another_connection_hangs_up_on_the_provider_and_keeps_the_text() {
    for transport in Transport::ALL {
        let upstream = Upstream::start(Script::anthropic().text("so far").stall()).await;
        let server = Server::asking(&upstream, &[]).await;
        let alice = server.register("alice").await;
        let conversation = alice.conversation().await;
        let (_, answer) = alice.send(&conversation, "go on").await;
        let mut viewer = Viewer::new(&alice, &conversation, &answer);
        viewer.attach(transport).await;
        viewer.until_bytes(6).await;

        let mut socket = alice.socket().await;
        let stopped = Instant::now();
        socket.ask("stop", "stop", json!({ "message_id": answer })).await;
        assert_eq!(socket.answer_to("stop").await["type"], "accepted");
        assert!(upstream.closed(0).await - stopped < Duration::from_secs(1));
        let end = viewer.until_last().await;
        assert_eq!((end.kind.as_str(), &end.data["finish_reason"]), ("end", &"stopped".into()));
        let message = alice.message(&conversation, &answer).await;
        assert_eq!((&message["status"], &message["content"]), (&"stopped".into(), &"so far".into()));

        let stop = format!("{conversation}/messages/{answer}:stop");
        let (status, body) = act(&alice, Method::POST, &stop, json!({})).await;
        assert_eq!((status, &body["message"]["status"]), (200, &"stopped".into()), "stopping twice is no fault");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_its_turn_can_be_stopped_before_it_began() {
    let upstream = Upstream::start(Script::openai().text("a").pause().end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, first) = alice.send(&conversation, "one").await;
    let (_, second) = alice.send(&conversation, "two").await;
    let stop = format!("{conversation}/messages/{second}:stop");
    let (status, body) = act(&alice, Method::POST, &stop, json!({})).await;
    assert_eq!((status, &body["message"]["status"]), (200, &"stopped".into()), "{body}");
    upstream.release(1);
    assert_eq!(ended(&alice, &conversation, &first).await["status"], "complete");
    assert_eq!(upstream.exchanges().len(), 1, "nobody was asked for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_gets_the_finished_answer_and_its_usage_is_counted() {
    let upstream = Upstream::start(Script::anthropic().pieces(3).end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    for _ in 0..2 {
        let body = json!({ "content": "hi", "wait": true });
        let (status, body) = act(&alice, Method::POST, &format!("{conversation}/messages"), body).await;
        assert_eq!((status, &body["reply"]["status"]), (200, &"complete".into()), "{body}");
        assert_eq!(body["reply"]["content"], piece(1) + &piece(2) + &piece(3));
        assert_eq!(body["reply"]["usage"], json!({ "input_tokens": 12, "output_tokens": 34 }));
    }
    let (status, usage) = alice.get("/api/v1/users/me/usage").await;
    assert_eq!(status, 200, "{usage}");
    let counted = &usage["usage"][0];
    assert_eq!((&counted["model"], &counted["input_tokens"]), (&"anthropic/scripted".into(), &24.into()), "{usage}");
    assert_eq!((&counted["output_tokens"], &counted["message_count"]), (&68.into(), &2.into()), "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_gets_the_contexts_in_order_and_as_many_messages_as_the_budget_holds() {
    let upstream = Upstream::start(Script::anthropic().text("well").end()).await;
    let server = Server::asking(&upstream, &[("context_token_budget", "100")]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    for (title, content) in [("First", "be brief"), ("", "be kind"), ("Big", &*"x".repeat(400))] {
        let body = json!({ "title": title, "content": content });
        let (status, body) = act(&alice, Method::POST, &format!("{conversation}/contexts"), body).await;
        assert_eq!(status, 200, "{body}");
    }
    // 40 tokens each: of three, two fit beside the contexts.
    for letter in ["a", "b", "c"] {
        let (_, answer) = alice.send(&conversation, &letter.repeat(160)).await;
        ended(&alice, &conversation, &answer).await;
    }
    let body = upstream.request(2).await.body;
    assert_eq!(body["system"], "First\nbe brief\n\nbe kind", "what does not fit is left out");
    let texts: Vec<_> = body["messages"].as_array().unwrap().iter().map(text_of).collect();
    assert_eq!(texts, ["b".repeat(160), "well".to_owned(), "c".repeat(160)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_wants_no_answer_gets_none() {
    let upstream = Upstream::start(Script::openai().text("yes").end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let mut socket = alice.socket().await;
    let data = json!({ "content": "a note", "reply": false, "conversation_id": conversation });
    socket.ask("note", "message", data).await;
    let accepted = socket.answer_to("note").await;
    assert_eq!((accepted["type"].as_str(), accepted["data"].get("reply_message_id")), (Some("message.accepted"), None));
    let (_, answer) = alice.send(&conversation, "and now?").await;
    eventually("the answer is complete", async || alice.message(&conversation, &answer).await["status"] == "complete")
        .await;
    assert_eq!(upstream.exchanges().len(), 1);
    assert_eq!(server.data().number("(SELECT count(*) FROM messages)"), 3);
}

fn id(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not an id: {value}")).to_owned()
}

/// The text of a turn, in either protocol's form.
fn text_of(turn: &Value) -> String {
    let content = &turn["content"];
    content.as_str().or_else(|| content[0]["text"].as_str()).unwrap_or_else(|| panic!("no text: {turn}")).to_owned()
}
