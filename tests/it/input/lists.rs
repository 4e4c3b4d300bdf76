//! Bad pages, cursors, searches and choices.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, Ids, refused};
use crate::harness::Server;

/// A token for what stands after a time that no database knows, and an id.
const NO_TIME: &str = "LTkyMjMzNzIwMzY4NTQ3NzU4MDg6MDE5OGMwZGUtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAw";

/// Bad pages, cursors and choices.
fn lists(ids: &Ids) -> Vec<Case> {
    let own = &ids.own;
    let path = format!("/api/v1/conversations/{own}");
    let history = |what: &str, field: &str, query: &str, request: Value| {
        let case = Case::invalid(what, field).get(&format!("{path}/messages?{query}"));
        let mut fields = request;
        fields["conversation_id"] = json!(own);
        case.grpc("ConversationService/ListMessages", &fields)
    };
    let page = |size: i32| {
        Case::invalid(&format!("{size} a page"), "page_size")
            .get(&format!("/api/v1/conversations?page_size={size}"))
            .grpc("ConversationService/ListConversations", &json!({ "page_size": size }))
    };
    vec![
        page(-1),
        page(101),
        page(i32::MAX),
        Case::invalid("a page of words", "page_size").get("/api/v1/conversations?page_size=many"),
        Case::invalid("a token that is none", "page_token")
            .get("/api/v1/conversations?page_token=garbage!")
            .grpc("ConversationService/ListConversations", &json!({ "page_token": "garbage!" })),
        Case::invalid("a token of nothing", "page_token")
            .get("/api/v1/conversations?page_token=bm90IGEga2V5")
            .grpc("ConversationService/ListConversations", &json!({ "page_token": "bm90IGEga2V5" })),
        history("a token that is none of a history", "page_token", "page_token=%21", json!({ "page_token": "!" })),
        history("a limit below", "limit", "limit=-1", json!({ "limit": -1 }))
            .frame("history", json!({ "conversation_id": own, "limit": -1 })),
        history("a limit above", "limit", "limit=101", json!({ "limit": 101 }))
            .frame("history", json!({ "conversation_id": own, "limit": 101 })),
        history("a negative cursor", "before_seq", "before_seq=-1", json!({ "before_seq": -1 }))
            .frame("history", json!({ "conversation_id": own, "before_seq": -1 })),
        history("both cursors", "after_seq", "before_seq=3&after_seq=1", json!({ "before_seq": 3, "after_seq": 1 })),
        Case::invalid("a field twice in the query", "limit").get(&format!("{path}/messages?limit=1&limit=2")),
        Case::invalid("an unknown field of a query", "colour").get("/api/v1/conversations?colour=red"),
        Case::invalid("a role that is none", "role").http(
            Method::POST,
            &format!("{path}/members"),
            r#"{"user_id":"x","role":"king"}"#,
        ),
        Case::invalid("a number of no role", "role")
            .grpc("ConversationService/AddMember", &json!({ "conversation_id": own, "user_id": own, "role": 99 })),
        Case::invalid("a malformed id of a user", "user_id")
            .http(Method::POST, &format!("{path}/members"), r#"{"user_id":"x"}"#)
            .grpc("ConversationService/AddMember", &json!({ "conversation_id": own, "user_id": "x" })),
        Case::invalid("a long title", "title")
            .http(Method::POST, "/api/v1/conversations", json!({ "title": "x".repeat(256) }).to_string())
            .grpc("ConversationService/CreateConversation", &json!({ "title": "x".repeat(256) })),
        Case::invalid("a member who is nobody", "member_ids")
            .http(Method::POST, "/api/v1/conversations", json!({ "member_ids": [own] }).to_string())
            .grpc("ConversationService/CreateConversation", &json!({ "member_ids": [own] })),
        Case::invalid("NUL in a search for people", "query")
            .get("/api/v1/users?query=a%00")
            .grpc("UserService/SearchUsers", &json!({ "query": "a\0" })),
        Case::invalid("a token of no name", "page_token")
            .get("/api/v1/users?query=a&page_token=YQBi")
            .grpc("UserService/SearchUsers", &json!({ "query": "a", "page_token": "YQBi" })),
        Case::invalid("a time that is none", "page_token")
            .get(&format!("/api/v1/conversations?page_token={NO_TIME}"))
            .grpc("ConversationService/ListConversations", &json!({ "page_token": NO_TIME })),
        Case::invalid("NUL in a name", "username")
            .http(Method::POST, "/api/v1/auth/login", r#"{"username":"a\u0000","password":"x"}"#)
            .grpc("AuthService/Login", &json!({ "username": "a\0", "password": "x" })),
        Case::invalid("NUL in every name of an account", "username email display_name")
            .http(
                Method::PATCH,
                "/api/v1/users/me",
                r#"{"username":"a\u0000b","email":"a@\u0000","display_name":"\u0000"}"#,
            )
            .grpc("UserService/UpdateMe", &json!({ "username": "a\0b", "email": "a@\0", "display_name": "\0" })),
        Case::invalid("an empty search", "query")
            .get("/api/v1/messages:search")
            .grpc("ConversationService/SearchMessages", &json!({})),
        Case::invalid("a day that is none", "from")
            .get("/api/v1/users/me/usage?from=yesterday")
            .grpc("UserService/GetMyUsage", &json!({ "from": "yesterday" })),
        Case::invalid("a cursor before the start", "after")
            .get(&format!("/api/v1/chat/stream/{own}?after=-1"))
            .grpc("ChatService/ResumeChat", &json!({ "message_id": own, "after": -1 })),
        Case::invalid("nothing to stream", "message")
            .http(Method::POST, "/api/v1/chat/stream", r#"{"message":""}"#)
            .grpc("ChatService/StreamChat", &json!({ "message": "" })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pages_and_choices_are_refused_by_name() {
    refused(&Server::start().await, lists).await;
}
