//! A core in another process, over HTTP/2.

use colloquy_bridge::{AddressError, Settings, remote};
use http::{Method, Uri};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::{join, net::TcpListener};
use tonic::Status;

use super::{
    core::{Core, Served, core, served, served_on},
    harness::{Bridge, bridge_to, soon},
};

const ME: &str = "/api/v1/users/me";

/// A bridge in front of two cores that are served.
async fn two_cores() -> (Bridge, [(Core, Option<Served>); 2]) {
    let mut cores = Vec::new();
    for _ in 0..2 {
        let (core, upstream) = core();
        cores.push((core, Some(served(upstream).await)));
    }
    let addresses: Vec<_> = cores.iter().flat_map(|(_, served)| served).map(|served| served.address.clone()).collect();
    let bridge = bridge_to(remote(&addresses, None).unwrap(), Settings::default()).await;
    (bridge, cores.try_into().ok().unwrap())
}

/// Makes a call and answers it at whichever core it comes to: 0 or 1.
async fn called(bridge: &Bridge, [one, other]: &mut [(Core, Option<Served>); 2]) -> usize {
    let (answer, number) = join!(bridge.get(ME), async {
        let (call, number) = tokio::select! {
            call = one.0.call() => (call, 0),
            call = other.0.call() => (call, 1),
        };
        call.answer(json!({"user": {}})).await;
        number
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    number
}

/// Calls until the core that is to leave has been called, so that the bridge has a connection there.
async fn until_called(bridge: &Bridge, cores: &mut [(Core, Option<Served>); 2], number: usize) {
    soon(async { while called(bridge, cores).await != number {} }).await;
}

#[tokio::test]
async fn calls_streams_and_sessions_reach_a_remote_core() {
    let (mut core, upstream) = core();
    let served = served(upstream).await;
    let bridge = bridge_to(remote(std::slice::from_ref(&served.address), None).unwrap(), Settings::default()).await;

    let (answer, ()) = join!(bridge.get("/api/v1/users/me"), async {
        core.expect("UserService/GetMe").await.answer(json!({"user": {"username": "ada"}})).await;
    });
    assert_eq!(answer.json()["user"]["username"], "ada");

    let (answer, ()) = join!(bridge.get("/api/v1/users/nobody"), async {
        core.expect("UserService/GetUser").await.fail(Status::not_found("there is no such user"));
    });
    assert_eq!((answer.status.as_u16(), &*answer.error()), (404, "NOT_FOUND"));

    let (answer, ()) = join!(bridge.get("/api/v1/chat/stream/m"), async {
        core.expect("ChatService/ResumeChat").await.answer(json!({"event": {"end": {}}})).await;
    });
    assert!(answer.body.starts_with(b"id: 0\ndata: {\"type\":\"end\","));

    let (mut socket, mut session) =
        join!(bridge.socket("/api/v1/ws?token=t"), async { core.expect("SessionService/Connect").await.open() });
    socket.send(json!({"type": "ping", "id": "1"})).await;
    assert_eq!(session.received().await.unwrap()["frame"]["id"], "1");
    session.send(json!({"frame": {"pong": {}}})).await;
    assert_eq!(socket.frame().await["type"], "pong");
    session.end(Status::unauthenticated("revoked")).await;
    assert_eq!(socket.closed().await, 1008);
}

#[tokio::test]
async fn calls_are_spread_over_the_cores_that_answer() {
    let (bridge, mut cores) = two_cores().await;
    until_called(&bridge, &mut cores, 0).await;
    until_called(&bridge, &mut cores, 1).await;
    // From now on both are connected, and the one with the socket is the busier.
    let (opened, session) = join!(bridge.socket("/api/v1/ws?token=t"), async {
        let [one, other] = &mut cores;
        tokio::select! {
            call = one.0.call() => (call.open(), 0),
            call = other.0.call() => (call.open(), 1),
        }
    });
    for _ in 0..4 {
        assert_ne!(called(&bridge, &mut cores).await, session.1);
    }
    drop((opened, session));
}

#[tokio::test]
async fn a_core_that_cannot_be_reached_costs_no_call() {
    // Held, so that nobody else listens there.
    let dead = tokio::net::TcpSocket::new_v4().unwrap();
    dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = format!("http://{}", dead.local_addr().unwrap()).parse().unwrap();
    let (mut core, upstream) = core();
    let served = served(upstream).await;
    let bridge = bridge_to(remote(&[dead, served.address.clone()], None).unwrap(), Settings::default()).await;
    for _ in 0..8 {
        let (answer, ()) = join!(bridge.get(ME), async { core.call().await.answer(json!({"user": {}})).await });
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_core_that_dies_between_calls_costs_no_call() {
    let (bridge, mut cores) = two_cores().await;
    until_called(&bridge, &mut cores, 0).await;
    cores[0].1 = None;
    let [_, (other, _)] = &mut cores;
    for _ in 0..8 {
        let (answer, ()) = join!(bridge.get(ME), async { other.call().await.answer(json!({"user": {}})).await });
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_core_that_leaves_finishes_what_it_has_and_gets_nothing_new() {
    let (bridge, mut cores) = two_cores().await;
    until_called(&bridge, &mut cores, 0).await;
    let mut number = 1;
    let mut underway = Vec::new();
    // A stream at the core that leaves; those at the other one only make it the busier.
    while number != 0 {
        let (response, answering) = join!(bridge.open(Method::GET, "/api/v1/chat/stream/m", &[], ""), async {
            let [one, other] = &mut cores;
            tokio::select! {
                call = one.0.call() => (call.open(), 0),
                call = other.0.call() => (call.open(), 1),
            }
        });
        number = answering.1;
        underway.push((response, answering.0));
    }
    cores[0].1.as_ref().unwrap().leave();
    // Calls that cross its word are still answered. Without that word every other call would be its own.
    let mut elsewhere = 0;
    soon(async {
        while elsewhere < 8 {
            elsewhere = if called(&bridge, &mut cores).await == 1 { elsewhere + 1 } else { 0 };
        }
    })
    .await;
    let (response, mut answering) = underway.pop().unwrap();
    answering.send(json!({"event": {"end": {}}})).await;
    answering.end(Status::ok("")).await;
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    assert!(body.starts_with(b"id: 0\ndata: {\"type\":\"end\","), "{body:?}");
}

#[tokio::test]
async fn a_call_that_may_have_been_taken_is_not_made_again() {
    let (bridge, mut cores) = two_cores().await;
    until_called(&bridge, &mut cores, 0).await;
    let (answer, number) = join!(bridge.post("/api/v1/conversations", json!({})), async {
        let [one, other] = &mut cores;
        let number = tokio::select! {
            call = one.0.call() => { drop(one.1.take()); drop(call); 0 }
            call = other.0.call() => { drop(other.1.take()); drop(call); 1 }
        };
        number
    });
    assert_eq!((answer.status.as_u16(), &*answer.error()), (503, "UNAVAILABLE"));
    assert!(cores[1 - number].0.is_idle());
}

#[tokio::test]
async fn streams_of_a_core_that_dies_ask_to_come_back() {
    let (mut core, upstream) = core();
    let served = served(upstream).await;
    let bridge = bridge_to(remote(std::slice::from_ref(&served.address), None).unwrap(), Settings::default()).await;
    let (mut socket, session) =
        join!(bridge.socket("/api/v1/ws?token=t"), async { core.expect("SessionService/Connect").await.open() });
    let (events, mut answering) = join!(bridge.open(Method::GET, "/api/v1/chat/stream/m", &[], ""), async {
        core.expect("ChatService/ResumeChat").await.open()
    });
    answering.send(json!({"event": {"offset": 1, "token": {"message_id": "m", "content": "a"}}})).await;
    let mut body = events.into_body();
    soon(body.frame()).await.unwrap().unwrap();
    drop(served);
    assert_eq!(socket.closed().await, 3001);
    let last = soon(body.collect()).await.unwrap().to_bytes();
    let last: Value = serde_json::from_slice(last.strip_prefix(b"id: 1\ndata: ").unwrap()).unwrap();
    assert_eq!((&last["code"], &last["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "{last}");
    drop((session, answering));
}

#[tokio::test]
async fn without_any_core_calls_are_told_when_to_try_again_and_served_when_one_is_back() {
    let (mut core, upstream) = core();
    let served = served(upstream.clone()).await;
    let address = served.address.clone();
    let bridge = bridge_to(remote(std::slice::from_ref(&address), None).unwrap(), Settings::default()).await;
    let (answer, ()) = join!(bridge.get(ME), async { core.call().await.answer(json!({"user": {}})).await });
    assert_eq!(answer.status, 200);
    drop(served);
    let answer = soon(async {
        loop {
            let answer = bridge.get(ME).await;
            // The bridge may not know yet that its connection is gone.
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!((answer.status.as_u16(), &*answer.error()), (503, "UNAVAILABLE"));
    assert_eq!((answer.header("retry-after"), &answer.detail("retry_info")["retry_delay"]), ("1", &json!(1.0)));

    let listener = TcpListener::bind(address.authority().unwrap().as_str()).await.unwrap();
    let _served = served_on(listener, upstream);
    let answer = soon(async {
        loop {
            let answered = tokio::select! {
                answer = bridge.get(ME) => answer,
                () = async { loop { core.call().await.answer(json!({"user": {}})).await } } => continue,
            };
            if answered.status == 200 {
                return answered;
            }
        }
    });
    answer.await;
}

#[tokio::test]
async fn addresses_are_needed_and_are_checked() {
    assert_eq!(remote(&[], None).unwrap_err(), AddressError::Missing);
    for wrong in ["core:50051", "ftp://core:50051", "/core"] {
        let wrong: Uri = wrong.parse().unwrap();
        assert_eq!(remote(std::slice::from_ref(&wrong), None).unwrap_err(), AddressError::Malformed(wrong));
    }
    let secured: Uri = "https://core:50051".parse().unwrap();
    assert_eq!(remote(std::slice::from_ref(&secured), None).unwrap_err(), AddressError::WithoutTls(secured));
}
