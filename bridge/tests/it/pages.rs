//! Health, metrics and documentation.

use std::sync::Arc;

use colloquy_bridge::Settings;
use serde_json::json;
use tokio::join;
use tonic::Status;

use super::harness::{bridge, bridge_with};

#[tokio::test]
async fn liveness_asks_nobody() {
    let (bridge, mut core) = bridge().await;
    for path in ["/health", "/api/v1/health"] {
        let answer = bridge.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "ok"})), "{path}");
    }
    assert!(core.is_idle());
}

#[tokio::test]
async fn readiness_is_the_cores() {
    let (bridge, mut core) = bridge().await;
    for (status, http) in [(1, 200), (2, 503)] {
        let (answer, ()) = join!(bridge.get("/api/v1/health/ready"), async {
            let call = core.expect("/grpc.health.v1.Health/Check").await;
            call.answer_raw(&[0x08, status]);
        });
        assert_eq!(answer.status, http);
    }
    let (answer, ()) = join!(bridge.get("/api/v1/health/ready"), async {
        core.call().await.fail(Status::unavailable("away"));
    });
    assert_eq!((answer.status.as_u16(), &*answer.error()), (503, "UNAVAILABLE"));
}

#[tokio::test]
async fn the_state_of_each_part_is_told() {
    let settings = Settings { pages_need_login: false, node: "n1".to_owned(), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (mut socket, mut session) = join!(bridge.socket("/api/v1/ws?token=t"), async { core.call().await.open() });
    session.send(json!({"frame": {"pong": {}}})).await;
    socket.frame().await;

    let (answer, ()) = join!(bridge.get("/api/health/detailed"), async {
        for _ in 0..3 {
            let call = core.expect("/grpc.health.v1.Health/Check").await;
            call.answer_raw(&[0x08, 1]);
        }
    });
    let page = answer.json();
    assert_eq!((page["status"].as_str(), page["node"].as_str()), (Some("ok"), Some("n1")));
    assert_eq!(page["connections"]["active"], 1);
    for part in ["core", "store", "live"] {
        assert_eq!(page["components"][part]["status"], "ok");
        assert!(page["components"][part]["latency_ms"].is_number());
    }
}

#[tokio::test]
async fn operators_pages_are_for_those_who_are_signed_in() {
    let settings = Settings { metrics: Some(Arc::new(|| "up 1\n".to_owned())), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (answer, ()) = join!(bridge.get("/metrics"), async {
        core.expect("UserService/GetMe").await.fail(Status::unauthenticated("no token"));
    });
    assert_eq!((answer.status.as_u16(), &*answer.error()), (401, "UNAUTHENTICATED"));
    assert_eq!(answer.header("www-authenticate"), "Bearer");

    let (answer, ()) = join!(bridge.get("/metrics"), async { core.call().await.answer(json!({})).await });
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"up 1\n"[..]));
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn there_is_no_metrics_page_without_metrics() {
    let (bridge, _core) = bridge().await;
    assert_eq!(bridge.get("/metrics").await.error(), "NOT_FOUND");
}

#[tokio::test]
async fn the_contract_is_shown_to_people_and_generators() {
    let (bridge, mut core) = bridge().await;
    let document = bridge.get("/openapi.json").await;
    assert_eq!((document.status.as_u16(), document.header("content-type")), (200, "application/json"));
    assert_eq!(document.json()["openapi"], "3.1.0");

    let page = bridge.get("/docs").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(!std::str::from_utf8(&page.body).unwrap().contains("http://"));

    let index = bridge.get("/").await;
    assert_eq!((index.status.as_u16(), index.header("location")), (303, "/docs"));
    assert!(core.is_idle());
}
