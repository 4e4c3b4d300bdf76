//! Which requests become sockets, and what the others are told.

use http::Method;

use super::harness::bridge;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// A handshake as browsers send it.
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

#[tokio::test]
async fn a_handshake_is_taken_however_its_names_are_written() {
    let (bridge, _core) = bridge().await;
    let response = bridge.open(Method::GET, "/api/v1/ws", &HANDSHAKE, "").await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_told_what_one_is() {
    let (bridge, _core) = bridge().await;
    for (name, value) in [
        ("connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "c2hvcnQ="),
        ("sec-websocket-key", "no base64 at all, but long"),
    ] {
        let headers = HANDSHAKE.map(|header| if header.0 == name { (name, value) } else { header });
        let answer = bridge.send(Method::GET, "/api/v1/ws", &headers, "").await;
        assert_eq!((answer.status.as_u16(), &*answer.error()), (426, "INVALID_ARGUMENT"), "{name}: {value}");
        assert_eq!((answer.header("upgrade"), answer.header("sec-websocket-version")), ("websocket", "13"));
        assert_eq!(answer.header("connection"), "upgrade");
    }
    assert_eq!(bridge.get("/api/v1/ws").await.status, 426);
    assert_eq!(bridge.send(Method::POST, "/api/v1/ws", &[], "").await.status, 404);
}
