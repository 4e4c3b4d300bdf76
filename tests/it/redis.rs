//! Nodes that share a Redis server, through the public surface: what happens on one is felt on the other, and when the
//! server goes nobody is refused and nobody misses anything.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Actor, Data, PASSWORD, Process, RedisServer, Server, Socket, Transport, Viewer, eventually};

/// How far the viewers are when Redis goes, in bytes.
const STEP: usize = 60;

/// Two nodes on one database and one Redis server.
async fn two_nodes(redis: &RedisServer, settings: &[(&str, &str)]) -> (Server, Server) {
    let url = redis.url();
    let settings: Vec<_> = [("redis_url", url.as_str())].iter().chain(settings).copied().collect();
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    (here, there)
}

/// What the node says of the part that may be lost.
async fn live_is(actor: &Actor, status: &str) -> bool {
    let (code, health) = actor.get("/api/health/detailed").await;
    let overall = if status == "ok" { "ok" } else { "degraded" };
    code == 200 && health["components"]["live"]["status"] == status && health["status"] == overall
}

async fn ticket(actor: &Actor) -> String {
    let (status, body) = actor.post("/api/v1/auth/ticket", json!({})).await;
    assert_eq!(status, 200, "{body}");
    body["ticket"].as_str().unwrap().to_owned()
}

fn words(count: usize) -> String {
    (1..=count).map(|number| format!("{number}·é€🦀 ")).collect()
}

/// Watches an answer to its end, coming back as often as the node says so.
async fn to_the_end(viewer: &mut Viewer) {
    loop {
        match viewer.next().await {
            Some(event) if event.is_last() => return,
            Some(_) => {}
            None => viewer.attach(Transport::WebSocket).await,
        }
    }
}

