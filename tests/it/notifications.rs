//! Notifications: stored first, delivered second, on every transport, and brought on return.

use reqwest::Method;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tonic::Code;

use crate::harness::{ADMIN, Actor, Events, RedisServer, Rpc, Server, Socket, reason};

const NOTIFICATIONS: &str = "/api/v1/notifications";

/// A notification that says all that one can.
fn full(user: &str) -> Value {
    json!({
        "user_id": user, "title": "Invoice", "content": "It is due.", "notification_type": "billing",
        "action": { "open": "/invoices/7", "tags": [1, "two", null] },
        "related_entity_type": "invoice", "related_entity_id": "7",
    })
}

/// Has a notification made, and returns it.
async fn create(root: &Actor, new: Value) -> Value {
    let (status, mut body) = root.post(NOTIFICATIONS, new).await;
    assert_eq!(status, 201, "{body}");
    body["notification"].take()
}

/// Notifies a user, and returns the notification.
async fn notify(root: &Actor, user: &str, title: &str) -> Value {
    create(root, json!({ "user_id": user, "title": title })).await
}

fn moment(notification: &Value, field: &str) -> OffsetDateTime {
    let text = notification[field].as_str().unwrap_or_else(|| panic!("no {field}: {notification}"));
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

/// The titles of the notifications that come to a socket up to now.
async fn titles(socket: &mut Socket) -> Vec<String> {
    socket.ask("now", "ping", json!({})).await;
    let mut titles = Vec::new();
    loop {
        let frame = socket.next().await.expect("the socket lives");
        match frame["type"].as_str().unwrap() {
            "notification" => titles.push(frame["data"]["title"].as_str().unwrap().to_owned()),
            "pong" => return titles,
            _ => {}
        }
    }
}

/// The title of the next notification.
async fn next_title(socket: &mut Socket) -> String {
    socket.until("notification").await["data"]["title"].as_str().unwrap().to_owned()
}

async fn got(actor: &Actor, path: &str) -> Value {
    let (status, body) = actor.get(path).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_stored_as_documented_and_reaches_every_socket_of_its_user_alone() {
    let server = Server::with(&ADMIN).await;
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let (mut one, mut two, mut others) = (alice.socket().await, alice.socket().await, bob.socket().await);
    let me = alice.me().await.unwrap().id;
    let (status, created) = root.post(NOTIFICATIONS, full(&me)).await;
    let notification = &created["notification"];
    let mut expected = full(&me);
    expected["is_read"] = json!(false);
    for field in ["id", "created_at", "updated_at"] {
        assert!(notification[field].is_string(), "{field} of {created}");
        expected[field] = notification[field].clone();
    }
    assert_eq!((status, &created), (201, &json!({ "notification": expected })));
    for socket in [&mut one, &mut two] {
        let frame = socket.until("notification").await;
        assert_eq!(&frame["data"], notification);
        assert_eq!(frame["topic"], format!("user:{me}"), "{frame}");
    }
    assert!(titles(&mut others).await.is_empty());

    let listed = got(&alice, NOTIFICATIONS).await;
    let expected = json!({
        "notifications": [notification], "total": 1, "unread_count": 1, "page": 1, "page_size": 20, "next_page_token": "",
    });
    assert_eq!(listed, expected);
    assert_eq!(got(&bob, NOTIFICATIONS).await["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered_and_what_is_read_is_counted() {
    let server = Server::with(&ADMIN).await;
    let (root, alice, bob) = (server.admin().await, server.register("alice").await, server.register("bob").await);
    let me = alice.me().await.unwrap().id;
    let mut ids = Vec::new();
    for number in 0..5 {
        let kind = if number < 2 { "billing" } else { "info" };
        let body = json!({ "user_id": me, "title": format!("n{number}"), "type": kind });
        let (_, created) = root.post(NOTIFICATIONS, body).await;
        ids.push(created["notification"]["id"].as_str().unwrap().to_owned());
    }
    let titles = |listed: &Value| -> Vec<String> {
        let listed = listed["notifications"].as_array().unwrap().iter();
        listed.map(|notification| notification["title"].as_str().unwrap().to_owned()).collect()
    };
    let first = got(&alice, &format!("{NOTIFICATIONS}?page=1&page_size=2")).await;
    assert_eq!(
        (titles(&first), &first["total"], &first["page"]),
        (vec!["n4".into(), "n3".into()], &json!(5), &json!(1))
    );
    let third = got(&alice, &format!("{NOTIFICATIONS}?page=3&page_size=2")).await;
    assert_eq!((titles(&third), &third["next_page_token"]), (vec!["n0".into()], &json!("")));
    let token = first["next_page_token"].as_str().unwrap();
    let second = got(&alice, &format!("{NOTIFICATIONS}?page_token={token}&page_size=2")).await;
    assert_eq!(titles(&second), ["n2", "n1"]);
    assert_eq!(titles(&got(&alice, &format!("{NOTIFICATIONS}?notification_type=billing")).await), ["n1", "n0"]);

    // Nobody else reads, marks or deletes them.
    let path = format!("{NOTIFICATIONS}/{}", ids[0]);
    assert_eq!(bob.ask(Method::PATCH, &format!("{path}/read")).await.0, 404);
    assert_eq!(bob.ask(Method::DELETE, &path).await.0, 404);
    let (status, read) = alice.ask(Method::PATCH, &format!("{path}/read")).await;
    assert_eq!((status, &read["notification"]["is_read"]), (200, &json!(true)), "{read}");
    let again = alice.ask(Method::PATCH, &format!("{path}/read")).await.1;
    assert_eq!(again, read, "it stays as it is");
    assert_eq!(got(&alice, &format!("{NOTIFICATIONS}/unread/count")).await, json!({ "count": 4 }));
    let unread = got(&alice, &format!("{NOTIFICATIONS}?unread_only=true")).await;
    assert_eq!((&unread["total"], &unread["unread_count"]), (&json!(4), &json!(4)));
    assert_eq!(alice.ask(Method::DELETE, &format!("{NOTIFICATIONS}/{}", ids[1])).await, (200, json!({})));
    assert_eq!(alice.post(&format!("{NOTIFICATIONS}/read-all"), json!({})).await, (200, json!({ "marked": 3 })));
    assert_eq!(got(&alice, &format!("{NOTIFICATIONS}/unread/count")).await, json!({ "count": 0 }));
    assert_eq!(got(&alice, NOTIFICATIONS).await["total"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_tells_since_when_and_goes_when_it_is_deleted() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let me = alice.me().await.unwrap().id;
    let created = create(&root, full(&me)).await;
    let path = format!("{NOTIFICATIONS}/{}/read", created["id"].as_str().unwrap());
    let (status, body) = alice.ask(Method::PATCH, &path).await;
    let read = &body["notification"];
    let mut expected = created.clone();
    expected["is_read"] = json!(true);
    for field in ["read_at", "updated_at"] {
        assert!(moment(read, field) > moment(&created, "updated_at"), "{field} of {body}");
        expected[field] = read[field].clone();
    }
    assert_eq!((status, &body), (200, &json!({ "notification": expected })));
    assert_eq!(got(&alice, NOTIFICATIONS).await["notifications"], json!([read]));

    let [mark, delete] =
        ["NotificationService/MarkNotificationRead", "NotificationService/DeleteNotification"].map(Rpc::named);
    let created = notify(&root, &me, "over gRPC").await;
    let request = json!({ "notification_id": created["id"] });
    let read = mark.over_grpc(&alice, &request).await.unwrap()["notification"].take();
    assert_eq!((&read["id"], &read["is_read"]), (&created["id"], &json!(true)));
    for field in ["read_at", "updated_at"] {
        assert!(moment(&read, field) > moment(&created, "updated_at"), "{field} of {read}");
    }
    assert_eq!(delete.over_grpc(&alice, &request).await.unwrap(), json!({}));
    assert_eq!(got(&alice, NOTIFICATIONS).await["notifications"], json!([expected]));
    for rpc in [mark, delete] {
        assert_eq!(reason(rpc.over_grpc(&alice, &request).await), (Code::NotFound, "NOT_FOUND".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_is_notified_on_return_in_order_and_once() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let me = alice.me().await.unwrap().id;
    let wanted: Vec<String> = (0..45).map(|number| format!("n{number}")).collect();
    for title in &wanted {
        notify(&root, &me, title).await;
    }
    let mut socket = alice.socket().await;
    let mut came = Vec::new();
    for _ in &wanted {
        came.push(next_title(&mut socket).await);
    }
    assert_eq!(came, wanted);
    notify(&root, &me, "live").await;
    assert_eq!(next_title(&mut socket).await, "live");
    socket.cut();
    // Another socket, also at once, gets none of them.
    let mut again = alice.socket().await;
    notify(&root, &me, "after").await;
    assert_eq!(next_title(&mut again).await, "after");
    again.cut();
    // What is read or deleted while one is away need not be brought.
    let (read, deleted) = (notify(&root, &me, "read").await, notify(&root, &me, "deleted").await);
    let path = |notification: &Value| format!("{NOTIFICATIONS}/{}", notification["id"].as_str().unwrap());
    alice.ask(Method::PATCH, &format!("{}/read", path(&read))).await;
    alice.ask(Method::DELETE, &path(&deleted)).await;
    notify(&root, &me, "last").await;
    assert_eq!(next_title(&mut alice.socket().await).await, "last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_brings_what_waits_and_what_follows_and_is_no_connection() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let me = alice.me().await.unwrap().id;
    let waits = create(&root, full(&me)).await;
    let mut watch: Events = alice.follow(&format!("{NOTIFICATIONS}/stream")).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = watch.next().await.unwrap();
        seen.push((event.offset, event.kind, event.data));
    }
    assert_eq!(seen[0], (1, "watching".to_owned(), json!({ "unread_count": 1 })));
    assert_eq!((seen[1].0, seen[1].1.as_str(), &seen[1].2), (2, "notification", &waits));
    let follows = create(&root, full(&me)).await;
    assert_eq!(watch.next().await.unwrap().data, follows);
    assert_eq!(got(&alice, "/api/v1/websocket/connection-health").await, json!({ "connections": [] }));
    drop(watch);
    // What was shown there is delivered.
    let mut socket = alice.socket().await;
    notify(&root, &me, "after").await;
    assert_eq!(next_title(&mut socket).await, "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_delivers_what_was_created_here() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let here = Server::with(&[&ADMIN[..], &[("redis_url", &url)]].concat()).await;
    let there = here.beside(&[("redis_url", &url)]).await;
    let (root, alice) = (here.admin().await, here.register("alice").await);
    let me = alice.me().await.unwrap().id;
    let mut socket = alice.at(&there).socket().await;
    notify(&root, &me, "live").await;
    assert_eq!(next_title(&mut socket).await, "live");
    socket.cut();
    notify(&root, &me, "waits").await;
    assert_eq!(next_title(&mut alice.at(&there).socket().await).await, "waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_notifies_once_and_wrong_fields_are_named() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let me = alice.me().await.unwrap().id;
    let body = json!({ "user_id": me, "title": "once", "idempotency_key": "k1" });
    let first = root.post(NOTIFICATIONS, body.clone()).await;
    assert_eq!(root.post(NOTIFICATIONS, body).await, first);
    assert_eq!(got(&alice, NOTIFICATIONS).await["total"], 1);
    for (body, field) in [
        (json!({ "user_id": me, "title": "" }), "title"),
        (json!({ "user_id": me, "title": "x".repeat(256) }), "title"),
        (json!({ "user_id": me, "title": "x", "content": "x".repeat(10_001) }), "content"),
        (json!({ "user_id": me, "title": "x", "notification_type": "x".repeat(51) }), "notification_type"),
        (json!({ "user_id": "x", "title": "x" }), "user_id"),
        (json!({ "user_id": me, "title": "x", "nonsense": 1 }), "nonsense"),
    ] {
        let (status, refused) = root.post(NOTIFICATIONS, body).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error"].to_string().contains(field), "{field}: {refused}");
    }
    let stranger = json!({ "user_id": "019394c4-0000-7000-8000-000000000000", "title": "x" });
    assert_eq!(root.post(NOTIFICATIONS, stranger).await.0, 404);
    for query in ["page=-1", "page=10001", "page_size=101", "page_token=x", "page=1&page_token=eA"] {
        assert_eq!(alice.get(&format!("{NOTIFICATIONS}?{query}")).await.0, 400, "{query}");
    }
}
