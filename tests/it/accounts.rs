//! Sign-up and sign-in.

use colloquy::proto::{LoginRequest, RegisterRequest, UserRole};
use tonic::Code;

use crate::harness::{PASSWORD, Server, eventually, reason, retry_after, violations};

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_can_sign_in_by_name_or_email() {
    let server = Server::start().await;
    let registered = server.visitor().register("Alice").await.unwrap();
    assert_eq!((registered.role(), registered.is_active), (UserRole::User, true));

    for name in ["Alice", "alice", "alice@example.com", "ALICE@EXAMPLE.COM"] {
        let alice = server.visitor().login(name, PASSWORD).await.unwrap();
        assert_eq!(alice.me().await.unwrap(), registered, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_sign_in_holds_tokens_and_their_life() {
    let server = Server::with(&[("access_token_ttl", "60")]).await;
    server.visitor().register("alice").await.unwrap();
    let request = LoginRequest { username: "alice".into(), password: PASSWORD.into() };
    let answer = server.visitor().auth().login(request).await.unwrap().into_inner();
    assert_eq!((answer.token_type.as_str(), answer.expires_in), ("bearer", 60));
    assert!(answer.refresh_token.starts_with("clq_rt_"));
    assert_eq!(answer.user.unwrap().email.as_deref(), Some("alice@example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_only_the_public_calls_answer() {
    let server = Server::start().await;
    assert_eq!(reason(server.visitor().me().await), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_an_email_belong_to_one_account_whatever_their_case() {
    let server = Server::start().await;
    let alice = server.visitor();
    alice.register("alice").await.unwrap();

    for (username, email, taken) in
        [("ALICE", "other@example.com", "username"), ("other", "Alice@Example.COM", "email")]
    {
        let request = RegisterRequest { username: username.into(), email: email.into(), password: PASSWORD.into() };
        let status = alice.auth().register(request).await.unwrap_err();
        assert_eq!(status.message(), format!("this {taken} is already taken"));
        assert_eq!(reason::<()>(Err(status)), (Code::AlreadyExists, "ALREADY_EXISTS".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_at_fault_is_named() {
    let server = Server::start().await;
    let (long_name, long_password) = ("x".repeat(33), "x".repeat(129));
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        ("", "", "", &["username", "email", "password"]),
        ("al", "alice@example.com", PASSWORD, &["username"]),
        ("a lice", "alice@example.com", PASSWORD, &["username"]),
        (&long_name, "alice@example.com", PASSWORD, &["username"]),
        ("alice", "alice", PASSWORD, &["email"]),
        ("alice", "alice@", "short", &["email", "password"]),
        ("alice", "alice@example.com", "seven77", &["password"]),
        ("alice", "alice@example.com", &long_password, &["password"]),
    ];
    for (username, email, password, expected) in cases {
        let request = RegisterRequest { username: username.into(), email: email.into(), password: password.into() };
        assert_eq!(violations(server.visitor().auth().register(request).await), expected, "{username} {email}");
    }
    assert_eq!(server.data().number("(SELECT count(*) FROM users)"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_where_registration_is_closed() {
    let server = Server::with(&[("registration", "closed")]).await;
    assert_eq!(reason(server.visitor().register("alice").await), (Code::PermissionDenied, "PERMISSION_DENIED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_account_answer_alike() {
    let server = Server::start().await;
    server.register("alice").await;
    let wrong = server.visitor().login("alice", "wrong horse").await.map(drop).unwrap_err();
    let unknown = server.visitor().login("nobody", "wrong horse").await.map(drop).unwrap_err();
    assert_eq!((wrong.code(), wrong.message()), (unknown.code(), unknown.message()));
    assert_eq!(wrong.details(), unknown.details());
    assert_eq!(reason::<()>(Err(wrong)), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_hold_an_account_back_whether_or_not_it_exists() {
    let server = Server::with(&[("sign_in_failures_per_account", "2"), ("sign_in_window", "60")]).await;
    server.register("alice").await;
    for name in ["alice", "nobody"] {
        for address in ["192.0.2.10", "192.0.2.11"] {
            let failed = server.visitor().from(address).login(name, "wrong horse").await;
            assert_eq!(failed.map(drop).unwrap_err().code(), Code::Unauthenticated);
        }
        let held_back = server.visitor().from("192.0.2.12").login(name, PASSWORD).await.map(drop);
        let wait = retry_after(held_back).as_secs();
        assert!((50..=60).contains(&wait), "{name}: {wait} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_hold_an_address_back_for_every_account() {
    let server = Server::with(&[("sign_in_failures_per_address", "2")]).await;
    server.register("alice").await;
    let thief = server.visitor().from("198.51.100.7");
    for name in ["bob", "carol"] {
        thief.login(name, "wrong horse").await.map(drop).unwrap_err();
    }
    retry_after(thief.login("alice", PASSWORD).await.map(drop));
    server.visitor().login("alice", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tries_at_once_are_no_way_around_the_limit() {
    let server = Server::with(&[("sign_in_failures_per_account", "3")]).await;
    server.register("alice").await;
    let thief = server.visitor();
    let tries: Vec<_> = (0..12)
        .map(|_| {
            let thief = thief.clone();
            tokio::spawn(async move { thief.login("alice", "wrong horse").await.map(drop).unwrap_err().code() })
        })
        .collect();
    let mut judged = 0;
    for attempt in tries {
        judged += usize::from(attempt.await.unwrap() == Code::Unauthenticated);
    }
    assert_eq!(judged, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_user_neither_signs_in_nor_stays() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    server.data().sql("UPDATE users SET is_active = FALSE");

    assert_eq!(alice.login("alice", PASSWORD).await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(alice.refresh().await.map(drop).unwrap_err().code(), Code::Unauthenticated);
    eventually("the session is refused", async || alice.me().await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_made_once() {
    let admin =
        |password| [("admin_username", "root"), ("admin_email", "root@example.com"), ("admin_password", password)];
    let server = Server::with(&admin(PASSWORD)).await.restart(&admin("another one")).await;
    let root = server.visitor().login("root", PASSWORD).await.unwrap();
    assert_eq!(root.me().await.unwrap().role(), UserRole::Admin);
}
