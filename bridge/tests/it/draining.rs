//! Clients that take what they are sent slowly, late or not at all.

use std::time::Duration;

use colloquy_bridge::Settings;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, join, time::timeout};

use super::{
    core::encode,
    harness::{bridge, bridge_with, soon},
    link::{reported, token},
};

const PING: u8 = 0x89;

#[tokio::test]
async fn a_client_that_takes_a_large_frame_slowly_but_steadily_is_left_alone() {
    const LARGE: usize = 4 << 20;
    const STEP: usize = 32 * 1024;
    // Each is far longer than a step takes and far shorter than the frame.
    let settings = Settings {
        ping_interval: Duration::from_millis(100),
        send_timeout: Duration::from_millis(700),
        silence_limit: Duration::from_millis(900),
        drain_limit: Duration::from_millis(900),
        ..Settings::default()
    };
    let (bridge, mut core) = bridge_with(settings).await;
    let (socket, (mut session, _)) = join!(bridge.narrow_socket("/api/v1/ws?token=t"), core.session());
    session.send(token(LARGE)).await;

    let mut stream = socket.into_stream();
    let mut head = [0; 10];
    soon(stream.read_exact(&mut head)).await.unwrap();
    let mut text = vec![0; u64::from_be_bytes(head[2..].try_into().unwrap()) as usize];
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for step in text.chunks_mut(STEP) {
        pace.tick().await;
        soon(stream.read_exact(step)).await.unwrap();
    }
    let frame: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(frame["data"]["content"].as_str().map(str::len), Some(LARGE));

    // The core is told bit by bit that all was taken, and of nothing else: no send has failed, and no ping is answered.
    let bytes = encode("colloquy.v1.ConnectResponse", &token(LARGE)).len() as u64;
    let (mut taken, mut reports) = (0, 0);
    while taken < bytes {
        let report = session.received().await.unwrap()["report"].clone();
        taken += report["credit"].as_u64().unwrap();
        assert_eq!(report, json!({"credit": report["credit"], "failed_sends": 0}));
        reports += 1;
    }
    assert!(taken == bytes && reports > 1, "{taken} of {bytes} in {reports} reports");
    // It was asked for a sign of life all the same.
    assert_eq!(soon(stream.read_u8()).await.unwrap(), PING);
}

#[tokio::test]
async fn a_client_that_had_to_wait_for_a_moment_is_not_pinged_for_it() {
    let send_timeout = Duration::from_millis(300);
    let (bridge, mut core) = bridge_with(Settings { send_timeout, ..Settings::default() }).await;
    let (mut socket, (mut session, _)) = join!(bridge.narrow_socket("/api/v1/ws?token=t"), core.session());
    session.send(token(1 << 20)).await;
    assert_eq!(socket.frame().await["type"], "token");
    assert!(timeout(2 * send_timeout, socket.pinged()).await.is_err());
}

#[tokio::test]
async fn the_core_is_not_told_that_a_client_took_what_waits_in_the_kernel() {
    const FRAME: usize = 4000;
    let (bridge, mut core) =
        bridge_with(Settings { send_timeout: Duration::from_millis(200), ..Settings::default() }).await;
    let (_socket, (mut session, mut credit)) = join!(bridge.narrow_socket("/api/v1/ws?token=t"), core.session());
    let bytes = encode("colloquy.v1.ConnectResponse", &token(FRAME)).len() as u64;
    let (mut granted, mut failed) = (credit, false);
    while !failed {
        while credit >= bytes {
            session.send(token(FRAME)).await;
            credit -= bytes;
        }
        let report = session.received().await.unwrap()["report"].clone();
        let more = report["credit"].as_u64().unwrap();
        (credit, granted) = (credit + more, granted + more);
        failed = report["failed_sends"] != 0;
    }
    assert!(granted < 256 * 1024, "{granted}");
}

#[tokio::test]
async fn what_was_taken_is_told_beside_what_the_client_says() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, (mut session, credit)) = join!(bridge.socket("/api/v1/ws?token=t"), core.session());
    const FRAMES: usize = 5;
    // Nobody takes them yet.
    for id in 0..FRAMES {
        socket.send(json!({"type": "ping", "id": id})).await;
    }
    session.send(token(credit as usize)).await;
    assert_eq!(socket.frame().await["type"], "token");
    let mut ids = Vec::new();
    let mut taken = false;
    while ids.len() < FRAMES || !taken {
        let request = session.received().await.unwrap();
        match &request["frame"]["id"] {
            Value::String(id) => ids.push(id.clone()),
            _ => taken |= request["report"]["credit"].as_u64().is_some_and(|taken| taken >= credit),
        }
    }
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_not_heard_on_and_on() {
    // More than may wait, and fewer than are put up with.
    const PINGS: u32 = 60;
    let (bridge, mut core) =
        bridge_with(Settings { send_timeout: Duration::from_millis(50), ..Settings::default() }).await;
    let (mut socket, (mut session, _)) = join!(bridge.narrow_socket("/api/v1/ws?token=t"), core.session());
    session.send(token(1 << 20)).await;
    reported(&mut session, "failed_sends").await;
    for _ in 0..PINGS {
        socket.send_message(tokio_tungstenite::tungstenite::Message::Ping("?".into())).await;
    }
    socket.send(json!({"type": "ping", "id": "behind"})).await;
    let heard = async { while session.received().await.unwrap()["frame"]["id"] != "behind" {} };
    let mut heard = std::pin::pin!(heard);
    assert!(timeout(Duration::from_millis(300), heard.as_mut()).await.is_err());
    let (_, token) = join!(heard, socket.frame());
    assert_eq!(token["type"], "token");
}
