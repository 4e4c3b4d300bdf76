//! Bad messages: as every transport sends them, and what only JSON or protobuf can get wrong.

use colloquy::proto::SendMessageRequest;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, Ids, NOBODYS, refused};
use crate::harness::Server;

/// Bad messages, as every transport sends them.
fn messages(ids: &Ids) -> Vec<Case> {
    let Ids { own, foreign, .. } = ids;
    let message = |what: &str, reason, fields: &str, conversation: &str, data: Value| {
        let mut frame = data.clone();
        frame["conversation_id"] = json!(conversation);
        let path = format!("/api/v1/conversations/{conversation}/messages");
        let case = Case::new(what, reason, fields).http(Method::POST, &path, data.to_string());
        case.grpc("ChatService/SendMessage", &frame).frame("message", frame)
    };
    let invalid = |what: &str, field: &str, data: Value| message(what, "INVALID_MESSAGE", field, own, data);
    vec![
        invalid("no content", "content", json!({})),
        invalid("empty content", "content", json!({ "content": "" })),
        invalid("blank content", "content", json!({ "content": " \n\t " })),
        invalid("over-long content", "content", json!({ "content": "x".repeat(32_769) })),
        invalid("over-long content in bytes", "content", json!({ "content": "ä".repeat(16_385) })),
        invalid("NUL in the content", "content", json!({ "content": "a\0b" })),
        invalid("an empty id of the sender's", "client_message_id", json!({ "content": "x", "client_message_id": "" })),
        invalid(
            "a long id of the sender's",
            "client_message_id",
            json!({ "content": "x", "client_message_id": "x".repeat(129) }),
        ),
        invalid(
            "NUL in the id of the sender's",
            "client_message_id",
            json!({ "content": "x", "client_message_id": "\0" }),
        ),
        invalid("an unknown model", "model", json!({ "content": "x", "model": "oracle" })),
        message("somebody else's conversation", "NOT_FOUND", "", foreign, json!({ "content": "x" })),
        message("nobody's conversation", "NOT_FOUND", "", NOBODYS, json!({ "content": "x" })),
        message("bad content for somebody else", "NOT_FOUND", "", foreign, json!({ "content": "" })),
        message("a malformed id", "INVALID_MESSAGE", "conversation_id", "mine", json!({ "content": "x" })),
    ]
}

/// What only JSON can get wrong.
fn shapes(ids: &Ids) -> Vec<Case> {
    let path = format!("/api/v1/conversations/{}/messages", ids.own);
    let data = |what: &str, reason, fields: &str, data: &str| {
        let frame = format!("{{\"type\":\"message\",\"id\":\"bad\",\"data\":{data}}}");
        Case::new(what, reason, fields).http(Method::POST, &path, data).text(frame)
    };
    let deep = format!("{{\"content\":{}{}}}", "[".repeat(33), "]".repeat(33));
    let foreign_bytes = SendMessageRequest { content: "marker".into(), ..Default::default() }.encode_to_vec();
    let foreign_bytes: Vec<u8> = foreign_bytes.iter().map(|byte| if *byte == b'k' { 0xff } else { *byte }).collect();
    vec![
        data("an unknown field", "INVALID_MESSAGE", "colour", r#"{"content":"x","colour":"red"}"#),
        data("a number for a text", "INVALID_MESSAGE", "content", r#"{"content":5}"#),
        data("a text for a switch", "INVALID_MESSAGE", "reply", r#"{"content":"x","reply":"no"}"#),
        data("a field twice", "INVALID_MESSAGE", "content", r#"{"content":"x","content":"y"}"#),
        data("a list for an object", "INVALID_MESSAGE", "", "[]"),
        Case::new("too deep", "INVALID_JSON", "")
            .text(format!("{{\"type\":\"message\",\"id\":\"bad\",\"data\":{deep}}}")),
        Case::invalid("too deep in a text", "content").http(Method::POST, &path, deep.as_str()),
        data("no JSON", "INVALID_JSON", "", r#"{"content":"#),
        data("half a surrogate", "INVALID_JSON", "", r#"{"content":"\ud800"}"#),
        Case::new("invalid UTF-8", "INVALID_JSON", "").http(Method::POST, &path, b"{\"content\":\"a\xff\"}"),
        Case::invalid("invalid UTF-8 in protobuf", "").grpc_bytes("ChatService/SendMessage", foreign_bytes),
        Case::invalid("no protobuf", "").grpc_bytes("ChatService/SendMessage", b"\x0a\xff".to_vec()),
        Case::new("a body of more than 1 MiB", "MESSAGE_TOO_LARGE", "").http(
            Method::POST,
            &path,
            json!({ "content": "x".repeat(1 << 20) }).to_string(),
        ),
        Case::new("a message of more than 4 MiB", "MESSAGE_TOO_LARGE", "")
            .grpc("ChatService/SendMessage", &json!({ "content": "x".repeat(4 << 20) })),
    ]
}

/// Models that a provider which lists none would take.
fn models(ids: &Ids) -> Vec<Case> {
    let Ids { own, .. } = ids;
    let path = format!("/api/v1/conversations/{own}");
    let absurd = [("NUL", "any/a\0b".to_owned()), ("a line", "any/a\nb".to_owned())];
    let absurd = absurd.into_iter().chain([("129 characters", format!("any/{}", "x".repeat(125)))]);
    absurd
        .flat_map(|(what, model)| {
            let case = |act: &str| Case::invalid(&format!("{what} in the model to {act}"), "model");
            let message = json!({ "conversation_id": own, "content": "x", "model": model });
            let changed = json!({ "conversation_id": own, "model": model });
            [
                case("send to")
                    .http(
                        Method::POST,
                        &format!("{path}/messages"),
                        json!({ "content": "x", "model": model }).to_string(),
                    )
                    .grpc("ChatService/SendMessage", &message)
                    .frame("message", message),
                case("open with")
                    .http(Method::POST, "/api/v1/chat/stream", json!({ "message": "x", "model": model }).to_string())
                    .grpc("ChatService/StreamChat", &json!({ "message": "x", "model": model })),
                case("make with")
                    .http(Method::POST, "/api/v1/conversations", json!({ "model": model }).to_string())
                    .grpc("ConversationService/CreateConversation", &json!({ "model": model })),
                case("change to")
                    .http(Method::PATCH, &path, json!({ "model": model }).to_string())
                    .grpc("ConversationService/UpdateConversation", &changed),
            ]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_models_are_refused_where_a_provider_would_take_any() {
    let file = "[[providers]]\nname = \"any\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n";
    refused(&Server::configured(file, &[]).await, models).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_alike_everywhere_and_change_nothing() {
    refused(&Server::start().await, messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_shapes_are_refused_and_change_nothing() {
    refused(&Server::start().await, shapes).await;
}
