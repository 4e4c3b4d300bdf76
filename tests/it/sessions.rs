//! Sessions: refresh, reuse, ends, tickets.

use colloquy::proto::{
    ChangePasswordRequest, IssueTicketRequest, ListSessionsRequest, ListSessionsResponse, LogoutRequest,
    RevokeSessionRequest,
};
use tonic::Code;

use crate::harness::{Actor, PASSWORD, Server, Socket, eventually, reason, violations};

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_brings_a_new_pair_and_keeps_the_session() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let before = sessions(&alice, 0, "").await.sessions.remove(0);

    let refreshed = alice.refresh().await.unwrap();
    assert_ne!(refreshed.refresh_token, alice.refresh_token);
    assert_ne!(refreshed.access_token, alice.access_token);

    let after = sessions(&refreshed, 0, "").await.sessions.remove(0);
    assert_eq!(before.id, after.id);
    assert!(time_of(after.last_used_at) > time_of(before.last_used_at));
    assert!(time_of(after.expires_at) > time_of(before.expires_at));
    refreshed.refresh().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn showing_a_used_refresh_token_ends_the_session_for_both() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let other = alice.login("alice", PASSWORD).await.unwrap();
    let thief = alice.clone();
    let alice = alice.refresh().await.unwrap();

    let refused = thief.refresh().await.map(drop);
    assert_eq!(reason(refused), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
    assert_eq!(alice.me().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.refresh().await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    other.me().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_refreshes_at_once_one_wins() {
    let server = Server::start().await;
    let other_node = server.beside(&[]).await;
    let alice = server.register("alice").await;
    let tries: Vec<_> = (0..8)
        .map(|nth| {
            let alice = alice.at(if nth % 2 == 0 { &server } else { &other_node });
            tokio::spawn(async move { alice.refresh().await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for attempt in tries {
        won += usize::from(attempt.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(server.data().number("(SELECT count(*) FROM sessions)"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_refresh_token_refreshes_nothing() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for wrong in ["", "clq_rt_", &alice.access_token] {
        let refused = alice.with_refresh_token(wrong).refresh().await;
        assert_eq!(refused.map(drop).unwrap_err().code(), Code::Unauthenticated);
    }
    alice.refresh().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_by_itself_when_it_is_not_refreshed() {
    let server = Server::with(&[("access_token_ttl", "7200"), ("refresh_token_ttl", "3600")]).await;
    let alice = server.register("alice").await;
    let later = server.beside(&[("access_token_ttl", "7200"), ("clock_ahead_micros", "3601000000")]).await;
    assert_eq!(alice.at(&later).me().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.at(&later).refresh().await.map(drop).unwrap_err().code(), Code::Unauthenticated);

    let back = alice.at(&later).login("alice", PASSWORD).await.unwrap();
    assert_eq!(sessions(&back, 0, "").await.sessions.len(), 1);
    assert_eq!(server.data().number("(SELECT count(*) FROM sessions)"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_callers_session_and_no_other() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let other = alice.login("alice", PASSWORD).await.unwrap();
    alice.auth().logout(LogoutRequest {}).await.unwrap();

    assert_eq!(alice.me().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.refresh().await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    other.me().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_newest_first_by_page() {
    let server = Server::start().await;
    let mut alice = server.register("alice").await;
    server.register("bob").await;
    for address in ["198.51.100.1", "198.51.100.2"] {
        alice = alice.from(address).login("alice", PASSWORD).await.unwrap();
    }

    let first = sessions(&alice, 2, "").await;
    let seen: Vec<_> = first.sessions.iter().map(|session| (session.address.as_str(), session.current)).collect();
    assert_eq!(seen, [("198.51.100.2", true), ("198.51.100.1", false)]);
    assert_eq!(first.sessions[0].user_agent, "tests");

    let last = sessions(&alice, 2, &first.next_page_token).await;
    assert_eq!(last.sessions.len(), 1);
    assert_eq!(last.next_page_token, "");

    let foreign = ListSessionsRequest { page_size: 0, page_token: "bm90IGEga2V5".into() };
    assert_eq!(violations(alice.auth().list_sessions(foreign).await), ["page_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ones_own_sessions_can_be_ended() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let phone = alice.login("alice", PASSWORD).await.unwrap();
    let bob = server.register("bob").await;
    let session_id = sessions(&phone, 0, "").await.sessions.remove(0).id;

    let request = RevokeSessionRequest { session_id: session_id.clone() };
    assert_eq!(reason(bob.auth().revoke_session(request.clone()).await), (Code::NotFound, "NOT_FOUND".into()));
    phone.me().await.unwrap();

    alice.auth().revoke_session(request.clone()).await.unwrap();
    assert_eq!(phone.me().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.auth().revoke_session(request).await.unwrap_err().code(), Code::NotFound);
    alice.me().await.unwrap();

    let malformed = RevokeSessionRequest { session_id: "mine".into() };
    assert_eq!(violations(alice.auth().revoke_session(malformed).await), ["session_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_connections_hear_of_an_end_at_once_here_and_soon_elsewhere() {
    let server = Server::start().await;
    let other_node = server.beside(&[]).await;
    let alice = server.register("alice").await;
    alice.at(&other_node).me().await.unwrap();
    let mut socket = alice.socket().await;

    alice.auth().logout(LogoutRequest {}).await.unwrap();
    assert_eq!(socket.close_code().await, 1008);
    assert_eq!(alice.me().await.unwrap_err().code(), Code::Unauthenticated);
    eventually("the other node knows", async || alice.at(&other_node).me().await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_every_session_but_the_callers() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let phone = alice.login("alice", PASSWORD).await.unwrap();
    change_password(&alice, PASSWORD, "battery staple").await.unwrap();

    alice.me().await.unwrap();
    alice.refresh().await.unwrap();
    assert_eq!(phone.me().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(phone.refresh().await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.login("alice", PASSWORD).await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    alice.login("alice", "battery staple").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sign_in_outlives_the_change_of_its_password() {
    let generous = [("sign_in_failures_per_account", "10000"), ("sign_in_failures_per_address", "10000")];
    let server = Server::with(&generous).await;
    let alice = server.register("alice").await;
    // As many as keep every turn at checking passwords taken, before the change, during it and after.
    let sign_ins = (0..6).map(async |_| {
        let mut opened = Vec::new();
        while let Ok(session) = alice.login("alice", PASSWORD).await {
            opened.push(session);
        }
        opened
    });
    let change = change_password(&alice, PASSWORD, "battery staple");
    let (opened, changed) = tokio::join!(futures_util::future::join_all(sign_ins), change);
    changed.unwrap();
    for session in opened.into_iter().flatten() {
        assert_eq!(session.me().await.unwrap_err().code(), Code::Unauthenticated);
    }
    alice.me().await.unwrap();
    assert_eq!(server.data().rows()["sessions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_of_one_password_the_second_is_refused() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (one, other) = tokio::join!(
        change_password(&alice, PASSWORD, "battery staple"),
        change_password(&alice, PASSWORD, "staple battery")
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(reason(one.and(other)), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_people_who_never_come_back_are_cleared() {
    let server = Server::with(&[("refresh_token_ttl", "3600")]).await;
    for name in ["alice", "bob"] {
        server.register(name).await;
    }
    let later = server.beside(&[("clock_ahead_micros", "3601000000")]).await;
    eventually("they are gone", async || later.data().rows()["sessions"] == 0).await;
    assert_eq!(later.data().rows()["refresh_tokens"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_session_cannot_guess_the_password() {
    let server = Server::with(&[("sign_in_failures_per_account", "2")]).await;
    let thief = server.register("alice").await;
    assert_eq!(violations(change_password(&thief, PASSWORD, "short").await), ["new_password"]);
    for guess in ["guess one", "guess two"] {
        let refused = change_password(&thief, guess, "battery staple").await;
        assert_eq!(reason(refused), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
    }
    let held_back = change_password(&thief, PASSWORD, "battery staple").await;
    assert_eq!(reason(held_back), (Code::ResourceExhausted, "RATE_LIMIT_EXCEEDED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_connection_and_nothing_else() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (ticket, expires_in) = issue_ticket(&alice).await;
    assert_eq!(expires_in, 30);
    assert_eq!(alice.with_token(&ticket).me().await.unwrap_err().code(), Code::Unauthenticated);

    let mut socket = Socket::open(&url(&server, &ticket)).await;
    let established = socket.until("connection.established").await;
    assert_eq!(established["data"]["user_id"], alice.me().await.unwrap().id);
    assert_eq!(Socket::open(&url(&server, &ticket)).await.close_code().await, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_with_its_time_and_with_its_session() {
    let hurried = Server::with(&[("ticket_ttl", "0")]).await;
    let (ticket, _) = issue_ticket(&hurried.register("alice").await).await;
    assert_eq!(Socket::open(&url(&hurried, &ticket)).await.close_code().await, 1008);

    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (ticket, _) = issue_ticket(&alice).await;
    alice.auth().logout(LogoutRequest {}).await.unwrap();
    assert_eq!(Socket::open(&url(&server, &ticket)).await.close_code().await, 1008);
}

async fn sessions(actor: &Actor, page_size: i32, page_token: &str) -> ListSessionsResponse {
    let request = ListSessionsRequest { page_size, page_token: page_token.to_owned() };
    actor.auth().list_sessions(request).await.unwrap().into_inner()
}

async fn change_password(actor: &Actor, current: &str, new: &str) -> Result<(), tonic::Status> {
    let request = ChangePasswordRequest { current_password: current.into(), new_password: new.into() };
    actor.users().change_password(request).await.map(drop)
}

fn url(server: &Server, ticket: &str) -> String {
    format!("ws://{}/api/v1/ws?ticket={ticket}", server.http())
}

async fn issue_ticket(actor: &Actor) -> (String, i64) {
    let answer = actor.auth().issue_ticket(IssueTicketRequest {}).await.unwrap().into_inner();
    (answer.ticket, answer.expires_in)
}

fn time_of(at: Option<prost_types::Timestamp>) -> (i64, i32) {
    at.map(|at| (at.seconds, at.nanos)).unwrap()
}
