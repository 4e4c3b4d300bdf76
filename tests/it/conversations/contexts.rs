//! Contexts: attached, listed in order, detached.

use colloquy::proto::{AddContextRequest, Context, DeleteContextRequest, ListContextsRequest, ListContextsResponse};
use tonic::{Code, Status};

use super::{
    stage::{Actor, Server},
    uuid,
};
use crate::harness::{reason, violations};

#[tokio::test(flavor = "multi_thread")]
async fn contexts_keep_their_order_page_by_page() {
    let alice = Server::start().await.register("alice").await;
    let chat = alice.open("", &[]).await;
    let first = add(&alice, &chat, "first", "one").await.unwrap();
    assert_eq!((first.title.as_str(), first.content.as_str(), first.position), ("first", "one", 1));
    assert_eq!(first.conversation_id, chat);
    for title in ["second", "third", "fourth"] {
        add(&alice, &chat, title, "text").await.unwrap();
    }
    delete(&alice, &chat, &first.id).await.unwrap();
    assert_eq!(reason(delete(&alice, &chat, &first.id).await), (Code::NotFound, "NOT_FOUND".into()));
    assert_eq!(reason(delete(&alice, &chat, &uuid()).await), (Code::NotFound, "NOT_FOUND".into()));

    let (titles, token) = list(&alice, &chat, 2, "").await;
    assert_eq!(titles, ["second", "third"]);
    add(&alice, &chat, "fifth", "text").await.unwrap();
    assert_eq!(list(&alice, &chat, 2, &token).await, (vec!["fourth".to_owned(), "fifth".to_owned()], String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_added_at_once_have_places_of_their_own() {
    let alice = Server::start().await.register("alice").await;
    let chat = alice.open("", &[]).await;
    let added = futures_util::future::join_all((0..8).map(|_| add(&alice, &chat, "", "text"))).await;
    let mut positions: Vec<i64> = added.into_iter().map(|context| context.unwrap().position).collect();
    positions.sort_unstable();
    assert_eq!(positions, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_has_a_text_within_bounds() {
    let alice = Server::start().await.register("alice").await;
    let chat = alice.open("", &[]).await;
    let long_title = "x".repeat(256);
    let long_text = "x".repeat(262_145);
    for (title, content, fields) in [
        ("", "", vec!["content"]),
        ("", long_text.as_str(), vec!["content"]),
        ("", "a\0b", vec!["content"]),
        ("a\0b", "text", vec!["title"]),
        (long_title.as_str(), "", vec!["title", "content"]),
    ] {
        assert_eq!(violations(add(&alice, &chat, title, content).await), fields);
    }
    add(&alice, &chat, &"ä".repeat(255), &"x".repeat(262_144)).await.unwrap();
}

async fn add(actor: &Actor, chat: &str, title: &str, content: &str) -> Result<Context, Status> {
    let request =
        AddContextRequest { conversation_id: chat.to_owned(), title: title.to_owned(), content: content.to_owned() };
    Ok(actor.conversations().add_context(request).await?.into_inner().context.unwrap())
}

async fn delete(actor: &Actor, chat: &str, id: &str) -> Result<(), Status> {
    let request = DeleteContextRequest { conversation_id: chat.to_owned(), context_id: id.to_owned() };
    actor.conversations().delete_context(request).await.map(drop)
}

async fn list(actor: &Actor, chat: &str, page_size: i32, page_token: &str) -> (Vec<String>, String) {
    let request =
        ListContextsRequest { conversation_id: chat.to_owned(), page_size, page_token: page_token.to_owned() };
    let ListContextsResponse { contexts, next_page_token } =
        actor.conversations().list_contexts(request).await.unwrap().into_inner();
    (contexts.into_iter().map(|context| context.title).collect(), next_page_token)
}
