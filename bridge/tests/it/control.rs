//! Pings and pongs: what counts as an answer, and how many are put up with.

use std::time::Duration;

use colloquy_bridge::Settings;
use serde_json::json;
use tokio::join;
use tokio_tungstenite::tungstenite::Message;

use super::harness::{bridge, bridge_with};

#[tokio::test]
async fn a_pong_that_answers_nothing_is_not_told_to_the_core() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, (mut session, _)) = join!(bridge.socket("/api/v1/ws?token=t"), core.session());
    for pong in [&[0; 8][..], &1000_u64.to_be_bytes(), b"", b"unasked"] {
        socket.send_message(Message::Pong(pong.to_vec().into())).await;
    }
    socket.send(json!({"type": "ping", "id": "behind"})).await;
    assert_eq!(session.received().await.unwrap()["frame"]["id"], "behind");
}

#[tokio::test]
async fn a_ping_is_answered_once() {
    let settings = Settings { ping_interval: Duration::from_millis(50), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (mut socket, (mut session, _)) = join!(bridge.socket("/api/v1/ws?token=t"), core.session());
    let asked = socket.pinged().await;
    for _ in 0..3 {
        socket.send_message(Message::Pong(asked.clone())).await;
    }
    socket.send(json!({"type": "ping", "id": "behind"})).await;
    assert!(session.received().await.unwrap()["report"]["round_trip"].is_string());
    assert_eq!(session.received().await.unwrap()["frame"]["id"], "behind");
}

#[tokio::test]
async fn more_pings_and_pongs_than_any_client_needs_end_the_connection() {
    let (bridge, mut core) = bridge().await;
    for flood in [Message::Ping("?".into()), Message::Pong("!".into())] {
        let (mut socket, (mut session, _)) = join!(bridge.socket("/api/v1/ws?token=t"), core.session());
        for _ in 0..100 {
            socket.send_message(flood.clone()).await;
        }
        socket.send(json!({"type": "ping", "id": "borne"})).await;
        assert_eq!(session.received().await.unwrap()["frame"]["id"], "borne");

        socket.send_message(flood).await;
        assert_eq!(socket.frame().await["data"]["message"], "too many pings and pongs");
        assert_eq!(socket.closed().await, 1008);
    }
}
