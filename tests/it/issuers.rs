//! Tokens of outside issuers: whom they let in, and the many that they do not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    contract::{Cast, ROWS},
    harness::{ADMIN, AUDIENCE, Actor, ISSUER, Issuer, IssuerKey, PASSWORD, Rpc, Server, Socket, reason, within},
};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// What a good token for somebody says.
fn claims(subject: &str) -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now(), "exp": now() + 600 })
}

/// The same, but for these.
fn but(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn code(actor: &Actor) -> (Code, String) {
    reason(actor.me().await)
}

fn refused() -> (Code, String) {
    (Code::Unauthenticated, "UNAUTHENTICATED".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_vouched_for_is_let_in_and_known_again() {
    let keys = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256].map(|it| IssuerKey::new(&format!("{it:?}"), it));
    let issuer = Issuer::start(&keys.each_ref()).await;
    let server = Server::configured(&issuer.trusted(), &[("registration", "closed")]).await;
    let said =
        json!({ "preferred_username": "ada", "name": "Ada L.", "email": "ada@example.com", "email_verified": true });
    let mut seen = Vec::new();
    for key in &keys {
        let ada = server.visitor().with_token(key.token(&but(claims("ada-1"), said.clone())));
        seen.push(ada.me().await.unwrap());
    }
    let first = &seen[0];
    assert_eq!((first.username.as_str(), first.display_name.as_str()), ("ada", "Ada L."));
    assert_eq!((first.email.as_deref(), first.role().as_str_name()), (Some("ada@example.com"), "USER_ROLE_USER"));
    assert!(seen.iter().all(|user| user == first), "{seen:?}");
    assert_eq!(issuer.fetches(), 1);

    // A list of audiences, and clocks that differ by less than a minute.
    for change in [json!({ "aud": ["other", AUDIENCE] }), json!({ "exp": now() - 30 }), json!({ "nbf": now() + 30 })] {
        let ada = server.visitor().with_token(keys[0].token(&but(claims("ada-1"), change)));
        assert_eq!(ada.me().await.unwrap(), *first);
    }
    let node = server.beside(&[]).await;
    assert_eq!(code(&server.visitor().with_token(keys[0].token(&claims("x"))).at(&node)).await, refused(), "not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_vouched_for_has_sockets_tickets_and_conversations() {
    let key = IssuerKey::new("one", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let server = Server::configured(&issuer.trusted(), &[]).await;
    let ada = server.visitor().with_token(key.token(&but(claims("ada-1"), json!({ "preferred_username": "ada" }))));
    let bob = server.register("bob").await;
    let conversation = bob.conversation().await;
    bob.add(&conversation, &ada, "member").await;
    let mut socket = ada.socket().await;
    socket.ask("m", "message", json!({ "content": "hello", "reply": false, "conversation_id": conversation })).await;
    assert_eq!(socket.answer_to("m").await["type"], "message.accepted");
    let (_, ticket) = ada.post("/api/v1/auth/ticket", json!({})).await;
    let path = format!("ws://{}/api/v1/ws?ticket={}", server.http(), ticket["ticket"].as_str().unwrap());
    let mut by_ticket = Socket::open(&path).await;
    by_ticket.until("connection.established").await;

    let change = json!({ "current_password": "", "new_password": "battery staple" });
    assert_eq!(ada.post("/api/v1/users/me/password", change).await.0, 401, "there is none to change");
    assert!(ada.login("ada", "").await.is_err());
    server.data().sql("UPDATE users SET is_active = false WHERE username = 'ada'");
    assert_eq!(socket.close_code().await, 1008);
    within(Duration::from_secs(5), "the token is refused", async || ada.me().await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_user_may_do_what_any_stranger_may() {
    let key = IssuerKey::new("one", Algorithm::EdDSA);
    let issuer = Issuer::start(&[&key]).await;
    let cast = Cast::on(Server::configured(&issuer.trusted(), &ADMIN).await).await;
    let mut wrong = Vec::new();
    for (at, (name, template, access)) in ROWS.iter().enumerate() {
        let outsider = cast.server.visitor().with_token(key.token(&claims(&format!("subject {at}"))));
        let request = cast.request(template, &cast.callers, 1).await;
        // There is no password to change.
        let expected = if *name == "UserService/ChangePassword" { Code::Unauthenticated } else { access[1] };
        let answer = Rpc::named(name).over_grpc(&outsider, &request).await;
        let got = answer.as_ref().map_or_else(|status| status.code(), |_| Code::Ok);
        wrong.extend((got != expected).then(|| format!("{name}: wanted {expected:?}, got {answer:?}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_wrong_in_any_way_is_refused() {
    let (good, other) = (IssuerKey::new("one", Algorithm::RS256), IssuerKey::new("one", Algorithm::RS256));
    let (curve, secret) = (IssuerKey::new("curve", Algorithm::EdDSA), IssuerKey::new("secret", Algorithm::HS256));
    let mut sealing = IssuerKey::new("sealing", Algorithm::ES256);
    sealing.public["use"] = json!("enc");
    let issuer = Issuer::start(&[&good, &curve, &secret, &sealing]).await;
    let server = Server::configured(&issuer.trusted(), &[]).await;
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let unsigned = |header: Value| format!("{}.{}.", encode(&header), encode(&claims("ada-1")));
    let public = good.public["n"].as_str().unwrap().as_bytes();
    let by_public_key = jsonwebtoken::encode(
        &jsonwebtoken::Header { kid: Some("one".into()), ..jsonwebtoken::Header::new(Algorithm::HS256) },
        &claims("ada-1"),
        &jsonwebtoken::EncodingKey::from_secret(public),
    );
    let tampered = {
        let token = good.token(&claims("ada-1"));
        let parts: Vec<&str> = token.split('.').collect();
        format!("{}.{}.{}", parts[0], encode(&claims("eve")), parts[2])
    };
    let wrong = [
        ("another key of the same name", other.token(&claims("ada-1"))),
        ("another audience", good.token(&but(claims("ada-1"), json!({ "aud": "somebody" })))),
        ("no audience", good.token(&but(claims("ada-1"), json!({ "aud": null })))),
        ("another issuer", good.token(&but(claims("ada-1"), json!({ "iss": "https://evil.example" })))),
        ("expired", good.token(&but(claims("ada-1"), json!({ "exp": now() - 61 })))),
        ("no end", good.token(&but(claims("ada-1"), json!({ "exp": null })))),
        ("not yet", good.token(&but(claims("ada-1"), json!({ "nbf": now() + 90 })))),
        ("no subject", good.token(&but(claims("ada-1"), json!({ "sub": "" })))),
        ("a subject that nobody can store", good.token(&claims("a\u{0}b"))),
        ("alg none", unsigned(json!({ "alg": "none", "kid": "one" }))),
        ("alg None", unsigned(json!({ "alg": "None", "kid": "one" }))),
        ("a public key for a secret", by_public_key.unwrap()),
        ("a symmetric key that is published", secret.token(&claims("ada-1"))),
        ("another hash", good.token_as(Algorithm::RS512, &claims("ada-1"))),
        ("another family", unsigned(json!({ "alg": "EdDSA", "kid": "one" })) + "c2ln"),
        ("a key that does not sign", sealing.token(&claims("ada-1"))),
        ("no key named", unsigned(json!({ "alg": "RS256" })) + "c2ln"),
        ("a key that the token brings", unsigned(json!({ "alg": "RS256", "kid": "x", "jwk": other.public })) + "c2ln"),
        ("tampered with", tampered),
    ];
    for (what, token) in wrong {
        assert_eq!(code(&server.visitor().with_token(token)).await, refused(), "{what}");
    }
    assert_eq!(issuer.fetches(), 1, "nobody makes the server fetch again and again");
    server.visitor().with_token(good.token(&claims("ada-1"))).me().await.unwrap();
    server.visitor().with_token(curve.token(&claims("ada-1"))).me().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_the_account_of_another_by_its_name_or_email() {
    let key = IssuerKey::new("one", Algorithm::EdDSA);
    let issuer = Issuer::start(&[&key]).await;
    let server = Server::configured(&issuer.trusted(), &[]).await;
    let ada = server.register("ada").await.me().await.unwrap();
    let said = json!({ "preferred_username": "ada", "email": "ada@example.com", "email_verified": true });
    let mut names = Vec::new();
    for subject in ["one", "two", "three"] {
        let other = server.visitor().with_token(key.token(&but(claims(subject), said.clone())));
        let other = other.me().await.unwrap();
        assert!(other.id != ada.id && other.username.starts_with("ada-") && other.email.is_none(), "{other:?}");
        names.push(other.username);
    }
    names.dedup();
    assert_eq!(names.len(), 3);
    let unverified = json!({ "email": "new@example.com" });
    let other = server.visitor().with_token(key.token(&but(claims("four"), unverified))).me().await.unwrap();
    assert_eq!(other.email, None);
    // At once, and seen for the first time: one account.
    let eve = server.visitor().with_token(key.token(&claims("five")));
    let seen = futures_util::future::join_all((0..8).map(|_| eve.me())).await;
    let seen: Vec<_> = seen.into_iter().map(|seen| seen.unwrap().id).collect();
    assert!(seen.iter().all(|id| *id == seen[0]), "{seen:?}");
    assert!(server.visitor().login("ada", PASSWORD).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_costs_only_those_whose_key_is_not_known() {
    let (old, new) = (IssuerKey::new("old", Algorithm::ES256), IssuerKey::new("new", Algorithm::ES256));
    let issuer = Issuer::start(&[&old]).await;
    issuer.set_down(true);
    let server = Server::configured(&issuer.trusted(), &[]).await;
    let bob = server.register("bob").await;
    let ada = server.visitor().with_token(old.token(&claims("ada-1")));
    assert_eq!(code(&ada).await, (Code::Unavailable, "UNAVAILABLE".into()));
    assert_eq!(code(&ada).await, (Code::Unavailable, "UNAVAILABLE".into()));
    assert_eq!(issuer.fetches(), 1, "it is left alone for a while");
    bob.me().await.unwrap();

    issuer.set_down(false);
    within(Duration::from_secs(20), "the issuer is asked again", async || ada.me().await.is_ok()).await;
    let fetches = issuer.fetches();
    issuer.publish(vec![old.public.clone(), new.public.clone()]);
    let by_new = server.visitor().with_token(new.token(&claims("ada-1")));
    assert_eq!(code(&by_new).await, refused(), "asked a moment ago");
    assert_eq!(issuer.fetches(), fetches);
    within(Duration::from_secs(20), "the new key is known", async || by_new.me().await.is_ok()).await;
    issuer.set_down(true);
    ada.me().await.unwrap();
    by_new.me().await.unwrap();
}
