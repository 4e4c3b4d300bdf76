//! Web Push: whoever is not connected is notified in the browser, and nothing depends on it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    crypto::{CryptoProvider, aws_lc},
};
use reqwest::Method;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::harness::{
    ADMIN, Actor, Browser, PASSWORD, PATIENCE, Push, PushService, RedisServer, Server, Socket, within,
};

const NOTIFICATIONS: &str = "/api/v1/notifications";
const SUBSCRIPTIONS: &str = "/api/v1/notifications/push-subscriptions";
const KEY: &str = "/api/v1/notifications/push-key";
/// The tests' push service is on this machine.
const LOCAL: [(&str, &str); 2] = [("push_private_hosts", "127.0.0.1"), ("push_subject", "mailto:ops@example.com")];

/// A node with an admin, whose pushes reach this machine.
async fn server(settings: &[(&str, &str)]) -> Server {
    Server::with(&[&ADMIN[..], &LOCAL, settings].concat()).await
}

/// Notifies a user, and returns the notification.
async fn notify(root: &Actor, user: &str, title: &str) -> Value {
    let (status, mut body) = root.post(NOTIFICATIONS, json!({ "user_id": user, "title": title })).await;
    assert_eq!(status, 201, "{body}");
    body["notification"].take()
}

async fn register(actor: &Actor, browser: &Browser) -> Value {
    let (status, mut body) = actor.post(SUBSCRIPTIONS, browser.json()).await;
    assert_eq!(status, 201, "{body}");
    body["push_subscription"].take()
}

async fn forget(actor: &Actor, browser: &Browser) -> u16 {
    delete(actor, browser).await.0
}

async fn delete(actor: &Actor, browser: &Browser) -> (u16, Value) {
    let query = Serializer::new(String::new()).append_pair("endpoint", &browser.endpoint).finish();
    actor.ask(Method::DELETE, &format!("{SUBSCRIPTIONS}?{query}")).await
}

async fn id(actor: &Actor) -> String {
    actor.me().await.unwrap().id
}

/// The title that the next push tells a browser.
async fn next_title(service: &PushService, browser: &Browser) -> String {
    let push = service.next().await;
    let told = browser.read(&push).unwrap_or_else(|| panic!("not for this browser: {push:?}"));
    told["title"].as_str().unwrap().to_owned()
}

/// How many browsers a node knows.
fn browsers(server: &Server) -> i64 {
    server.data().number("(SELECT count(*) FROM push_subscriptions)")
}

