//! The daily quota of tokens: refused before anything is written, and only until the next day.

use colloquy::proto::SendMessageRequest;
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{
    Server, reason, retry_after,
    upstream::{Script, Upstream},
};

const DAY: u64 = 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn who_has_used_up_the_day_waits_for_the_next() {
    // An answer costs 46 tokens.
    let upstream = Upstream::start(Script::openai().text("fine").end()).await;
    let server = Server::asking(&upstream, &[("daily_token_quota", "46")]).await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let first = json!({ "content": "how are you?", "client_message_id": "one", "wait": true });
    let (status, sent) = alice.post(&path, first.clone()).await;
    assert_eq!((status, &sent["reply"]["status"]), (200, &"complete".into()), "{sent}");
    let id = |part: &str| sent[part]["id"].as_str().unwrap().to_owned();
    let (message, reply) = (id("message"), id("reply"));
    let before = server.data().rows();

    let send =
        SendMessageRequest { conversation_id: conversation.clone(), content: "more".into(), ..Default::default() };
    let status = alice.chat().send_message(send.clone()).await.unwrap_err();
    let quota = status.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].description, "46 tokens a day");
    assert!(retry_after::<()>(Err(status.clone())).as_secs() <= DAY);
    assert_eq!(reason::<()>(Err(status)), (Code::ResourceExhausted, "QUOTA_EXCEEDED".into()));

    for (method, path, body) in [
        (Method::POST, path.clone(), json!({ "content": "more" })),
        (Method::POST, format!("{path}/{reply}:regenerate"), json!({})),
        (Method::PATCH, format!("{path}/{message}"), json!({ "content": "better" })),
        (Method::POST, "/api/v1/chat/stream".into(), json!({ "message": "more" })),
        (Method::POST, "/api/v1/chat/stream".into(), json!({ "message": "more", "conversation_id": conversation })),
    ] {
        let response = alice.request(method, &path).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 429, "{path}");
        let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=DAY).contains(&wait), "{wait}");
        let body: Value = response.json().await.unwrap();
        let mut details = body["error"]["details"].as_array().unwrap().iter();
        assert!(details.any(|detail| detail["reason"] == "QUOTA_EXCEEDED"), "{path}: {body}");
    }
    let mut socket = alice.socket().await;
    socket.ask("m", "message", json!({ "content": "more", "conversation_id": conversation })).await;
    let refused = socket.answer_to("m").await;
    assert_eq!((&refused["type"], &refused["data"]["code"]), (&"error".into(), &"QUOTA_EXCEEDED".into()));
    assert!(refused["data"]["retry_after"].as_f64().unwrap() <= DAY as f64, "{refused}");
    let after = server.data().rows();
    for table in ["conversations", "messages"] {
        assert_eq!(after[table], before[table], "{table}");
    }

    // What was sent before is found again, words that want no answer cost nothing, and others have their own day.
    let (status, again) = alice.post(&path, first).await;
    assert_eq!((status, &again["reply"]["id"]), (200, &reply.into()));
    assert_eq!(alice.post(&path, json!({ "content": "just so", "reply": false })).await.0, 200);
    let other = bob.conversation().await;
    assert_eq!(bob.post(&format!("/api/v1/conversations/{other}/messages"), json!({ "content": "hi" })).await.0, 200);

    let url = upstream.url();
    let asking = upstream.settings(&url);
    let tomorrow: Vec<_> =
        asking.into_iter().chain([("daily_token_quota", "46"), ("clock_ahead_micros", "86400000000")]).collect();
    let tomorrow = server.beside(&tomorrow).await;
    let alice = tomorrow.visitor().login("alice", crate::harness::PASSWORD).await.unwrap();
    assert_eq!(alice.post(&path, json!({ "content": "good morning" })).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_answered_costs_nothing() {
    let scripts = [Script::openai().status(400), Script::openai().text("well").hang_up()];
    let upstream = Upstream::start_all(scripts).await;
    let server = Server::asking(&upstream, &[("daily_token_quota", "1"), ("provider_retries", "0")]).await;
    let alice = server.register("alice").await;
    let path = format!("/api/v1/conversations/{}/messages", alice.conversation().await);
    let ask = async || alice.post(&path, json!({ "content": "how are you?", "wait": true })).await;
    let (status, sent) = ask().await;
    assert_eq!((status, &sent["reply"]["status"]), (200, &"failed".into()), "{sent}");
    assert_eq!(sent["reply"]["usage"], json!({ "input_tokens": 0, "output_tokens": 0 }), "{sent}");
    assert_eq!(alice.get("/api/v1/users/me/usage").await.1["usage"], json!([]));

    // One that was answered, if only in part, does.
    let (status, sent) = ask().await;
    assert_eq!((status, &sent["reply"]["content"]), (200, &"well".into()), "{sent}");
    let (_, usage) = alice.get("/api/v1/users/me/usage").await;
    assert_eq!(usage["usage"][0]["message_count"], 1, "{usage}");
    assert!(usage["input_tokens"].as_i64() > Some(0), "{usage}");
    assert_eq!(ask().await.0, 429);
}
