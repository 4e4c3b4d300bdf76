//! Markup: under `reject` no text that others see may hold what a careless page would run, whatever carries it; under
//! `store` it is data.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, Ids, refused};
use crate::harness::{Actor, Server};

/// What browsers would run, in the ways in which it hides.
const ACTIVE: [&str; 12] = [
    "<script>x</script>",
    "<ScRiPt src=x>",
    "<script\n>x",
    "<iframe src=x>",
    "</IFRAME>",
    "<img src=x onerror=x>",
    "<svg/onload=x>",
    "<p ONCLICK = 'x'>",
    "<a href='javascript:x'>",
    "[link](JavaScript:x)",
    "&lt;script&gt;x",
    "<a href='&#106;avascript&colon;x'>",
];

/// What looks like it and is words.
const WORDS: [&str; 4] = ["a < b and c > d", "JavaScript: the language", "<b>bold</b>", "once = twice"];

/// A text, put in each place that takes one.
fn everywhere(ids: &Ids, sent: &str, text: &str) -> Vec<Case> {
    let conversation = format!("/api/v1/conversations/{}", ids.own);
    let rejected = |place: &str, field: &str| Case::new(&format!("{text:?} in {place}"), "CONTENT_REJECTED", field);
    let http = |case: Case, method, path: &str, body: &Value| case.http(method, path, body.to_string());
    let with = |mut body: Value, name: &str, value: &str| {
        body[name] = json!(value);
        body
    };
    let own = |body: &Value| with(body.clone(), "conversation_id", &ids.own);

    let (content, titled) = (json!({ "content": text, "reply": false }), json!({ "title": text }));
    let named = json!({ "content": "x", "reply": false, "client_message_id": text });
    let asked = json!({ "message": text });
    let (context, context_title) = (json!({ "content": text }), json!({ "content": "x", "title": text }));
    let display_name = json!({ "display_name": text });
    let messages = format!("{conversation}/messages");
    let edited = with(own(&content), "message_id", sent);
    let mut cases = vec![
        http(rejected("a message", "content"), Method::POST, &messages, &content)
            .grpc("ChatService/SendMessage", &own(&content))
            .frame("message", own(&content)),
        http(rejected("a sender's id", "client_message_id"), Method::POST, &messages, &named)
            .grpc("ChatService/SendMessage", &own(&named))
            .frame("message", own(&named)),
        rejected("a message that opens a conversation", "content").frame("message", content.clone()),
        http(rejected("a message to be streamed", "message"), Method::POST, "/api/v1/chat/stream", &asked),
        http(rejected("an edited message", "content"), Method::PATCH, &format!("{messages}/{sent}"), &content)
            .grpc("ConversationService/EditMessage", &edited),
        http(rejected("a new title", "title"), Method::POST, "/api/v1/conversations", &titled)
            .grpc("ConversationService/CreateConversation", &titled),
        http(rejected("a changed title", "title"), Method::PATCH, &conversation, &titled)
            .grpc("ConversationService/UpdateConversation", &own(&titled)),
        http(rejected("a context", "content"), Method::POST, &format!("{conversation}/contexts"), &context)
            .grpc("ConversationService/AddContext", &own(&context)),
        http(rejected("a context's title", "title"), Method::POST, &format!("{conversation}/contexts"), &context_title)
            .grpc("ConversationService/AddContext", &own(&context_title)),
    ];
    // A line break is no part of a name, whatever stands around it.
    if !text.contains('\n') {
        let case = rejected("a display name", "display_name");
        let case = http(case, Method::PATCH, "/api/v1/users/me", &display_name);
        cases.push(case.grpc("UserService/UpdateMe", &display_name));
    }
    cases
}

/// What is wrong with a text besides what it holds comes first.
fn shapes(ids: &Ids) -> Vec<Case> {
    let path = format!("/api/v1/conversations/{}/messages", ids.own);
    let tag = ACTIVE[0];
    let case = |what: &str, reason, field: &str, body: Value| {
        Case::new(what, reason, field).http(Method::POST, &path, body.to_string()).frame("message", body)
    };
    vec![
        case("markup that is too long", "INVALID_MESSAGE", "content", json!({ "content": tag.repeat(2000) })),
        case("markup of the wrong type", "INVALID_MESSAGE", "content", json!({ "content": [tag] })),
        case("markup in an unknown field", "INVALID_MESSAGE", "text", json!({ "content": "x", "text": tag })),
        case(
            "an id of the sender's that is too long",
            "INVALID_MESSAGE",
            "client_message_id",
            json!({ "content": "x", "client_message_id": tag.repeat(20) }),
        ),
    ]
}

/// Sends a message and returns it.
async fn send(actor: &Actor, conversation: &str, text: &str) -> Value {
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let (status, mut body) = actor.post(&path, json!({ "content": text, "reply": false })).await;
    assert_eq!(status, 200, "{text:?}: {body}");
    body["message"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_is_refused_wherever_it_is_put() {
    let server = Server::with(&[("content_policy", "reject")]).await;
    refused(&server, |ids| {
        let places = |text: &&str| everywhere(ids, &ids.sent, text);
        shapes(ids).into_iter().chain(ACTIVE.iter().flat_map(places)).collect()
    })
    .await;
    let carol = server.register("carol").await;
    let conversation = carol.conversation().await;
    for text in WORDS {
        assert_eq!(send(&carol, &conversation, text).await["content"], text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_is_stored_untouched_by_default() {
    let alice = Server::start().await.register("alice").await;
    let conversation = alice.conversation().await;
    for text in ACTIVE.into_iter().chain(WORDS) {
        let sent = send(&alice, &conversation, text).await;
        let read = alice.message(&conversation, sent["id"].as_str().unwrap()).await;
        assert_eq!(read["content"], text);
        let changed = alice.request(Method::PATCH, "/api/v1/users/me").json(&json!({ "display_name": text }));
        let status = changed.send().await.unwrap().status();
        assert_eq!(status.as_u16(), if text.contains('\n') { 400 } else { 200 }, "{text:?}");
    }
}
