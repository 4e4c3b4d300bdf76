//! The response cache: off unless it is switched on, and never a lie about where an answer comes from.

use serde_json::{Value, json};

use crate::harness::{
    Actor, RedisServer, Server,
    upstream::{Script, Upstream, piece},
};

const ON: (&str, &str) = ("response_cache", "true");

/// Asks in a conversation of its own: the last event, and the answer as it was stored.
async fn ask(actor: &Actor, message: &str) -> (Value, Value) {
    let mut events = actor.stream_chat(json!({ "message": message })).await;
    let start = events.next().await.unwrap();
    let mut last = start.clone();
    while let Some(event) = events.next().await {
        last = event;
    }
    let id = |field: &str| start.data[field].as_str().unwrap().to_owned();
    (last.data, actor.message(&id("conversation_id"), &id("message_id")).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_answered_again_and_costs_nothing() {
    let upstream = Upstream::start(Script::anthropic().pieces(3).end()).await;
    let server = Server::asking(&upstream, &[ON]).await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let (end, first) = ask(&alice, "how are you?").await;
    assert_eq!((&end["cached"], &first["cached"]), (&false.into(), &false.into()));

    let (end, again) = ask(&bob, "how are you?").await;
    assert_eq!((&end["cached"], &again["cached"]), (&true.into(), &true.into()));
    assert_eq!((&again["content"], &again["finish_reason"]), (&first["content"], &"stop".into()));
    assert_eq!(again["content"], (1..=3).map(piece).collect::<String>());
    assert_eq!(again["usage"], json!({"input_tokens": 0, "output_tokens": 0}));
    assert_eq!(bob.get("/api/v1/users/me/usage").await.1["usage"], json!([]));
    assert_eq!(upstream.exchanges().len(), 1);

    // Whoever wants another answer gets another one.
    let (conversation, id) = (again["conversation_id"].as_str().unwrap(), again["id"].as_str().unwrap());
    let path = format!("/api/v1/conversations/{conversation}/messages/{id}:regenerate");
    assert_eq!(bob.post(&path, json!({})).await.0, 200);
    upstream.request(1).await;

    // The same words after others are another question.
    let body = json!({ "content": "how are you?", "wait": true });
    let (_, sent) = alice
        .post(&format!("/api/v1/conversations/{}/messages", first["conversation_id"].as_str().unwrap()), body)
        .await;
    assert_eq!(sent["reply"]["cached"], false, "{sent}");
    assert_eq!(upstream.exchanges().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_made_on_one_node_is_given_again_on_another() {
    let upstream = Upstream::start(Script::anthropic().pieces(3).end()).await;
    let (redis, url) = (RedisServer::start().await, upstream.url());
    let shared = redis.url();
    let settings: Vec<_> = upstream.settings(&url).into_iter().chain([ON, ("redis_url", &shared)]).collect();
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    let alice = here.register("alice").await;
    let (_, first) = ask(&alice, "how are you?").await;
    let (end, again) = ask(&alice.at(&there), "how are you?").await;
    assert_eq!((&end["cached"], &again["content"]), (&true.into(), &first["content"]));
    assert_eq!(upstream.exchanges().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cached_unless_it_is_switched_on() {
    let upstream = Upstream::start(Script::openai().text("fine").end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    for _ in 0..2 {
        assert_eq!(ask(&alice, "how are you?").await.1["cached"], false);
    }
    assert_eq!(upstream.exchanges().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_answers_without_tools_are_given_again() {
    let with_tool = Script::openai().tool("c1", "calculator", r#"{"expression":"6*7"}"#).end_for_tools();
    let scripts = [
        Script::openai().text("half").hang_up(),
        Script::openai().text("too long").end_with("length"),
        with_tool,
        Script::openai().text("It is 42.").end(),
        Script::openai().text("whole").end(),
    ];
    let upstream = Upstream::start_all(scripts).await;
    let server = Server::asking(&upstream, &[ON, ("tools", "calculator")]).await;
    let alice = server.register("alice").await;
    for expected in ["half", "too long", "It is 42.", "whole"] {
        let (_, message) = ask(&alice, "how are you?").await;
        assert_eq!((&message["content"], &message["cached"]), (&expected.into(), &false.into()));
    }
    let (_, message) = ask(&alice, "how are you?").await;
    assert_eq!((&message["content"], &message["cached"]), (&"whole".into(), &true.into()));
    assert_eq!(upstream.exchanges().len(), 5);
}
