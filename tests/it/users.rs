//! Accounts as people see them.

use colloquy::proto::{
    DeleteMeRequest, GetMyUsageRequest, GetMyUsageResponse, GetUserRequest, SearchUsersRequest, SearchUsersResponse,
    UpdateMeRequest,
};
use tonic::{Code, Status};

use crate::harness::{
    Actor, PASSWORD, Server, reason,
    upstream::{Script, Upstream},
    violations,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_changed_field_by_field() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let before = alice.me().await.unwrap();

    let shown = UpdateMeRequest { display_name: Some("Alice L.".into()), ..Default::default() };
    let after = alice.users().update_me(shown).await.unwrap().into_inner().user.unwrap();
    assert_eq!((after.username.as_str(), after.display_name.as_str()), ("alice", "Alice L."));
    assert_eq!(after.email, before.email);

    let renamed = UpdateMeRequest { username: Some("Alicia".into()), ..Default::default() };
    alice.users().update_me(renamed).await.unwrap();
    alice.login("alicia", PASSWORD).await.unwrap();
    assert!(alice.login("alice", PASSWORD).await.is_err());

    let nameless = UpdateMeRequest { display_name: Some(String::new()), ..Default::default() };
    alice.users().update_me(nameless).await.unwrap();
    assert_eq!(alice.me().await.unwrap().display_name, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_takes_nobody_elses_name_or_email() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    server.register("bob").await;
    let conflicts = [
        UpdateMeRequest { username: Some("BOB".into()), ..Default::default() },
        UpdateMeRequest { email: Some("Bob@example.com".into()), ..Default::default() },
    ];
    for conflict in conflicts {
        let refused = alice.users().update_me(conflict).await;
        assert_eq!(reason(refused), (Code::AlreadyExists, "ALREADY_EXISTS".into()));
    }
    let own = UpdateMeRequest { username: Some("ALICE".into()), ..Default::default() };
    alice.users().update_me(own).await.unwrap();

    let faulty =
        UpdateMeRequest { username: Some("a".into()), email: Some("b".into()), display_name: Some("x".repeat(65)) };
    assert_eq!(violations(alice.users().update_me(faulty).await), ["username", "email", "display_name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_an_account_without_its_email() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await.me().await.unwrap();
    let seen = get_user(&alice, &bob.id).await.unwrap();
    assert_eq!((seen.username.as_str(), seen.email), ("bob", None));

    let nobody = "01890000-0000-7000-8000-000000000000";
    assert_eq!(reason(get_user(&alice, nobody).await), (Code::NotFound, "NOT_FOUND".into()));
    assert_eq!(violations(get_user(&alice, "bob").await), ["user_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_the_beginning_of_their_name() {
    let server = Server::start().await;
    let visitor = server.visitor();
    for name in ["Anna", "an_dy", "an.ton", "an-ja", "bob", "gone-an", "anders"] {
        visitor.register(name).await.unwrap();
    }
    server.data().sql("UPDATE users SET is_active = FALSE WHERE username = 'anders'");
    let bob = visitor.login("bob", PASSWORD).await.unwrap();

    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = search(&bob, "AN", 2, &page_token).await.unwrap();
        assert!(page.users.iter().all(|user| user.email.is_none()));
        found.extend(page.users.into_iter().map(|user| user.username));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ["an-ja", "an.ton", "an_dy", "Anna"]);
    assert_eq!(search(&bob, "an_", 0, "").await.unwrap().users.len(), 1);
    assert_eq!(search(&bob, "%", 0, "").await.unwrap().users, []);
    assert_eq!(violations(search(&bob, "", 0, "").await), ["query"]);
    assert_eq!(violations(search(&bob, "an", 101, "").await), ["page_size"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_along_what_nobody_else_owns() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    server.data().sql(
        "INSERT INTO conversations (id, title, on_busy, last_seq, created_at, updated_at)
         VALUES ('01890000-0000-7000-8000-000000000001', '', 'queue', 0, 'epoch', 'epoch'), ('01890000-0000-7000-8000-000000000002', '', 'queue', 0, 'epoch', 'epoch'), ('01890000-0000-7000-8000-000000000003', '', 'queue', 0, 'epoch', 'epoch');
         INSERT INTO members (conversation_id, user_id, role, last_read_seq, joined_at) SELECT '01890000-0000-7000-8000-000000000001', id, CASE username WHEN 'alice' THEN 'owner' ELSE 'member' END, 0, 'epoch' FROM users;
         INSERT INTO members (conversation_id, user_id, role, last_read_seq, joined_at) SELECT '01890000-0000-7000-8000-000000000002', id, 'owner', 0, 'epoch' FROM users;
         INSERT INTO members (conversation_id, user_id, role, last_read_seq, joined_at) SELECT '01890000-0000-7000-8000-000000000003', id, CASE username WHEN 'bob' THEN 'owner' ELSE 'viewer' END, 0, 'epoch' FROM users;",
    );

    alice.users().delete_me(DeleteMeRequest {}).await.unwrap();
    assert_eq!(server.data().number("(SELECT count(*) FROM conversations WHERE id IN ('01890000-0000-7000-8000-000000000002', '01890000-0000-7000-8000-000000000003'))"), 2);
    assert_eq!(server.data().number("(SELECT count(*) FROM conversations)"), 2);
    assert_eq!(server.data().number("(SELECT count(*) FROM members)"), 2);

    assert_eq!(alice.me().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.refresh().await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.login("alice", PASSWORD).await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    bob.me().await.unwrap();
    server.register("alice").await.me().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_leave_at_once_nothing_is_left() {
    let server = Server::start().await;
    for round in 0..4 {
        let alice = server.register(&format!("alice{round}")).await;
        let bob = server.register(&format!("bob{round}")).await;
        for _ in 0..8 {
            let conversation = alice.conversation().await;
            alice.add(&conversation, &bob, "owner").await;
        }
        let (mut first, mut second) = (alice.users(), bob.users());
        let left = tokio::join!(first.delete_me(DeleteMeRequest {}), second.delete_me(DeleteMeRequest {}));
        assert!(left.0.is_ok() && left.1.is_ok(), "{left:?}");
    }
    let rows = server.data().rows();
    assert_eq!((rows["users"], rows["conversations"], rows["members"]), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_ends_what_others_see_live_of_it() {
    let upstream = Upstream::start(Script::openai().text("well").stall()).await;
    let server = Server::asking(&upstream, &[]).await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "viewer").await;
    let mut socket = bob.socket().await;
    socket.ask("join", "join_session", serde_json::json!({ "session_id": conversation })).await;
    assert_eq!(socket.answer_to("join").await["type"], "subscription.confirmed");
    let (_, answer) = alice.send(&conversation, "hello").await;
    let mut events = bob.resume_chat(&answer, 0).await;
    while events.next().await.expect("the answer goes on").kind != "token" {}

    alice.users().delete_me(DeleteMeRequest {}).await.unwrap();
    upstream.closed(0).await;
    socket.until("subscription.removed").await;
    // A last word, whichever comes first: that the run ended, or that there is nothing any more.
    while events.next().await.is_some() {}
    assert_eq!(server.data().rows()["conversations"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_outlives_the_account_that_asked_for_it() {
    let upstream = Upstream::start(Script::openai().text("well").pause().end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let conversation = bob.conversation().await;
    bob.add(&conversation, &alice, "member").await;
    let (_, answer) = alice.send(&conversation, "hello").await;
    let mut events = bob.resume_chat(&answer, 0).await;
    while events.next().await.expect("the answer goes on").kind != "token" {}
    alice.users().delete_me(DeleteMeRequest {}).await.unwrap();
    upstream.release(1);
    assert_eq!(events.next().await.unwrap().kind, "end");
    assert_eq!(bob.message(&conversation, &answer).await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_summed_by_day_and_model() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    server.register("bob").await;
    server.data().sql(
        "INSERT INTO daily_usage SELECT id, '2026-03-01', 'echo', 1, 2, 1 FROM users;
         INSERT INTO daily_usage SELECT id, '2026-03-02', 'b/model', 10, 20, 3 FROM users;
         INSERT INTO daily_usage SELECT id, '2026-03-02', 'a/model', 100, 200, 5 FROM users;
         INSERT INTO daily_usage SELECT id, '2026-01-01', 'echo', 1000, 2000, 7 FROM users;",
    );
    let seen = |answer: GetMyUsageResponse| {
        let days: Vec<_> = answer.usage.iter().map(|day| format!("{} {}", day.day, day.model)).collect();
        (days.join(", "), answer.input_tokens, answer.output_tokens)
    };

    let month = usage(&alice, "", "2026-03-05").await.unwrap();
    assert_eq!(seen(month), ("2026-03-02 a/model, 2026-03-02 b/model, 2026-03-01 echo".to_owned(), 111, 222));
    let day = usage(&alice, "2026-03-01", "2026-03-01").await.unwrap();
    assert_eq!(seen(day), ("2026-03-01 echo".to_owned(), 1, 2));
    assert_eq!(usage(&alice, "", "2020-01-01").await.unwrap().usage, []);

    assert_eq!(violations(usage(&alice, "yesterday", "").await), ["from"]);
    assert_eq!(violations(usage(&alice, "", "2026-02-30").await), ["to"]);
    assert_eq!(violations(usage(&alice, "2026-03-02", "2026-03-01").await), ["from"]);
    assert_eq!(violations(usage(&alice, "2024-01-01", "2026-01-01").await), ["from"]);
}

async fn get_user(actor: &Actor, user_id: &str) -> Result<colloquy::proto::User, Status> {
    let request = GetUserRequest { user_id: user_id.to_owned() };
    Ok(actor.users().get_user(request).await?.into_inner().user.unwrap())
}

async fn search(actor: &Actor, query: &str, page_size: i32, page_token: &str) -> Result<SearchUsersResponse, Status> {
    let request = SearchUsersRequest { query: query.to_owned(), page_size, page_token: page_token.to_owned() };
    actor.users().search_users(request).await.map(tonic::Response::into_inner)
}

async fn usage(actor: &Actor, from: &str, to: &str) -> Result<GetMyUsageResponse, Status> {
    let request = GetMyUsageRequest { from: from.to_owned(), to: to.to_owned() };
    actor.users().get_my_usage(request).await.map(tonic::Response::into_inner)
}
