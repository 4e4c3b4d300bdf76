//! What ends on one node ends on another within 5 s, even when no signal passes between them: the store has the last word.

use std::{future::Future, time::Duration};

use colloquy::proto::{
    ChangePasswordRequest, DeleteConversationRequest, DeleteMeRequest, ListSessionsRequest, RemoveMemberRequest,
    RevokeSessionRequest,
};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Actor, PASSWORD, RedisServer, Server, Socket, eventually};

/// How long an end may take to be felt on another node.
const FELT_WITHIN: Duration = Duration::from_secs(5);

async fn felt<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(FELT_WITHIN, future).await.unwrap_or_else(|_| panic!("not within {FELT_WITHIN:?}: {what}"))
}

/// Two nodes that share nothing but the database.
async fn strangers() -> (Server, Server) {
    let alone = [("redis_url", "")];
    let here = Server::with(&alone).await;
    let there = here.beside(&alone).await;
    (here, there)
}

/// Ends the session of another device of the same user.
async fn revoke(actor: &Actor, device: &Actor) {
    let list = ListSessionsRequest { page_size: 0, page_token: String::new() };
    let sessions = device.auth().list_sessions(list).await.unwrap().into_inner().sessions;
    let session_id = sessions.into_iter().find(|session| session.current).unwrap().id;
    actor.auth().revoke_session(RevokeSessionRequest { session_id }).await.unwrap();
}

/// A socket that has joined a conversation.
async fn joined(actor: &Actor, conversation: &str) -> Socket {
    let mut socket = Socket::open(&actor.socket_url(&format!("/{conversation}"))).await;
    socket.until("subscription.confirmed").await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_end_with_their_sessions_on_a_node_that_hears_no_signals() {
    let (here, there) = strangers().await;
    let (alice, bob, carol) = (here.register("alice").await, here.register("bob").await, here.register("carol").await);
    let phone = alice.login("alice", PASSWORD).await.unwrap();
    let (mut stays, mut revoked) = (alice.at(&there).socket().await, phone.at(&there).socket().await);
    revoke(&alice, &phone).await;
    assert_eq!(felt("a revoked session", revoked.close_code()).await, 1008);

    let phone = bob.login("bob", PASSWORD).await.unwrap();
    let mut changed = phone.at(&there).socket().await;
    let change = ChangePasswordRequest { current_password: PASSWORD.into(), new_password: "battery staple".into() };
    bob.users().change_password(change).await.unwrap();
    assert_eq!(felt("a changed password", changed.close_code()).await, 1008);

    let mut deleted = carol.at(&there).socket().await;
    carol.users().delete_me(DeleteMeRequest {}).await.unwrap();
    assert_eq!(felt("a deleted account", deleted.close_code()).await, 1008);

    stays.ask("p1", "ping", json!({})).await;
    assert_eq!(stays.answer_to("p1").await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_end_with_memberships_on_a_node_that_hears_no_signals() {
    let (here, there) = strangers().await;
    let (alice, bob) = (here.register("alice").await, here.register("bob").await);
    let (kept, left, deleted) = (alice.conversation().await, alice.conversation().await, alice.conversation().await);
    for conversation in [&kept, &left, &deleted] {
        alice.add(conversation, &bob, "member").await;
    }
    let there = bob.at(&there);
    let (mut stays, mut removed) = (joined(&there, &kept).await, joined(&there, &left).await);
    let mut gone = joined(&there, &deleted).await;
    let user_id = bob.me().await.unwrap().id;
    let removal = RemoveMemberRequest { conversation_id: left.clone(), user_id };
    alice.conversations().remove_member(removal).await.unwrap();
    let frame = felt("a removed member", removed.until("subscription.removed")).await;
    assert_eq!(frame["data"]["topics"], json!([format!("conversation:{left}")]), "{frame}");
    let deletion = DeleteConversationRequest { conversation_id: deleted };
    alice.conversations().delete_conversation(deletion).await.unwrap();
    felt("a deleted conversation", gone.until("subscription.removed")).await;

    // What is said where bob still is reaches him.
    stays.ask("m1", "message", json!({ "content": "hello", "reply": false })).await;
    assert_eq!(stays.answer_to("m1").await["type"], "message.accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_alone_lost_redis_still_ends_sessions_elsewhere() {
    let (mut lost, kept) = (RedisServer::start().await, RedisServer::start().await);
    let here = Server::with(&[("redis_url", &lost.url())]).await;
    let there = here.beside(&[("redis_url", &kept.url())]).await;
    let alice = here.register("alice").await;
    let mut socket = alice.at(&there).socket().await;
    let live = async || alice.get("/api/health/detailed").await.1["components"]["live"]["status"].clone();
    eventually("live is well", async || live().await == "ok").await;
    lost.stop().await;
    eventually("live is not well", async || live().await == "unavailable").await;
    alice.post("/api/v1/auth/logout", json!({})).await;
    assert_eq!(felt("the end of the session", socket.close_code()).await, 1008);
}
