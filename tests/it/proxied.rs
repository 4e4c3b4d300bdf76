//! Two bridges on two cores behind nginx, with the configuration that is shipped.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use crate::harness::{
    Data, PASSWORD, Process, Proxy, RedisServer, Transport, Viewer, soon,
    upstream::{Script, Upstream, piece},
};

/// Where the client of the first test is; nginx calls the bridges from 127.0.0.1.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Behind nginx, and quick to say that they are there.
const BEHIND: [(&str, &str); 3] =
    [("trust_forwarded_for", "true"), ("sse_keep_alive", "0.2"), ("heartbeat_interval", "0.2")];

/// Two cores on one database and one Redis server, with these settings, and two bridges in front of both.
struct Cluster {
    _redis: RedisServer,
    _cores: [Process; 2],
    bridges: [Process; 2],
}

impl Cluster {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (data, redis) = (Data::fresh().await, RedisServer::start().await);
        let url = redis.url();
        let settings = [settings, &[("redis_url", &*url)]].concat();
        let cores = [Process::core(&data, &settings).await, Process::core(&data.beside(), &settings).await];
        let [one, other] = [0, 1].map(|index: usize| cores[index].server().grpc_address());
        // Each bridge knows both cores, the nearer one first.
        let bridges = [Process::bridge(&[one, other], &BEHIND).await, Process::bridge(&[other, one], &BEHIND).await];
        Self { _redis: redis, _cores: cores, bridges }
    }

    async fn proxy(&self) -> Proxy {
        Proxy::before(&self.bridges.each_ref()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_and_the_id_of_a_request_pass_nginx() {
    let cluster = Cluster::start(&[]).await;
    let proxy = cluster.proxy().await;
    proxy.server().visitor().register("alice").await.unwrap();
    let client = reqwest::Client::builder().local_address(CLIENT).build().unwrap();
    let url = |path: &str| format!("http://{}{path}", proxy.address());
    let login = json!({ "username": "alice", "password": PASSWORD });
    // What the client claims about its address is hearsay.
    let login = client.post(url("/api/v1/auth/login")).json(&login).header("x-forwarded-for", "203.0.113.9");
    let session: Value = login.send().await.unwrap().json().await.unwrap();
    let token = session["access_token"].as_str().unwrap();

    let list = client.get(url("/api/v1/auth/sessions")).bearer_auth(token).header("x-request-id", "of-the-client");
    let list = list.send().await.unwrap();
    assert_eq!(list.headers()["x-request-id"], "of-the-client");
    let sessions: Value = list.json().await.unwrap();
    let own = sessions["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
    assert_eq!(own["address"], CLIENT.to_string(), "{sessions}");

    let refused = client.get(url("/api/v1/users/me")).send().await.unwrap();
    let id = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!((refused.status().as_u16(), id.len()), (401, 32), "nginx names what has no name: {id}");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["request_id"], id.as_str());
    assert!(cluster.bridges.iter().any(|bridge| bridge.log().contains(&id)), "the bridge logs the same id");

    let metrics = client.get(url("/metrics")).bearer_auth(token).send().await.unwrap();
    assert_eq!(metrics.status(), 404, "metrics are for those inside");
    let large = client.post(url("/api/v1/conversations")).bearer_auth(token).body(vec![b' '; 2 << 20]);
    let large = large.send().await.unwrap();
    let id = large.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = large.json().await.unwrap();
    assert_eq!((&body["error"]["request_id"], &body["error"]["code"]), (&json!(id), &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(body["error"]["details"][0]["reason"], "MESSAGE_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_passes_nginx_piece_by_piece() {
    let upstream = Upstream::start(Script::anthropic().stepped().pieces(3).end()).await;
    let url = upstream.url();
    let cluster = Cluster::start(&upstream.settings(&url)).await;
    let proxy = cluster.proxy().await;
    let alice = proxy.server().register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let transports = [Transport::Sse, Transport::WebSocket];
    let mut viewers = transports.map(|_| Viewer::new(&alice, &conversation, &answer));
    for (viewer, transport) in viewers.iter_mut().zip(transports) {
        viewer.attach(transport).await;
    }
    // The provider says the next piece only when this one was seen: nothing is held back on the way.
    for number in 1..=3 {
        upstream.release(1);
        let so_far: String = (1..=number).map(piece).collect();
        for viewer in &mut viewers {
            viewer.until_bytes(so_far.len()).await;
            assert_eq!(viewer.text, so_far);
        }
    }
    for mut viewer in viewers {
        assert_eq!(viewer.until_last().await.kind, "end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_streams_and_sockets_live_behind_nginx() {
    let upstream = Upstream::start(Script::anthropic().stepped().pieces(1).end()).await;
    let url = upstream.url();
    let cluster = Cluster::start(&upstream.settings(&url)).await;
    let proxy = cluster.proxy().await;
    let alice = proxy.server().register("alice").await;
    let mut socket = alice.socket().await;
    let stream = alice.request(reqwest::Method::POST, "/api/v1/chat/stream").json(&json!({ "message": "hi" }));
    let mut stream = stream.send().await.unwrap();
    let mut seen = String::new();
    while seen.matches(":\n\n").count() < 3 {
        let chunk = soon("a comment", stream.chunk()).await.unwrap().expect("the stream lives");
        seen += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(!seen.contains("\"token\""), "{seen}");
    // Meanwhile the socket was only pinged.
    socket.pinged(3).await;
    socket.ask("p", "ping", json!({ "pingId": "1" })).await;
    assert_eq!(socket.answer_to("p").await["data"]["pingId"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_through_the_other_bridge_when_one_is_killed() {
    let Cluster { _redis, _cores, bridges } = Cluster::start(&[]).await;
    let proxy = Proxy::before(&bridges.each_ref()).await;
    let alice = proxy.server().register("alice").await;
    let conversation = alice.conversation().await;
    let [one, other] = bridges;
    one.kill().await;
    for number in 0..10 {
        assert_eq!(alice.get("/api/v1/users/me").await.0, 200);
        alice.send(&conversation, &format!("message {number}")).await;
    }
    let mut socket = alice.socket().await;
    socket.ask("m", "message", json!({ "content": "hi", "conversation_id": conversation })).await;
    assert_eq!(socket.answer_to("m").await["type"], "message.accepted");
    assert_eq!(soon("the end", socket.until("end")).await["data"]["finish_reason"], "stop");

    other.kill().await;
    // Without a bridge nginx says so itself.
    let (status, body) = alice.get("/api/v1/users/me").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("UNAVAILABLE")), "{body}");
    assert!(body["error"]["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{body}");
}
