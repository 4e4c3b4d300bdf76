//! Searching messages.

use colloquy::proto::{SearchMessagesRequest, SearchMessagesResponse};
use tonic::Code;

use super::{
    stage::{Actor, Server},
    uuid,
};
use crate::harness::{reason, violations};

#[tokio::test(flavor = "multi_thread")]
async fn all_words_are_matched_by_their_beginning() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    for text in ["The quick brown fox", "A quicker hare", "brown bread", "Crème brûlée", "Жили-были", "日本語テスト"]
    {
        alice.say(&chat, text).await;
    }
    for (query, found) in [
        ("quick", vec!["A quicker hare", "The quick brown fox"]),
        ("QUI bro", vec!["The quick brown fox"]),
        ("fox brown", vec!["The quick brown fox"]),
        ("uick", vec![]),
        ("creme brul", vec!["Crème brûlée"]),
        ("cre\u{300}me", vec!["Crème brûlée"]),
        ("жили", vec!["Жили-были"]),
        ("жили-бы", vec!["Жили-были"]),
        ("日本", vec!["日本語テスト"]),
        ("quick unicorn", vec![]),
    ] {
        let mut texts = search(&alice, query, |_| ()).await.0;
        texts.sort();
        assert_eq!(texts, found, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_is_syntax() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    alice.say(&chat, "he said \"hello\" NEAR me and NOT you or OR").await;
    for query in [
        "\"hello",
        "\"hello\"",
        "\"\"hello",
        "hello*",
        "*hello",
        "hello -me",
        "hello^",
        "^hello",
        "(hello",
        "{hello}",
        "NEAR",
        "NEAR(hello me)",
        "NOT",
        "OR",
        "AND hello",
        "said + hello",
        "he'",
        "hello;",
        "hello --",
        "hello\\",
        "hello\u{ff07}me",
        "hello\u{ff3c}",
        "hello\u{fe68}me",
    ] {
        assert!(is_found(&alice, query).await, "{query}");
    }
    for query in ["content:hello", "hello NOT goodbye", "goodbye OR hello", "nothing\" OR \"hello"] {
        assert!(!is_found(&alice, query).await, "{query}");
    }
    for query in ["\"", "*", "()", "--", " ", "🙂", "\u{301}", "“”"] {
        assert!(!is_found(&alice, query).await, "{query} holds no word");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_own_conversations_are_searched() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let (shared, other, private) = (alice.open("", &[&bob]).await, bob.open("", &[]).await, alice.open("", &[]).await);
    alice.say(&shared, "hello shared").await;
    bob.say(&other, "hello other").await;
    alice.say(&private, "hello private").await;

    let mut found = search(&bob, "hello", |_| ()).await.0;
    found.sort();
    assert_eq!(found, ["hello other", "hello shared"]);
    let in_shared = search(&bob, "hello", |request| request.conversation_id = shared.clone()).await.0;
    assert_eq!(in_shared, ["hello shared"]);
    for conversation_id in [private, uuid()] {
        let request = SearchMessagesRequest { query: "hello".into(), conversation_id, ..Default::default() };
        let refused = bob.conversations().search_messages(request).await;
        assert_eq!(reason(refused), (Code::NotFound, "NOT_FOUND".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_match_comes_first_and_deleted_ones_not_at_all() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    alice.say(&chat, "tea and a great many other things that have nothing to do with it").await;
    let best = alice.say(&chat, "tea tea tea").await;
    let off_path = alice.say(&chat, "a tea").await;
    alice.edit(&chat, &off_path, "a coffee").await;
    let found = search(&alice, "tea", |_| ()).await.0;
    assert_eq!(found[..2], ["tea tea tea", "a tea"], "off the path too");
    assert_eq!(found.len(), 3);

    let request = colloquy::proto::DeleteMessageRequest { conversation_id: chat.clone(), message_id: best.clone() };
    alice.conversations().delete_message(request).await.unwrap();
    assert_eq!(search(&alice, "tea", |_| ()).await.0.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_while_messages_come() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    for number in 0..9 {
        alice.say(&chat, &format!("tea {number}")).await;
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let (texts, next) = search(&alice, "tea", |request| {
            (request.page_size, request.page_token) = (2, token.clone());
        })
        .await;
        seen.extend(texts);
        if next.is_empty() {
            break;
        }
        token = next;
        // Every rank shifts as the store grows; the messages are ranked equal all the same.
        for _ in 0..5 {
            alice.say(&chat, "something else that is rather long, about coffee").await;
        }
    }
    let expected: Vec<_> = (0..9).rev().map(|number| format!("tea {number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_search_is_named() {
    let alice = Server::start().await.register("alice").await;
    let request = SearchMessagesRequest { query: "tea".into(), ..Default::default() };
    for (faulty, field) in [
        (SearchMessagesRequest { query: String::new(), ..request.clone() }, "query"),
        (SearchMessagesRequest { query: "x".repeat(257), ..request.clone() }, "query"),
        (SearchMessagesRequest { query: "a\0b".into(), ..request.clone() }, "query"),
        (SearchMessagesRequest { conversation_id: "x".into(), ..request.clone() }, "conversation_id"),
        (SearchMessagesRequest { page_size: 101, ..request.clone() }, "page_size"),
        (SearchMessagesRequest { page_token: "YWZ0ZXI6MQ".into(), ..request.clone() }, "page_token"),
    ] {
        assert_eq!(violations(alice.conversations().search_messages(faulty).await), [field]);
    }
}

async fn is_found(actor: &Actor, query: &str) -> bool {
    !search(actor, query, |_| ()).await.0.is_empty()
}

async fn search(actor: &Actor, query: &str, ask: impl FnOnce(&mut SearchMessagesRequest)) -> (Vec<String>, String) {
    let mut request = SearchMessagesRequest { query: query.to_owned(), ..Default::default() };
    ask(&mut request);
    let SearchMessagesResponse { messages, next_page_token } =
        actor.conversations().search_messages(request).await.unwrap().into_inner();
    (messages.into_iter().map(|message| message.content).collect(), next_page_token)
}
