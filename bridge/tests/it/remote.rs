//! A core in another process, over HTTP/2.

use colloquy_bridge::{Settings, remote};
use serde_json::json;
use tokio::join;
use tonic::Status;

use super::{
    core::{core, served},
    harness::bridge_to,
};

#[tokio::test]
async fn calls_streams_and_sessions_reach_a_remote_core() {
    let (mut core, upstream) = core();
    let (address, _serving) = served(upstream).await;
    let bridge = bridge_to(remote(&[address]).unwrap(), Settings::default()).await;

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
async fn an_address_is_needed() {
    assert!(remote(&[]).is_err());
}
