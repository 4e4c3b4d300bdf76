//! Exports as files.

use colloquy::proto::{AddContextRequest, ExportConversationRequest, ExportFormat, google::api::HttpBody};
use serde_json::{Value, json};

use super::stage::{Actor, Server};

#[tokio::test(flavor = "multi_thread")]
async fn json_holds_everything_as_the_api_writes_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let chat = alice.open("Plans", &[&bob]).await;
    let context = AddContextRequest { conversation_id: chat.clone(), title: "t".into(), content: "c".into() };
    alice.conversations().add_context(context).await.unwrap();
    let question = alice.say(&chat, "q \"quoted\"").await;
    let answer = server.answer(&chat, "a");
    let again = server.answer_beside(&chat, &answer, "a'");
    server.sql("UPDATE messages SET created_at = 'epoch', updated_at = 'epoch'");

    let file = export(&alice, &chat, ExportFormat::Unspecified).await;
    assert_eq!(file.content_type, "application/json");
    let document: Value = serde_json::from_slice(&file.data).unwrap();
    let conversation = &document["conversation"];
    assert_eq!(conversation["id"], json!(chat));
    assert_eq!((&conversation["role"], &conversation["on_busy"]), (&json!("owner"), &json!("queue")));
    assert_eq!((&conversation["last_seq"], &conversation["last_read_seq"]), (&json!(3), &json!(0)));
    assert_eq!(conversation["head_message_id"], json!(again));
    assert_eq!(conversation.get("model"), None, "what is absent is not written");
    assert!(conversation["created_at"].as_str().unwrap().ends_with('Z'));
    let names: Vec<_> = document["members"].as_array().unwrap().iter().map(|member| &member["username"]).collect();
    assert_eq!(names, ["alice", "bob"]);
    assert_eq!(document["contexts"][0]["position"], json!(1));
    assert_eq!(
        document["messages"],
        json!([
            {
                "id": question, "conversation_id": chat, "seq": 1, "role": "user", "author_id": alice.id,
                "content": "q \"quoted\"", "status": "complete", "sibling_ids": [], "is_deleted": false,
                "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z",
                "tool_calls": [], "cached": false,
            },
            {
                "id": answer, "conversation_id": chat, "seq": 2, "parent_id": question, "role": "assistant",
                "content": "a", "status": "complete", "model": "echo", "sibling_ids": [answer, again],
                "is_deleted": false,
                "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z",
                "tool_calls": [], "cached": false,
            },
            {
                "id": again, "conversation_id": chat, "seq": 3, "parent_id": question, "role": "assistant",
                "content": "a'", "status": "complete", "model": "echo", "sibling_ids": [answer, again], "is_deleted": false,
                "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z",
                "tool_calls": [], "cached": false,
            },
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn markdown_is_the_chosen_path() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let chat = alice.open("Plans\nand more", &[&bob]).await;
    bob.say(&chat, "hello").await;
    let answer = server.answer(&chat, "off the path");
    server.answer_beside(&chat, &answer, "hi");
    server.begin_answer(&chat, &["so ", "far"]);
    server.sql("UPDATE messages SET created_at = 'epoch'");
    let leave = colloquy::proto::RemoveMemberRequest { conversation_id: chat.clone(), user_id: bob.id.clone() };
    bob.conversations().remove_member(leave).await.unwrap();

    let file = export(&alice, &chat, ExportFormat::Markdown).await;
    assert_eq!(file.content_type, "text/markdown; charset=utf-8");
    assert_eq!(
        String::from_utf8(file.data.to_vec()).unwrap(),
        "# Plans and more\n\n\
         ## bob, 1970-01-01T00:00:00Z\n\nhello\n\n\
         ## echo, 1970-01-01T00:00:00Z\n\nhi\n\n\
         ## echo, 1970-01-01T00:00:00Z\n\nso far\n\n*streaming*\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_conversation_is_exported_whole() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    for number in 0..205 {
        alice.say(&chat, &number.to_string()).await;
    }
    let file = export(&alice, &chat, ExportFormat::Json).await;
    let document: Value = serde_json::from_slice(&file.data).unwrap();
    let seqs: Vec<_> = document["messages"].as_array().unwrap().iter().map(|message| message["seq"].clone()).collect();
    assert_eq!(seqs, (1..=205).map(|seq| json!(seq)).collect::<Vec<_>>());
}

async fn export(actor: &Actor, chat: &str, format: ExportFormat) -> HttpBody {
    let request = ExportConversationRequest { conversation_id: chat.to_owned(), format: format.into() };
    actor.conversations().export_conversation(request).await.unwrap().into_inner().file.unwrap()
}
