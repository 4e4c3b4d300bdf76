//! A core and its bridges as processes of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::harness::{
    Actor, Data, PASSWORD, Process, Server, Transport, Viewer, eventually,
    upstream::{Script, Upstream, piece},
};

/// Where the clients of these tests are; the bridges are at 127.0.0.1.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Words that say where they stand.
fn words(count: usize) -> String {
    (1..=count).map(|number| format!("{number}·é ")).collect()
}

/// Registers and signs in over HTTP alone.
async fn sign_in(server: &Server, name: &str) -> Actor {
    let visitor = server.visitor();
    let account = json!({ "username": name, "email": format!("{name}@example.com"), "password": PASSWORD });
    let (status, body) = visitor.post("/api/v1/auth/register", account).await;
    assert_eq!(status, 201, "{body}");
    let (status, body) = visitor.post("/api/v1/auth/login", json!({ "username": name, "password": PASSWORD })).await;
    assert_eq!(status, 200, "{body}");
    visitor.with_token(body["access_token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_through_a_bridge_elsewhere_and_both_end_when_asked_to() {
    let data = Data::fresh().await;
    let core = Process::core(&data, &[]).await;
    let bridge = Process::bridge(&[core.server().grpc_address()], &[]).await;
    let alice = sign_in(bridge.server(), "alice").await;

    let mut events = alice.stream_chat(json!({ "message": words(20) })).await;
    let mut text = String::new();
    let mut last = events.next().await.unwrap();
    let conversation = last.data["conversation_id"].as_str().unwrap().to_owned();
    while let Some(event) = events.next().await {
        event.apply(&mut text);
        last = event;
    }
    assert_eq!((last.kind.as_str(), text), ("end", words(20)));

    let mut socket = alice.socket().await;
    socket.ask("m1", "message", json!({ "content": words(20), "conversation_id": conversation })).await;
    let accepted = socket.answer_to("m1").await;
    assert_eq!(accepted["type"], "message.accepted", "{accepted}");
    let mut text = String::new();
    let end = loop {
        let frame = socket.next().await.unwrap();
        match frame["type"].as_str().unwrap() {
            "token" => text += frame["data"]["content"].as_str().unwrap(),
            "end" => break frame,
            _ => {}
        }
    };
    assert_eq!((&end["data"]["message_id"], text), (&accepted["data"]["reply_message_id"], words(20)));

    core.terminate().await;
    assert_eq!(socket.until("reconnect").await["data"]["reason"], "shutdown");
    assert_eq!(core.ended().await, Some(0));
    socket.cut();
    bridge.terminate().await;
    assert_eq!(bridge.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_when_its_bridge_is_killed_and_another_one_shows_the_rest() {
    let upstream = Upstream::start(Script::anthropic().stepped().pieces(4).end()).await;
    let url = upstream.url();
    let data = Data::fresh().await;
    let core = Process::core(&data, &upstream.settings(&url)).await;
    let cores = [core.server().grpc_address()];
    let bridge = Process::bridge(&cores, &[]).await;
    let alice = sign_in(bridge.server(), "alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let transports = [Transport::Sse, Transport::WebSocket];
    let mut viewers = transports.map(|_| Viewer::new(&alice, &conversation, &answer));
    for (viewer, transport) in viewers.iter_mut().zip(transports) {
        viewer.attach(transport).await;
    }
    upstream.release(2);
    for viewer in &mut viewers {
        viewer.until_bytes((piece(1) + &piece(2)).len()).await;
    }
    bridge.kill().await;

    let bridge = Process::bridge(&cores, &[]).await;
    let alice = alice.at(bridge.server());
    // One of the pieces is said while nobody is there.
    upstream.release(1);
    let mut viewers = viewers.map(|viewer| viewer.by(&alice));
    for (viewer, transport) in viewers.iter_mut().zip(transports) {
        viewer.snapshots = 0;
        viewer.attach(transport).await;
    }
    upstream.release(1);
    for mut viewer in viewers {
        assert_eq!(viewer.until_last().await.kind, "end");
        assert_eq!((viewer.text, viewer.snapshots), ((1..=4).map(piece).collect(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_a_bridge_reports_is_believed_with_the_right_key_only() {
    let data = Data::fresh().await;
    let core = Process::core(&data, &[]).await;
    let cores = [core.server().grpc_address()];
    let known = Process::bridge(&cores, &[]).await;
    let impostor = Process::bridge(&cores, &[("bridge_key", "a guess")]).await;
    sign_in(known.server(), "alice").await;
    for (bridge, believed) in [(&known, "127.0.0.2"), (&impostor, "127.0.0.1")] {
        let client = reqwest::Client::builder().local_address(CLIENT).build().unwrap();
        let url = |path: &str| format!("http://{}/api/v1/auth/{path}", bridge.server().http());
        let login = json!({ "username": "alice", "password": PASSWORD });
        let session: Value = client.post(url("login")).json(&login).send().await.unwrap().json().await.unwrap();
        let token = session["access_token"].as_str().unwrap();
        let list = client.get(url("sessions")).bearer_auth(token).send().await.unwrap();
        let sessions: Value = list.json().await.unwrap();
        let own = sessions["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
        assert_eq!(own["address"], believed, "{sessions}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_before_its_core_says_so_and_serves_when_it_comes() {
    // Held, so that nobody else gets the port, and not listened on, so that the core can.
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = held.local_addr().unwrap();

    let bridge = Process::bridge(&[address], &[]).await;
    let visitor = bridge.server().visitor();
    assert_eq!(visitor.get("/health").await.0, 200);
    for path in ["/api/v1/health/ready", "/api/v1/users/me"] {
        let (status, body) = visitor.get(path).await;
        let error = &body["error"];
        assert_eq!((status, &error["code"]), (503, &"UNAVAILABLE".into()), "{body}");
        let details = error["details"].as_array().unwrap();
        assert!(details.iter().any(|detail| detail["reason"] == "UNAVAILABLE"), "{body}");
        assert!(details.iter().any(|detail| detail["retry_delay"].as_f64() > Some(0.0)), "{body}");
        assert!(!error.to_string().contains(&address.port().to_string()), "where the core is stays inside: {body}");
    }

    let data = Data::fresh().await;
    let _core = Process::core(&data, &[("grpc_addr", &address.to_string())]).await;
    eventually("the bridge is ready", async || visitor.get("/api/v1/health/ready").await.0 == 200).await;
    sign_in(bridge.server(), "alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_may_have_several_cores_and_needs_one() {
    let data = Data::fresh().await;
    let (one, other) = (Process::core(&data, &[]).await, Process::core(&data.beside(), &[]).await);
    let bridge = Process::bridge(&[one.server().grpc_address(), other.server().grpc_address()], &[]).await;
    let alice = sign_in(bridge.server(), "alice").await;
    for _ in 0..16 {
        let (status, body) = alice.get("/api/v1/users/me").await;
        assert_eq!((status, &body["user"]["username"]), (200, &"alice".into()), "{body}");
    }

    for (flags, named) in [(&[][..], "--core"), (&["--core", "not an address"], "--core")] {
        let exit = Process::refused("bridge", &data, &[], flags).await;
        assert_eq!(exit.code, Some(64), "{exit:?}");
        assert!(exit.stderr.contains(named), "{exit:?}");
    }
}
