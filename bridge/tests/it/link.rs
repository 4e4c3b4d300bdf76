//! What the core is told of sockets: how much they took, how fast they answer, when they take nothing.

use std::time::Duration;

use colloquy_bridge::{Settings, remote};
use serde_json::{Value, json};
use tokio::{join, task::JoinSet};

use super::{
    core::{Answering, Core, core, served},
    harness::{Bridge, Socket, bridge_to, bridge_with, soon},
};

/// A frame that is larger than any window here.
const LARGE: usize = 1 << 20;

/// A socket whose session the core has opened, and the credit that it begins with.
async fn open(bridge: &Bridge, core: &mut Core) -> (Socket, Answering, u64) {
    let (socket, (session, credit)) = join!(bridge.socket("/api/v1/ws?token=t"), core.session());
    (socket, session, credit)
}

/// The first report in which there is this.
pub(crate) async fn reported(session: &mut Answering, field: &str) -> Value {
    loop {
        let request = session.received().await.expect("a request");
        let value = &request["report"][field];
        if !value.is_null() && *value != json!(0) {
            return value.clone();
        }
    }
}

pub(crate) fn token(bytes: usize) -> Value {
    json!({"frame": {"id": "", "token": {"content": "x".repeat(bytes), "index": 0}}})
}

#[tokio::test]
async fn what_a_socket_took_may_be_sent_again() {
    let (bridge, mut core) = bridge_with(Settings { window_bytes: 4000, ..Settings::default() }).await;
    let (mut socket, mut session, credit) = open(&bridge, &mut core).await;
    assert_eq!(credit, 4000);
    let frame = token(1000);
    let bytes = super::core::encode("colloquy.v1.ConnectResponse", &frame).len();
    let (mut sent, mut granted) = (0, 0);
    while granted < 10 * bytes {
        // A core that keeps to its credit never waits.
        while sent < credit as usize + granted {
            session.send(frame.clone()).await;
            sent += bytes;
            socket.frame().await;
        }
        granted += reported(&mut session, "credit").await.as_u64().unwrap() as usize;
        assert!(granted <= sent, "{granted} of {sent}");
    }
}

#[tokio::test]
async fn the_core_learns_how_long_a_client_takes_to_answer_a_ping() {
    let settings = Settings { ping_interval: Duration::from_millis(20), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (mut socket, mut session, _) = open(&bridge, &mut core).await;
    let (round_trip, _) = join!(reported(&mut session, "round_trip"), async {
        for _ in 0..2 {
            socket.pinged().await;
        }
    });
    let seconds: f64 = round_trip.as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!((0.0..10.0).contains(&seconds), "{round_trip}");
}

#[tokio::test]
async fn the_core_is_told_of_a_client_that_takes_nothing_and_when_it_is_back() {
    let settings = Settings { send_timeout: Duration::from_millis(20), window_bytes: 8 * LARGE, ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (mut socket, mut session, _) = open(&bridge, &mut core).await;
    // More than the kernel keeps for a client that does not read.
    const FRAMES: usize = 24;
    let mut failures = 0;
    for _ in 0..FRAMES {
        session.send(token(LARGE)).await;
    }
    while failures < 5 {
        failures += reported(&mut session, "failed_sends").await.as_u64().unwrap();
    }
    // It is pinged as soon as it takes something, and answers while it reads on.
    let (round_trip, ()) = join!(reported(&mut session, "round_trip"), async {
        for _ in 0..FRAMES {
            assert_eq!(socket.frame().await["type"], "token");
        }
    });
    assert!(round_trip.is_string());
}

#[tokio::test]
async fn a_socket_that_takes_nothing_does_not_hold_up_others_on_the_same_connection() {
    let (mut core, upstream) = core();
    let served = served(upstream).await;
    let settings = Settings { window_bytes: 1 << 20, ..Settings::default() };
    let bridge = bridge_to(remote(std::slice::from_ref(&served.address), None).unwrap(), settings).await;
    let (mut stalled, mut sending) = (Vec::new(), JoinSet::new());
    for _ in 0..20 {
        let (socket, mut session, credit) = open(&bridge, &mut core).await;
        // All that its link takes, and nobody reads.
        sending.spawn(async move {
            for _ in 0..=credit / LARGE as u64 {
                session.send(token(LARGE)).await;
            }
            session
        });
        stalled.push(socket);
    }
    let (mut socket, mut session, _) = open(&bridge, &mut core).await;
    for _ in 0..100 {
        session.send(token(10_000)).await;
        assert_eq!(socket.frame().await["type"], "token");
    }
    soon(sending.join_all()).await;
}
