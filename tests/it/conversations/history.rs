//! Histories: read page by page, with runs that last, and messages deleted from them.

use colloquy::proto::{DeleteMessageRequest, ListMessagesRequest, ListMessagesResponse, MemberRole, MessageStatus};
use tonic::{Code, Status};

use super::{
    stage::{Actor, Server},
    uuid,
};
use crate::harness::{reason, violations};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cursor_the_latest_messages_come_and_then_the_older_ones() {
    let (_server, alice, chat) = numbered(5).await;
    let latest = list(&alice, &chat, |request| request.limit = 2).await;
    assert_eq!((seqs(&latest), latest.has_more), (vec![4, 5], true));
    alice.say(&chat, "6").await;
    let older = list(&alice, &chat, |request| {
        request.page_size = 2;
        request.page_token = latest.next_page_token.clone();
    })
    .await;
    assert_eq!((seqs(&older), older.has_more), (vec![2, 3], true));
    let oldest = list(&alice, &chat, |request| request.page_token = older.next_page_token.clone()).await;
    assert_eq!((seqs(&oldest), oldest.has_more, oldest.next_page_token.as_str()), (vec![1], false, ""));

    let whole = list(&alice, &chat, |request| request.limit = 6).await;
    assert_eq!((seqs(&whole), whole.has_more), (vec![1, 2, 3, 4, 5, 6], false), "just full is the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_leave_no_gap() {
    let (_server, alice, chat) = numbered(7).await;
    let mut forward = Vec::new();
    let mut after = 0;
    loop {
        let page = list(&alice, &chat, |request| (request.after_seq, request.limit) = (Some(after), 3)).await;
        forward.extend(seqs(&page));
        if !page.has_more {
            break;
        }
        after = *forward.last().unwrap();
    }
    assert_eq!(forward, [1, 2, 3, 4, 5, 6, 7]);

    let mut backward = Vec::new();
    let mut before = 8;
    loop {
        let page = list(&alice, &chat, |request| (request.before_seq, request.limit) = (Some(before), 3)).await;
        backward.splice(0..0, seqs(&page));
        if !page.has_more {
            break;
        }
        before = backward[0];
    }
    assert_eq!(backward, [1, 2, 3, 4, 5, 6, 7]);

    let first = list(&alice, &chat, |request| (request.after_seq, request.limit) = (Some(2), 2)).await;
    assert_eq!(seqs(&first), [3, 4]);
    let next = list(&alice, &chat, |request| {
        (request.after_seq, request.limit, request.page_token) = (Some(2), 2, first.next_page_token.clone());
    })
    .await;
    assert_eq!(seqs(&next), [5, 6], "a token goes on in the direction of its cursor");
    assert!(list(&alice, &chat, |request| request.after_seq = Some(7)).await.messages.is_empty());
    assert!(list(&alice, &chat, |request| request.before_seq = Some(1)).await.messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_page_is_named() {
    let (_server, alice, chat) = numbered(1).await;
    let request = ListMessagesRequest { conversation_id: chat, ..Default::default() };
    for (faulty, field) in [
        (ListMessagesRequest { before_seq: Some(1), after_seq: Some(1), ..request.clone() }, "after_seq"),
        (ListMessagesRequest { before_seq: Some(-1), ..request.clone() }, "before_seq"),
        (ListMessagesRequest { after_seq: Some(-1), ..request.clone() }, "after_seq"),
        (ListMessagesRequest { limit: 101, ..request.clone() }, "limit"),
        (ListMessagesRequest { limit: -1, ..request.clone() }, "limit"),
        (ListMessagesRequest { page_size: 101, ..request.clone() }, "page_size"),
        (ListMessagesRequest { limit: 2, page_size: 3, ..request.clone() }, "limit"),
        (ListMessagesRequest { page_token: "x".into(), ..request.clone() }, "page_token"),
        (ListMessagesRequest { page_token: "MTox".into(), ..request.clone() }, "page_token"),
    ] {
        assert_eq!(violations(alice.conversations().list_messages(faulty).await), [field]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lasts_shows_its_text_so_far() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    alice.say(&chat, "hello").await;
    let silent = server.begin_answer(&chat, &[]);
    let writing = server.begin_answer(&chat, &["Grü", "ß ", "Gott"]);

    assert_eq!(alice.texts(&chat).await, ["hello", "", "Grüß Gott"]);
    let seen = alice.read(&chat, &writing).await.unwrap();
    assert_eq!((seen.content.as_str(), seen.status()), ("Grüß Gott", MessageStatus::Streaming));
    assert_eq!(alice.read(&chat, &silent).await.unwrap().status(), MessageStatus::Pending);

    server.end_answer(&writing, "Grüß Gott!");
    assert_eq!(alice.texts(&chat).await, ["hello", "", "Grüß Gott!"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_keeps_its_place() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let chat = alice.open("", &[&bob]).await;
    let message = bob.say(&chat, "oops").await;
    let other = bob.say(&chat, "hello").await;
    let mut live = alice.watch(&chat).await;

    delete(&bob, &chat, &message).await.unwrap();
    delete(&bob, &chat, &message).await.unwrap();
    let seen = alice.read(&chat, &message).await.unwrap();
    assert_eq!((seen.content.as_str(), seen.is_deleted, seen.seq), ("", true, 1));
    assert_eq!(alice.texts(&chat).await, ["", "hello"]);

    delete(&bob, &chat, &other).await.unwrap();
    for id in [&message, &other] {
        assert_eq!(live.until("message.deleted").await["data"]["message_id"], **id, "one event a deletion");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authors_and_owners_delete_messages() {
    let server = Server::start().await;
    let (alice, bob, carol) =
        (server.register("alice").await, server.register("bob").await, server.register("carol").await);
    let chat = alice.open("", &[&bob, &carol]).await;
    let by_bob = bob.say(&chat, "hello").await;
    let answer = server.answer(&chat, "hello");
    let denied = (Code::PermissionDenied, "PERMISSION_DENIED".into());

    assert_eq!(reason(delete(&carol, &chat, &by_bob).await), denied);
    assert_eq!(reason(delete(&bob, &chat, &answer).await), denied);
    alice.add(&chat, &bob, MemberRole::Viewer).await.unwrap();
    assert_eq!(reason(delete(&bob, &chat, &by_bob).await), denied, "who may only read deletes nothing");
    delete(&alice, &chat, &by_bob).await.unwrap();
    delete(&alice, &chat, &answer).await.unwrap();
    assert_eq!(reason(delete(&alice, &chat, &uuid()).await), (Code::NotFound, "NOT_FOUND".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_not_deleted_while_its_run_lasts() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    let answer = server.begin_answer(&chat, &["well"]);
    let refused = delete(&alice, &chat, &answer).await;
    assert_eq!(reason(refused), (Code::FailedPrecondition, "FAILED_PRECONDITION".into()));
    server.end_answer(&answer, "well, no");
    delete(&alice, &chat, &answer).await.unwrap();
}

async fn numbered(last: i64) -> (Server, Actor, String) {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    for seq in 1..=last {
        alice.say(&chat, &seq.to_string()).await;
    }
    (server, alice, chat)
}

async fn list(actor: &Actor, chat: &str, ask: impl FnOnce(&mut ListMessagesRequest)) -> ListMessagesResponse {
    let mut request = ListMessagesRequest { conversation_id: chat.to_owned(), ..Default::default() };
    ask(&mut request);
    actor.conversations().list_messages(request).await.unwrap().into_inner()
}

fn seqs(page: &ListMessagesResponse) -> Vec<i64> {
    page.messages.iter().map(|message| message.seq).collect()
}

async fn delete(actor: &Actor, chat: &str, id: &str) -> Result<(), Status> {
    let request = DeleteMessageRequest { conversation_id: chat.to_owned(), message_id: id.to_owned() };
    actor.conversations().delete_message(request).await.map(drop)
}
