//! Conversations: made, seen, changed, deleted.

mod contexts;
mod exports;
mod history;
mod markup;
mod members;
mod paths;
mod roles;
mod search;
mod stage;

use colloquy::proto::{
    Conversation, CreateConversationRequest, DeleteConversationRequest, ListConversationsRequest,
    ListConversationsResponse, MemberRole, OnBusy, UpdateConversationRequest,
};
use tonic::Code;

use self::stage::{Actor, Server};
use crate::harness::{reason, violations};

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_belongs_to_who_made_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let request = CreateConversationRequest {
        title: "Plans".into(),
        model: Some("echo".into()),
        on_busy: OnBusy::Reject.into(),
        member_ids: vec![bob.id.clone(), alice.id.clone(), bob.id.clone()],
    };
    let made = alice.conversations().create_conversation(request).await.unwrap().into_inner().conversation.unwrap();
    assert_eq!((made.title.as_str(), made.model.as_deref()), ("Plans", Some("echo")));
    assert_eq!((made.on_busy(), made.role(), made.last_seq), (OnBusy::Reject, MemberRole::Owner, 0));
    assert_eq!(made.head_message_id, None);

    assert_eq!(alice.see(&made.id).await.unwrap(), made);
    let as_bob = Conversation { role: MemberRole::Member.into(), ..made };
    assert_eq!(bob.see(&as_bob.id).await.unwrap(), as_bob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_needs_nothing_to_be_made() {
    let alice = Server::start().await.register("alice").await;
    let made = alice.see(&alice.open("", &[]).await).await.unwrap();
    assert_eq!((made.title.as_str(), made.model.as_deref(), made.on_busy()), ("", None, OnBusy::Queue));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_conversation_is_named_field_by_field() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let faulty = CreateConversationRequest {
        title: "x".repeat(256),
        model: Some("acme/unknown".into()),
        member_ids: vec![server.register("bob").await.id; 101],
        ..Default::default()
    };
    let fields = violations(alice.conversations().create_conversation(faulty).await);
    assert_eq!(fields, ["title", "model", "member_ids"]);

    for (faulty, field) in [
        (CreateConversationRequest { title: "a\0b".into(), ..Default::default() }, "title"),
        (CreateConversationRequest { on_busy: 9, ..Default::default() }, "on_busy"),
        (CreateConversationRequest { member_ids: vec!["bob".into()], ..Default::default() }, "member_ids"),
        (CreateConversationRequest { member_ids: vec![uuid()], ..Default::default() }, "member_ids"),
    ] {
        assert_eq!(violations(alice.conversations().create_conversation(faulty).await), [field]);
    }
    assert_eq!(server.number("(SELECT count(*) FROM conversations)"), 0, "nothing is left of what was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_touches_what_is_set() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("Plans", &[]).await;
    let before = alice.see(&chat).await.unwrap();

    let change = |change: UpdateConversationRequest| {
        let change = UpdateConversationRequest { conversation_id: chat.clone(), ..change };
        let mut client = alice.conversations();
        async move { client.update_conversation(change).await.map(|changed| changed.into_inner().conversation.unwrap()) }
    };
    let retitled =
        change(UpdateConversationRequest { title: Some("Trips".into()), ..Default::default() }).await.unwrap();
    assert_eq!((retitled.title.as_str(), retitled.on_busy()), ("Trips", OnBusy::Queue));
    assert_ne!(retitled.updated_at, before.updated_at);

    let model = UpdateConversationRequest { model: Some("echo".into()), ..Default::default() };
    assert_eq!(change(model).await.unwrap().model.as_deref(), Some("echo"));
    let busy = UpdateConversationRequest { on_busy: OnBusy::Replace.into(), ..Default::default() };
    assert_eq!(change(busy).await.unwrap().on_busy(), OnBusy::Replace);
    let cleared =
        UpdateConversationRequest { title: Some(String::new()), model: Some(String::new()), ..Default::default() };
    let cleared = change(cleared).await.unwrap();
    assert_eq!((cleared.title.as_str(), cleared.model.as_deref(), cleared.on_busy()), ("", None, OnBusy::Replace));
    assert_eq!(alice.see(&chat).await.unwrap(), cleared);

    let faulty = UpdateConversationRequest {
        title: Some("x".repeat(256)),
        model: Some("acme/unknown".into()),
        ..Default::default()
    };
    assert_eq!(violations(change(faulty).await), ["title", "model"]);
    assert_eq!(alice.see(&chat).await.unwrap(), cleared, "nothing of a refused change is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_conversation_is_gone_with_all_that_was_in_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let chat = alice.open("Plans", &[&bob]).await;
    alice.say(&chat, "hello").await;
    server.begin_answer(&chat, &["well"]);
    let mut live = bob.watch(&chat).await;

    let request = DeleteConversationRequest { conversation_id: chat.clone() };
    alice.conversations().delete_conversation(request).await.unwrap();
    live.until("subscription.removed").await;
    assert_eq!(reason(bob.see(&chat).await), (Code::NotFound, "NOT_FOUND".into()));
    for table in ["conversations", "members", "messages", "run_chunks"] {
        assert_eq!(server.number(&format!("(SELECT count(*) FROM {table})")), 0, "{table}");
    }
    server.check_search();
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_come_by_latest_activity_page_by_page() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut chats = Vec::new();
    for title in ["a", "b", "c", "d", "e"] {
        chats.push(alice.open(title, &[]).await);
        bob.open("not alice's", &[]).await;
    }
    let rename = UpdateConversationRequest {
        conversation_id: chats[1].clone(),
        title: Some("b, lately".into()),
        ..Default::default()
    };
    alice.conversations().update_conversation(rename).await.unwrap();

    let (first, token) = titles(&alice, 2, "").await;
    assert_eq!(first, ["b, lately", "e"]);
    alice.open("newest", &[]).await;
    let (second, token) = titles(&alice, 2, &token).await;
    assert_eq!(second, ["d", "c"], "what comes in between moves nothing");
    let (third, token) = titles(&alice, 2, &token).await;
    assert_eq!((third, token.as_str()), (vec!["a".to_owned()], ""));

    let (all, token) = titles(&alice, 6, "").await;
    assert_eq!((all.len(), token.as_str()), (6, ""), "a page that is just full is the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_a_size_and_a_token_of_its_own_list() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for number in 0..21 {
        alice.open(&number.to_string(), &[]).await;
    }
    let (page, token) = titles(&alice, 0, "").await;
    assert_eq!(page.len(), 20);
    assert_eq!(titles(&alice, 100, &token).await.0, ["0"]);

    for (page_size, page_token, field) in
        [(101, "", "page_size"), (-1, "", "page_size"), (0, "&", "page_token"), (0, "YWZ0ZXI6MQ", "page_token")]
    {
        let request = ListConversationsRequest { page_size, page_token: page_token.into() };
        assert_eq!(violations(alice.conversations().list_conversations(request).await), [field]);
    }
}

async fn titles(actor: &Actor, page_size: i32, page_token: &str) -> (Vec<String>, String) {
    let request = ListConversationsRequest { page_size, page_token: page_token.to_owned() };
    let ListConversationsResponse { conversations, next_page_token } =
        actor.conversations().list_conversations(request).await.unwrap().into_inner();
    (conversations.into_iter().map(|conversation| conversation.title).collect(), next_page_token)
}

/// The id of nothing.
fn uuid() -> String {
    "01900000-0000-7000-8000-000000000000".to_owned()
}
