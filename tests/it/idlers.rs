//! Callers who keep a server waiting: it waits for none of them for long.

use std::net::SocketAddr;

use colloquy::proto::{ConnectRequest, LoginResponse, server_frame::Payload};
use futures_util::stream;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::harness::{Data, PATIENCE, Process, Server, eventually, soon, within};

/// What an HTTP/2 connection begins with: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Opens a connection, says this much, and waits until the server has closed it.
async fn closed(address: SocketAddr, said: &[u8]) {
    let mut line = TcpStream::connect(address).await.unwrap();
    line.write_all(said).await.unwrap();
    let mut heard = Vec::new();
    // Whether it is closed or reset, it is over.
    let _ = soon("the end of the connection", line.read_to_end(&mut heard)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let server = Server::with(&[("handshake_timeout", "0.1")]).await;
    for address in [server.http(), server.grpc_address()] {
        for said in [&b""[..], &PREFACE[..10], PREFACE, b"GET / HTTP/1.1\r\n"] {
            closed(address, said).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_message_never_comes_leaves_nothing_behind() {
    let server = Server::with(&[("request_timeout", "0.2")]).await;
    let mut grpc = server.visitor().grpc();
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<ConnectRequest, LoginResponse>::default();
    let path = "/colloquy.v1.AuthService/Login".parse().unwrap();
    let call = grpc.streaming(tonic::Request::new(stream::pending()), path, codec);
    assert_eq!(soon("the answer", call).await.map(drop).unwrap_err().code(), Code::DeadlineExceeded);
    // The act has ended, or the stop would wait for it.
    timeout(PATIENCE / 2, server.stop()).await.expect("the server stops at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_watch_or_reflect_hear_of_a_stop_and_do_not_hold_it_up() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.grpc());
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    eventually("all parts serve", async || {
        health.check(request("live")).await.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
    })
    .await;
    let mut watched = Vec::new();
    for part in ["", "store", "live"] {
        watched.push(health.watch(request(part)).await.unwrap().into_inner());
    }
    let reflection = ServerReflectionClient::new(server.grpc()).server_reflection_info(stream::pending()).await;
    let mut reflection = reflection.unwrap().into_inner();

    timeout(PATIENCE / 2, server.stop()).await.expect("the server stops at once");
    for mut watched in watched {
        let mut last = None;
        while let Ok(Some(status)) = soon("the end of a watch", watched.message()).await {
            last = Some(status.status());
        }
        assert_eq!(last, Some(ServingStatus::NotServing));
    }
    assert!(!matches!(soon("the end of a reflection", reflection.message()).await, Ok(Some(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_session_that_is_not_read_is_given_up_and_told_to_come_back() {
    let data = Data::fresh().await;
    let process = Process::start(&data, &[("drain_limit", "0.5")]).await;
    let alice = process.server().register("alice").await;
    let conversation = alice.conversation().await;
    let mut request = tonic::Request::new(stream::pending());
    request.metadata_mut().insert("colloquy-session-id", conversation.parse().unwrap());
    let mut session = alice.sessions().connect(request).await.unwrap().into_inner();
    loop {
        let frame = soon("a frame", session.message()).await.unwrap().unwrap().frame.unwrap();
        if let Some(Payload::SubscriptionConfirmed(_)) = frame.payload {
            break;
        }
    }
    // More than the stream's window holds.
    for _ in 0..4 {
        let path = format!("/api/v1/conversations/{conversation}/messages");
        let (status, body) = alice.post(&path, json!({ "content": "x".repeat(30_000), "reply": false })).await;
        assert_eq!(status, 200, "{body}");
    }
    within(PATIENCE, "the session is given up", async || process.log().contains("callers do not read")).await;

    let ended = loop {
        match soon("a frame", session.message()).await {
            Ok(frame) => assert!(frame.is_some(), "a session that is given up does not end as if all were said"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
}