/// Those who watch an answer, on each node by each transport; the ones on the first node come first.
async fn viewers(alice: &Actor, nodes: [&Server; 2], conversation: &str, answer: &str) -> Vec<Viewer> {
    let mut viewers = Vec::new();
    for (node, transport) in nodes.into_iter().flat_map(|node| Transport::ALL.map(|each| (node, each))) {
        let mut viewer = Viewer::new(&alice.at(node), conversation, answer);
        viewer.attach(transport).await;
        viewers.push(viewer);
    }
    viewers
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_seen_on_every_node_as_it_is_written() {
    let redis = RedisServer::start().await;
    let (here, there) = two_nodes(&redis, &[("echo_interval", "0.005")]).await;
    let alice = here.register("alice").await;
    let text = words(200);
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, &text).await;
    let mut viewers = viewers(&alice, [&here, &there], &conversation, &answer).await;
    join_all(viewers.iter_mut().map(Viewer::until_last)).await;
    for viewer in viewers {
        assert_eq!(viewer.text, text);
        assert_eq!(viewer.epochs, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_gone_and_back_empty_in_mid_answer_costs_no_viewer_a_byte() {
    let mut redis = RedisServer::start().await;
    let (here, there) = two_nodes(&redis, &[("echo_interval", "0.01")]).await;
    let alice = here.register("alice").await;
    let text = words(600);
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, &text).await;
    let mut viewers = viewers(&alice, [&here, &there], &conversation, &answer).await;
    join_all(viewers.iter_mut().map(|viewer| viewer.until_bytes(STEP))).await;
    for node in [&here, &there] {
        eventually("live is well", async || live_is(&alice.at(node), "ok").await).await;
    }
    redis.stop().await;
    for node in [&here, &there] {
        eventually("live is not well", async || live_is(&alice.at(node), "unavailable").await).await;
    }
    assert_eq!(alice.get("/api/v1/health/ready").await.0, 200);
    // Those on the node that writes go on as if nothing had happened.
    let seen = viewers.iter().map(|viewer| viewer.text.len()).max().unwrap_or_default();
    join_all(viewers[..3].iter_mut().map(|viewer| viewer.until_bytes(seen + STEP))).await;
    // Nobody is refused for its sake.
    for (node, name) in [(&here, "bob"), (&there, "carol")] {
        let other = node.register(name).await;
        let conversation = other.conversation().await;
        let (_, answer) = other.send(&conversation, "hello").await;
        let mut viewer = Viewer::new(&other, &conversation, &answer);
        viewer.attach(Transport::Grpc).await;
        assert_eq!(viewer.until_last().await.kind, "end");
        let url = format!("ws://{}/api/v1/ws?ticket={}", node.http(), ticket(&other).await);
        Socket::open(&url).await.until("connection.established").await;
    }

    redis.resume().await;
    for node in [&here, &there] {
        eventually("live is well again", async || live_is(&alice.at(node), "ok").await).await;
    }
    join_all(viewers.iter_mut().map(to_the_end)).await;
    for (number, viewer) in viewers.iter().enumerate() {
        assert_eq!(viewer.text, text, "viewer {number}");
        let is_socket = Transport::nth(number) == Transport::WebSocket;
        assert_eq!(viewer.epochs > 0, is_socket, "viewer {number} is told of the new epoch");
    }
    let message = alice.at(&there).message(&conversation, &answer).await;
    assert_eq!((&message["status"], message["content"].as_str()), (&"complete".into(), Some(&*text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_on_one_node_ends_live_connections_on_the_other() {
    let redis = RedisServer::start().await;
    let (here, there) = two_nodes(&redis, &[]).await;
    let alice = here.register("alice").await;
    let bob = here.register("bob").await;
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "member").await;
    let mut socket = joined(&bob.at(&there), &conversation).await;
    remove(&alice, &conversation, &bob).await;
    socket.until("subscription.removed").await;

    bob.post("/api/v1/auth/logout", json!({})).await;
    assert_eq!(socket.close_code().await, 1008);
    assert!(bob.at(&there).me().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_redis_was_away_ends_when_it_is_back() {
    let mut redis = RedisServer::start().await;
    let (here, there) = two_nodes(&redis, &[]).await;
    let alice = here.register("alice").await;
    let (bob, carol) = (here.register("bob").await, here.register("carol").await);
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "member").await;
    let mut member = joined(&bob.at(&there), &conversation).await;
    let carol_there = carol.at(&there);
    let mut signed_in = carol_there.socket().await;
    redis.stop().await;
    eventually("live is not well", async || live_is(&alice.at(&there), "unavailable").await).await;
    remove(&alice, &conversation, &bob).await;
    carol.post("/api/v1/auth/logout", json!({})).await;
    redis.resume().await;
    // Those who are connected are sent away by the loss, unless what has ended is felt before.
    let code = signed_in.close_code().await;
    assert!([1008, 3000].contains(&code), "{code}");
    let mut again = Socket::open(&carol_there.socket_url("")).await;
    assert_eq!(again.close_code().await, 1008);
    while let Some(frame) = member.next().await {
        if ["subscription.removed", "reconnect"].contains(&frame["type"].as_str().unwrap()) {
            break;
        }
    }
    let mut back = Socket::open(&bob.at(&there).socket_url(&format!("/{conversation}"))).await;
    back.until("error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_stopped_from_any_node_at_once() {
    let redis = RedisServer::start().await;
    // The word in the store alone would be read after twelve seconds.
    let (here, there) = two_nodes(&redis, &[("echo_interval", "0.05"), ("run_lease", "60")]).await;
    let alice = here.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, &words(600)).await;
    let mut viewer = Viewer::new(&alice.at(&there), &conversation, &answer);
    viewer.attach(Transport::Sse).await;
    viewer.until_bytes(STEP).await;
    let path = format!("/api/v1/conversations/{conversation}/messages/{answer}:stop");
    let (status, body) = alice.at(&there).post(&path, json!({})).await;
    assert_eq!((status, &body["message"]["status"]), (200, &"stopped".into()), "{body}");
    assert_eq!(viewer.until_last().await.data["finish_reason"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_connection_on_any_node() {
    let redis = RedisServer::start().await;
    let (here, there) = two_nodes(&redis, &[]).await;
    let alice = here.register("alice").await;
    let ticket = ticket(&alice).await;
    let url = |node: &Server| format!("ws://{}/api/v1/ws?ticket={ticket}", node.http());
    Socket::open(&url(&there)).await.until("connection.established").await;
    assert_eq!(Socket::open(&url(&here)).await.close_code().await, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_is_held_back_over_all_nodes() {
    let redis = RedisServer::start().await;
    let (here, there) = two_nodes(&redis, &[("sign_in_failures_per_account", "2")]).await;
    let alice = here.register("alice").await;
    for node in [&here, &there] {
        assert!(alice.at(node).login("alice", "a wrong guess").await.is_err());
    }
    let held_back = alice.at(&there).login("alice", PASSWORD).await.map(drop).unwrap_err();
    assert_eq!(held_back.code(), tonic::Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_redis_stops_the_start_with_one_clear_line() {
    let data = Data::fresh().await;
    let guarded = RedisServer::guarded("right").await;
    let right = guarded.url().replace("redis://", "redis://:right@");
    let wrong_password = guarded.url().replace("redis://", "redis://:wrong@");
    for (url, code, said) in [
        ("http://:secret@127.0.0.1:6379", 78, "redis_url"),
        ("redis://", 78, "redis://[user:password@]host"),
        ("redis://:secret@127.0.0.1/first", 78, "database number"),
        ("redis://127.0.0.1:1", 69, "redis_url"),
        (&wrong_password, 78, "redis_url: the server refuses"),
        (&guarded.url(), 78, "redis_url: the server refuses"),
        (&format!("{right}/9999"), 78, "redis_url: the server has no database"),
    ] {
        let exit = Process::refused("serve", &data, &[("redis_url", url)], &[]).await;
        assert_eq!(exit.code, Some(code), "{url}: {exit:?}");
        assert!(exit.stderr.contains(said) && exit.stderr.lines().count() == 1, "{url}: {exit:?}");
        assert!(!exit.stderr.contains("secret") && !exit.stderr.contains(":wrong@"), "{url}: {exit:?}");
    }
    let process = Process::start(&data, &[("redis_url", &right)]).await;
    process.terminate().await;
    assert_eq!(process.ended().await, Some(0));
}

/// A socket that has joined a conversation.
async fn joined(actor: &Actor, conversation: &str) -> Socket {
    let mut socket = Socket::open(&actor.socket_url(&format!("/{conversation}"))).await;
    socket.until("subscription.confirmed").await;
    socket
}

async fn remove(owner: &Actor, conversation: &str, member: &Actor) {
    let user_id = member.me().await.unwrap().id;
    let path = format!("/api/v1/conversations/{conversation}/members/{user_id}");
    let response = owner.request(reqwest::Method::DELETE, &path).send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
}