/// Holds a push's signature to the key that browsers are told, and returns what it claims.
fn claims(push: &Push, key: &str, audience: &str) -> Value {
    let _ = CryptoProvider::install_default(&aws_lc::DEFAULT_PROVIDER);
    let parts = push.headers["authorization"].strip_prefix("vapid t=").unwrap();
    let (token, shown) = parts.split_once(", k=").unwrap();
    assert_eq!(shown, key);
    let point = URL_SAFE_NO_PAD.decode(key).unwrap();
    assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point");
    let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["aud", "exp"]);
    let key = DecodingKey::from_ec_components(&x, &y).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_connected_is_told_in_the_browser_alone_and_by_us() {
    let (service, server) = (PushService::start().await, server(&[]).await);
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let (status, key) = alice.get(KEY).await;
    assert_eq!(status, 200, "{key}");
    let browser = service.browser("alice-1");
    let subscription = register(&alice, &browser).await;
    assert_eq!(subscription["endpoint"], browser.endpoint);
    assert!(subscription["created_at"].is_string() && subscription.get("expires_at").is_none(), "{subscription}");
    assert!(subscription.get("keys").is_none(), "{subscription}");

    let body = json!({
        "user_id": id(&alice).await, "title": "Invoice", "content": "It is due.", "notification_type": "billing",
        "action": { "open": "/invoices/7" },
    });
    let (_, created) = root.post(NOTIFICATIONS, body).await;
    let push = service.next().await;
    let told = browser.read(&push).expect("the browser decrypts it");
    for field in ["id", "title", "content", "notification_type", "action", "created_at"] {
        assert_eq!(told[field], created["notification"][field], "{field}");
    }
    assert_eq!(told["is_cut"], false);
    assert!(service.browser("alice-1").read(&push).is_none(), "nobody else reads it");

    assert_eq!(push.path, "/push/alice-1");
    for (name, value) in [("content-encoding", "aes128gcm"), ("ttl", "604800"), ("urgency", "normal")] {
        assert_eq!(push.headers[name], value);
    }
    let topic = &push.headers["topic"];
    assert_eq!(*topic, created["notification"]["id"].as_str().unwrap().replace('-', ""));
    assert!(topic.len() <= 32, "{topic}");
    let claims = claims(&push, key["application_server_key"].as_str().unwrap(), &service.origin());
    assert_eq!(claims["sub"], "mailto:ops@example.com");
    let left = claims["exp"].as_u64().unwrap() - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((3600..=86_400).contains(&left), "{left}");

    // A long one is cut, so that every service takes it.
    let body = json!({ "user_id": id(&alice).await, "title": "long", "content": "ä\n".repeat(3000) });
    root.post(NOTIFICATIONS, body).await;
    let push = service.next().await;
    let told = browser.read(&push).unwrap();
    assert_eq!((&told["title"], &told["is_cut"]), (&json!("long"), &json!(true)));
    assert!((4090..=4096).contains(&push.body.len()), "{}", push.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_connected_is_not_pushed_to() {
    let (service, server) = (PushService::start().await, server(&[]).await);
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let (browser, bobs) = (service.browser("alice"), service.browser("bob"));
    register(&alice, &browser).await;
    register(&bob, &bobs).await;
    let mut socket = alice.socket().await;
    // Who does not want to be seen is there all the same.
    socket.ask("1", "presence", json!({ "status": "offline" })).await;
    notify(&root, &id(&alice).await, "seen").await;
    socket.until("notification").await;
    notify(&root, &id(&bob).await, "pushed").await;
    assert_eq!(next_title(&service, &bobs).await, "pushed");
    socket.ask("2", "presence", json!({ "status": "online" })).await;
    let conversation = root.conversation().await;
    root.add(&conversation, &alice, "member").await;
    let is_there = async || is_there(&root, &conversation, "alice").await;
    within(PATIENCE, "alice is there", &is_there).await;
    socket.cut();
    within(PATIENCE, "alice is gone", async || !is_there().await).await;
    notify(&root, &id(&alice).await, "later").await;
    assert_eq!(next_title(&service, &browser).await, "later");
    assert!(service.is_idle());
}

/// Whether a member of `root`'s conversation is connected, and wants to be seen.
async fn is_there(root: &Actor, conversation: &str, name: &str) -> bool {
    let (_, body) = root.get(&format!("/api/v1/conversations/{conversation}/presence")).await;
    let mut members = body["presence"].as_array().unwrap().iter();
    members.any(|member| member["username"] == name && member["status"] == "online")
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_push_with_one_key_and_know_who_is_connected_elsewhere() {
    let (service, redis) = (PushService::start().await, RedisServer::start().await);
    let url = redis.url();
    let here = server(&[("redis_url", &url)]).await;
    let there = here.beside(&[&LOCAL[..], &[("redis_url", &url)]].concat()).await;
    let (root, alice) = (here.admin().await, here.register("alice").await);
    let keys = [alice.get(KEY).await, alice.at(&there).get(KEY).await];
    assert_eq!(keys[0], keys[1]);
    let browser = service.browser("alice");
    register(&alice.at(&there), &browser).await;
    let mut socket: Socket = alice.at(&there).socket().await;
    // The other node knows of the socket as soon as they have settled it.
    let conversation = root.conversation().await;
    root.add(&conversation, &alice, "member").await;
    let is_there = async || is_there(&root, &conversation, "alice").await;
    within(PATIENCE, "alice is there", &is_there).await;
    notify(&root, &id(&alice).await, "seen").await;
    socket.until("notification").await;
    socket.cut();
    within(PATIENCE, "alice is gone", async || !is_there().await).await;
    notify(&root, &id(&alice).await, "pushed").await;
    let push = service.next().await;
    assert_eq!(browser.read(&push).unwrap()["title"], "pushed");
    claims(&push, keys[0].1["application_server_key"].as_str().unwrap(), &service.origin());

    let restarted = here.restart(&[&ADMIN[..], &LOCAL].concat()).await;
    assert_eq!(alice.at(&restarted).get(KEY).await, keys[1], "it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_gone_is_forgotten_and_one_whose_service_is_busy_is_tried_again() {
    let (service, server) = (PushService::start().await, server(&[]).await);
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let (me, browser) = (id(&alice).await, service.browser("alice"));

    register(&alice, &browser).await;
    service.will_answer(&["503 Service Unavailable\r\nretry-after: 1", "201 Created"]);
    let notification = notify(&root, &me, "again").await;
    let [first, second] = [service.next().await, service.next().await];
    assert_eq!(first.headers["topic"], second.headers["topic"]);
    for push in [&first, &second] {
        assert_eq!(browser.read(push).unwrap()["id"], notification["id"]);
    }
    assert_ne!(first.body, second.body, "it is encrypted anew");

    for gone in ["410 Gone", "404 Not Found"] {
        service.will_answer(&[gone]);
        notify(&root, &me, "gone").await;
        service.next().await;
        within(PATIENCE, "the browser is forgotten", async || browsers(&server) == 0).await;
        register(&alice, &browser).await;
    }

    // What is refused would be refused again; the browser stays.
    let elsewhere = format!("307 Temporary Redirect\r\nlocation: {}/push/elsewhere", service.origin());
    service.will_answer(&["400 Bad Request", &elsewhere]);
    for title in ["refused", "sent elsewhere", "taken"] {
        notify(&root, &me, title).await;
        assert_eq!(next_title(&service, &browser).await, title);
    }
    assert!(service.is_idle(), "nobody goes where a service says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_fails_never_fails_the_notification() {
    let server = server(&[]).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let (me, service) = (id(&alice).await, PushService::start().await);
    let browser = service.browser("alice");
    register(&alice, &browser).await;
    // Nobody is there any more.
    drop(service);
    notify(&root, &me, "stored").await;
    let (_, listed) = alice.get(NOTIFICATIONS).await;
    assert_eq!((&listed["total"], &listed["notifications"][0]["title"]), (&json!(1), &json!("stored")));
    assert_eq!(alice.socket().await.until("notification").await["data"]["title"], "stored");
    // A node that stops waits for no other try: it would be 21 s to the last.
    let asked = Instant::now();
    server.stop().await;
    assert!(asked.elapsed() < PATIENCE / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_registered_once_for_whoever_came_last() {
    let (service, server) = (PushService::start().await, server(&[]).await);
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let browser = service.browser("shared");
    register(&alice, &browser).await;
    register(&alice, &browser).await;
    notify(&root, &id(&alice).await, "once").await;
    assert_eq!(next_title(&service, &browser).await, "once");

    register(&bob, &browser).await;
    notify(&root, &id(&alice).await, "no longer hers").await;
    notify(&root, &id(&bob).await, "his").await;
    assert_eq!(next_title(&service, &browser).await, "his");
    assert_eq!(forget(&alice, &browser).await, 404, "it is another's");
    assert_eq!(forget(&bob, &browser).await, 200);
    assert_eq!(forget(&bob, &browser).await, 404);
    notify(&root, &id(&bob).await, "no more").await;

    // One whose time is over gets nothing.
    let expired = service.browser("expired");
    register(&bob, &expired).await;
    server.data().sql("UPDATE push_subscriptions SET expires_at = 'epoch'");
    notify(&root, &id(&bob).await, "too late").await;
    assert_eq!(forget(&bob, &expired).await, 200);

    // A new password ends what whoever knew the old one has registered.
    register(&alice, &service.browser("stranger")).await;
    let change = json!({ "current_password": PASSWORD, "new_password": "battery staple" });
    assert_eq!(alice.post("/api/v1/users/me/password", change).await.0, 200);
    notify(&root, &id(&alice).await, "not to a stranger").await;

    // A deactivated account gets nothing, and a deleted one takes its browsers along.
    let (carol, carols) = (server.register("carol").await, service.browser("carol"));
    register(&carol, &carols).await;
    let me = id(&carol).await;
    server.data().sql("UPDATE users SET is_active = false WHERE username = 'carol'");
    notify(&root, &me, "not to carol").await;
    register(&alice, &browser).await;
    notify(&root, &id(&alice).await, "hers again").await;
    assert_eq!(next_title(&service, &browser).await, "hers again");
    assert!(service.is_idle());
    assert_eq!(browsers(&server), 2);
    assert_eq!(alice.ask(Method::DELETE, "/api/v1/users/me").await.0, 200);
    assert_eq!(browsers(&server), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_hold_what_is_documented_and_nothing_else() {
    let (service, server) = (PushService::start().await, server(&[]).await);
    let alice = server.register("alice").await;
    let (status, answer) = alice.get(KEY).await;
    let key = answer["application_server_key"].as_str().unwrap();
    assert_eq!((status, &answer), (200, &json!({ "application_server_key": key })));

    let browser = service.browser("alice");
    let ending = with(&browser.json(), "/expirationTime", json!(4_102_444_800_000.5));
    for (request, expires_at) in [(browser.json(), None), (ending, Some("2100-01-01T00:00:00.000500Z"))] {
        let (status, answer) = alice.post(SUBSCRIPTIONS, request).await;
        let created_at = answer["push_subscription"]["created_at"].as_str().unwrap();
        let mut subscription = json!({ "endpoint": browser.endpoint, "created_at": created_at });
        if let Some(expires_at) = expires_at {
            subscription["expires_at"] = json!(expires_at);
        }
        assert_eq!((status, &answer), (201, &json!({ "push_subscription": subscription })));
    }
    assert_eq!(delete(&alice, &browser).await, (200, json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_keeps_the_newest_browsers() {
    let (service, server) = (PushService::start().await, server(&[]).await);
    let alice = server.register("alice").await;
    let browsers: Vec<Browser> = (0..22).map(|number| service.browser(&number.to_string())).collect();
    for browser in &browsers {
        register(&alice, browser).await;
    }
    let mut kept = Vec::new();
    for browser in &browsers {
        kept.push(forget(&alice, browser).await == 200);
    }
    assert_eq!(kept, [vec![false; 2], vec![true; 20]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_subscription_is_refused_by_the_field_that_is_wrong() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let good = PushService::start().await.browser("alice");
    let good = {
        let mut json = good.json();
        json["endpoint"] = json!("https://push.example/alice");
        json
    };
    assert_eq!(alice.post(SUBSCRIPTIONS, good.clone()).await.0, 201);
    let future = 4_102_444_800_000.5;
    let (status, body) = alice.post(SUBSCRIPTIONS, with(&good, "/expirationTime", json!(future))).await;
    assert_eq!(
        (status, &body["push_subscription"]["expires_at"]),
        (201, &json!("2100-01-01T00:00:00.000500Z")),
        "{body}"
    );
    for (pointer, value, field) in [
        ("/endpoint", json!(""), "endpoint"),
        ("/endpoint", json!("http://push.example/alice"), "endpoint"),
        ("/endpoint", json!("https://127.0.0.1/alice"), "endpoint"),
        ("/endpoint", json!("https://10.1.2.3/alice"), "endpoint"),
        ("/endpoint", json!("https://[fd00::1]/alice"), "endpoint"),
        ("/endpoint", json!("https://169.254.169.254/latest/meta-data"), "endpoint"),
        ("/endpoint", json!("https://localhost/alice"), "endpoint"),
        ("/endpoint", json!(format!("https://push.example/{}", "x".repeat(2048))), "endpoint"),
        ("/keys/p256dh", json!("AAAA"), "keys.p256dh"),
        ("/keys/p256dh", json!("not base64!"), "keys.p256dh"),
        ("/keys/auth", json!("AAAA"), "keys.auth"),
        ("/keys", json!(null), "keys.p256dh"),
        ("/expirationTime", json!(1_000_000), "expiration_time"),
        ("/expirationTime", json!(-1), "expiration_time"),
    ] {
        let (status, refused) = alice.post(SUBSCRIPTIONS, with(&good, pointer, value.clone())).await;
        assert_eq!(status, 400, "{pointer} {value}: {refused}");
        let named = refused["error"]["details"].to_string();
        assert!(named.contains(&format!("\"field\":\"{field}\"")), "{field}: {refused}");
    }
}

/// The same, but for one value.
fn with(json: &Value, pointer: &str, value: Value) -> Value {
    let mut json = json.clone();
    *json.pointer_mut(pointer).unwrap() = value;
    json
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_switched_off() {
    let server = Server::with(&[("web_push", "false")]).await;
    let alice = server.register("alice").await;
    let browser = PushService::start().await.browser("alice");
    for (status, refused) in [alice.get(KEY).await, alice.post(SUBSCRIPTIONS, browser.json()).await] {
        assert_eq!((status, &refused["error"]["code"]), (400, &json!("FAILED_PRECONDITION")), "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("web_push"), "{refused}");
    }
}
