//! Members: joining, roles, leaving, and how far they have read.

use colloquy::proto::{
    AddMemberRequest, DeleteConversationRequest, ListMembersRequest, ListMembersResponse, MarkReadRequest, MemberRole,
    RemoveMemberRequest,
};
use serde_json::json;
use tonic::{Code, Status};

use super::{
    stage::{Actor, Server},
    uuid,
};
use crate::harness::{reason, violations};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_added_changed_and_removed() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let chat = alice.open("", &[]).await;

    let request = AddMemberRequest { conversation_id: chat.clone(), user_id: bob.id.clone(), role: 0 };
    let added = alice.conversations().add_member(request).await.unwrap().into_inner().member.unwrap();
    assert_eq!((added.user_id.as_str(), added.username.as_str()), (bob.id.as_str(), "bob"));
    assert_eq!((added.role(), added.last_read_seq), (MemberRole::Member, 0));

    alice.add(&chat, &bob, MemberRole::Viewer).await.unwrap();
    assert_eq!(bob.see(&chat).await.unwrap().role(), MemberRole::Viewer);
    let (members, _) = names(&alice, &chat, 0, "").await;
    assert_eq!(members, ["alice", "bob"], "a change of role is no second joining");

    let mut live = bob.watch(&chat).await;
    remove(&alice, &chat, &bob.id).await.unwrap();
    live.until("subscription.removed").await;
    assert_eq!(bob.see(&chat).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(reason(remove(&alice, &chat, &bob.id).await), (Code::NotFound, "NOT_FOUND".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_users_become_members() {
    let alice = Server::start().await.register("alice").await;
    let conversation_id = alice.open("", &[]).await;
    let nobody = AddMemberRequest { conversation_id: conversation_id.clone(), user_id: uuid(), role: 0 };
    let refused = alice.conversations().add_member(nobody).await;
    assert_eq!(reason(refused), (Code::NotFound, "NOT_FOUND".into()));
    let unknown = AddMemberRequest { conversation_id, user_id: alice.id.clone(), role: 9 };
    assert_eq!(violations(alice.conversations().add_member(unknown).await), ["role"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_leaves_but_the_last_owner() {
    let server = Server::start().await;
    let (alice, bob, carol) =
        (server.register("alice").await, server.register("bob").await, server.register("carol").await);
    let chat = alice.open("", &[&bob, &carol]).await;
    let last = (Code::FailedPrecondition, "FAILED_PRECONDITION".into());

    alice.add(&chat, &carol, MemberRole::Viewer).await.unwrap();
    remove(&carol, &chat, &carol.id).await.unwrap();
    assert_eq!(reason(remove(&alice, &chat, &alice.id).await), last);
    assert_eq!(reason(alice.add(&chat, &alice, MemberRole::Member).await), last);
    assert_eq!(alice.see(&chat).await.unwrap().role(), MemberRole::Owner);

    alice.add(&chat, &bob, MemberRole::Owner).await.unwrap();
    alice.add(&chat, &alice, MemberRole::Member).await.unwrap();
    remove(&alice, &chat, &alice.id).await.unwrap();
    assert_eq!(reason(remove(&bob, &chat, &bob.id).await), last);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_leave_at_once_one_stays() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    for _ in 0..10 {
        let chat = alice.open("", &[]).await;
        alice.add(&chat, &bob, MemberRole::Owner).await.unwrap();
        let (first, second) = tokio::join!(remove(&alice, &chat, &alice.id), remove(&bob, &chat, &bob.id));
        assert!(first.is_ok() != second.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_demoted_cannot_take_it_back_in_the_same_moment() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    for _ in 0..10 {
        let chat = alice.open("", &[]).await;
        alice.add(&chat, &bob, MemberRole::Owner).await.unwrap();
        let (demoted, promoted) =
            tokio::join!(alice.add(&chat, &bob, MemberRole::Viewer), bob.add(&chat, &bob, MemberRole::Owner));
        demoted.unwrap();
        assert_eq!(bob.see(&chat).await.unwrap().role(), MemberRole::Viewer, "{promoted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_what_is_being_deleted() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    for _ in 0..10 {
        let chat = alice.open("", &[]).await;
        alice.add(&chat, &bob, MemberRole::Owner).await.unwrap();
        let request = DeleteConversationRequest { conversation_id: chat.clone() };
        let mut client = alice.conversations();
        let (deleted, added) =
            tokio::join!(client.delete_conversation(request), bob.add(&chat, &alice, MemberRole::Owner));
        deleted.unwrap();
        if let Err(refused) = added {
            assert_eq!((refused.code(), refused.message()), (Code::NotFound, "no such conversation"));
        }
        assert_eq!(bob.see(&chat).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_in_the_order_in_which_they_joined_page_by_page() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let chat = alice.open("", &[]).await;
    for name in ["zoe", "bob", "mallory"] {
        alice.add(&chat, &server.register(name).await, MemberRole::Member).await.unwrap();
    }
    let (first, token) = names(&alice, &chat, 2, "").await;
    assert_eq!(first, ["alice", "zoe"]);
    alice.add(&chat, &server.register("late").await, MemberRole::Member).await.unwrap();
    let (second, token) = names(&alice, &chat, 2, &token).await;
    assert_eq!(second, ["bob", "mallory"]);
    assert_eq!(names(&alice, &chat, 2, &token).await, (vec!["late".to_owned()], String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_marker_moves_forward_within_what_there_is() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let chat = alice.open("", &[&bob]).await;
    for _ in 0..3 {
        alice.say(&chat, "hello").await;
    }
    let mut live = alice.watch(&chat).await;
    assert_eq!(mark_read(&bob, &chat, 2).await.unwrap(), 2);
    assert_eq!(mark_read(&bob, &chat, 1).await.unwrap(), 2);
    assert_eq!(mark_read(&bob, &chat, 2).await.unwrap(), 2);
    assert_eq!(violations(mark_read(&bob, &chat, 4).await), ["seq"]);
    assert_eq!(violations(mark_read(&bob, &chat, -1).await), ["seq"]);
    assert_eq!(bob.see(&chat).await.unwrap().last_read_seq, 2);
    assert_eq!(alice.see(&chat).await.unwrap().last_read_seq, 0);

    mark_read(&bob, &chat, 3).await.unwrap();
    for seq in [2, 3] {
        let told = live.until("read").await;
        assert_eq!((&told["data"]["user_id"], &told["data"]["seq"]), (&json!(bob.id), &json!(seq)), "one event a move");
    }
}

async fn remove(actor: &Actor, chat: &str, user_id: &str) -> Result<(), Status> {
    let request = RemoveMemberRequest { conversation_id: chat.to_owned(), user_id: user_id.to_owned() };
    actor.conversations().remove_member(request).await.map(drop)
}

async fn mark_read(actor: &Actor, chat: &str, seq: i64) -> Result<i64, Status> {
    let request = MarkReadRequest { conversation_id: chat.to_owned(), seq };
    Ok(actor.conversations().mark_read(request).await?.into_inner().seq)
}

async fn names(actor: &Actor, chat: &str, page_size: i32, page_token: &str) -> (Vec<String>, String) {
    let request = ListMembersRequest { conversation_id: chat.to_owned(), page_size, page_token: page_token.to_owned() };
    let ListMembersResponse { members, next_page_token } =
        actor.conversations().list_members(request).await.unwrap().into_inner();
    (members.into_iter().map(|member| member.username).collect(), next_page_token)
}
