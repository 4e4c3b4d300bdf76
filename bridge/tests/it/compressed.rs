//! permessage-deflate.

use colloquy_bridge::Settings;
use serde_json::{Value, json};
use tokio::join;

use super::{
    core::{Answering, Core},
    deflated::{Deflated, FIN, RSV1, TEXT, deflate, frame, head},
    harness::{Bridge, bridge, bridge_with},
};

const EXTENSIONS: &str = "sec-websocket-extensions";
const CONTINUATION: u8 = 0;
const PING: u8 = FIN | 9;
const PONG: u8 = FIN | 10;
/// What the bridges of these tests take, and read.
const MAX_FRAME_BYTES: usize = 4000;
const MAX_READ_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// A socket with compression whose session the core has opened.
async fn open(bridge: &Bridge, core: &mut Core) -> (Deflated, Answering) {
    let headers = [(EXTENSIONS, "permessage-deflate; client_max_window_bits")];
    let (socket, session) = join!(bridge.socket_with("/api/v1/ws?token=t", &headers), async {
        core.expect("SessionService/Connect").await.open()
    });
    let (socket, headers) = socket;
    assert_eq!(headers[EXTENSIONS], "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    (Deflated::new(socket.into_stream()), session)
}

async fn small_bridge() -> (Bridge, Core) {
    bridge_with(Settings { max_frame_bytes: MAX_FRAME_BYTES, ..Settings::default() }).await
}

/// A text that repeats itself after 700 bytes: too far for the smallest window.
fn far_apart() -> String {
    (0..70).map(|number| format!("{:010}", number * 7919 % 70)).collect::<String>().repeat(20)
}

fn post(content: &str) -> Value {
    json!({"type": "message", "id": "m", "data": {"content": content}})
}

#[tokio::test]
async fn messages_go_compressed_both_ways_and_short_ones_as_they_are() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    for content in ["short", &"long ".repeat(2000)] {
        socket.ask(&post(content)).await;
        assert_eq!(session.received().await.unwrap()["frame"]["message"]["content"], content);

        session.send(json!({"frame": {"id": "s", "token": {"content": content}}})).await;
        let (message, is_compressed) = socket.message().await;
        assert_eq!((&message["data"]["content"], is_compressed), (&json!(content), content.len() > 256));
    }
    // Without compression, too: it is for the client to choose.
    socket.send(&frame(FIN | TEXT, post("plain").to_string().as_bytes())).await;
    assert_eq!(session.received().await.unwrap()["frame"]["message"]["content"], "plain");
}

#[tokio::test]
async fn a_window_that_a_client_asks_for_is_kept() {
    let (bridge, mut core) = bridge().await;
    let headers = [(EXTENSIONS, "permessage-deflate; server_max_window_bits=9")];
    let ((socket, headers), mut session) = join!(bridge.socket_with("/api/v1/ws?token=t", &headers), async {
        core.expect("SessionService/Connect").await.open()
    });
    assert!(headers[EXTENSIONS].to_str().unwrap().ends_with("; server_max_window_bits=9"));
    let mut socket = Deflated::with_window(socket.into_stream(), 9);
    let content = far_apart();
    session.send(json!({"frame": {"id": "s", "token": {"content": content}}})).await;
    let (message, is_compressed) = socket.message().await;
    assert_eq!((&message["data"]["content"], is_compressed), (&json!(content), true));
}

#[tokio::test]
async fn a_large_message_goes_as_it_is_so_that_it_holds_up_nobody() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    for (bytes, compressed) in [(250_000, true), (300_000, false)] {
        let content = "x".repeat(bytes);
        session.send(json!({"frame": {"id": "s", "token": {"content": content}}})).await;
        let (message, is_compressed) = socket.message().await;
        assert_eq!(is_compressed, compressed, "{bytes}");
        assert_eq!(message["data"]["content"], content);
    }
}

#[tokio::test]
async fn an_event_is_the_same_for_all_that_get_it() {
    let (bridge, mut core) = bridge().await;
    let event = json!({"frame": {
        "id": "s1", "topic": "conversation:c", "offset": 4, "read": {"conversation_id": far_apart(), "user_id": "u", "seq": 3},
    }});
    let mut sockets = Vec::new();
    for window in [15, 9, 15, 9, 15, 9] {
        let offer = if window == 15 { "permessage-deflate" } else { "permessage-deflate; server_max_window_bits=9" };
        let headers = [(EXTENSIONS, offer)];
        let ((socket, _), session) = join!(bridge.socket_with("/api/v1/ws?token=t", &headers), async {
            core.expect("SessionService/Connect").await.open()
        });
        sockets.push((Deflated::with_window(socket.into_stream(), window), session));
    }
    for (socket, session) in &mut sockets {
        session.send(event.clone()).await;
        let (message, is_compressed) = socket.message().await;
        assert_eq!((&message["data"], is_compressed), (&event["frame"]["read"].clone(), true));
        assert_eq!((&message["topic"], &message["offset"]), (&json!("conversation:c"), &json!(4)));
    }
}

#[tokio::test]
async fn a_compressed_message_comes_in_fragments_in_bytes_and_with_pings_between() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    let content = "fragment ".repeat(300);
    let payload = deflate(post(&content).to_string().as_bytes());
    let (start, rest) = payload.split_at(7);
    let (middle, end) = rest.split_at(20);
    let bytes = [
        frame(RSV1 | TEXT, start),
        frame(PING, b"between"),
        frame(CONTINUATION, b""),
        frame(CONTINUATION, middle),
        frame(PING, b""),
        frame(FIN, end),
        frame(FIN | TEXT, post("behind").to_string().as_bytes()),
    ]
    .concat();
    socket.send(&bytes).await;
    for byte in &bytes {
        socket.send(&[*byte]).await;
    }
    for _ in 0..2 {
        assert_eq!(session.received().await.unwrap()["frame"]["message"]["content"], content);
        assert_eq!(session.received().await.unwrap()["frame"]["message"]["content"], "behind");
        // The second ping may be answered alone: it is the younger one.
        let (first, payload) = socket.next().await;
        assert_eq!(first, PONG);
        if payload == b"between" {
            assert_eq!(socket.next().await, (PONG, Vec::new()));
        }
    }
}

#[tokio::test]
async fn a_message_may_be_any_deflate_stream() {
    let (bridge, mut core) = bridge().await;
    let (mut socket, mut session) = open(&bridge, &mut core).await;
    // RFC 7692, sections 7.2.3.3 to 7.2.3.5: stored, with a last block, in two blocks; each says what no frame says.
    let streams: [&[u8]; 4] = [
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        // Section 7.2.3.6: nothing.
        &[0x00],
    ];
    for stream in streams {
        socket.send(&frame(FIN | RSV1 | TEXT, stream)).await;
        assert_eq!(socket.message().await.0["data"]["code"], "INVALID_JSON", "{stream:?}");
    }
    socket.ask(&json!({"type": "ping", "id": "still"})).await;
    assert_eq!(session.received().await.unwrap()["frame"]["id"], "still");
}

#[tokio::test]
async fn a_message_is_too_large_by_what_it_is_inflated() {
    let (bridge, mut core) = small_bridge().await;
    let (mut socket, _session) = open(&bridge, &mut core).await;
    socket.ask(&post(&"x".repeat(MAX_FRAME_BYTES))).await;
    let (refused, _) = socket.message().await;
    assert_eq!((&refused["data"]["code"], &refused["reply_to"]), (&json!("MESSAGE_TOO_LARGE"), &json!("m")));

    let bomb = deflate(&vec![b' '; 16 << 20]);
    assert!(bomb.len() < MAX_READ_BYTES * 2);
    for payload in [&deflate(&vec![b' '; MAX_READ_BYTES + 1]), &bomb[..MAX_READ_BYTES]] {
        let (mut socket, _session) = open(&bridge, &mut core).await;
        socket.send(&frame(FIN | RSV1 | TEXT, payload)).await;
        assert_eq!(socket.closed().await, 1009);
    }
}

#[tokio::test]
async fn lengths_are_not_believed() {
    let (bridge, mut core) = small_bridge().await;
    let too_long = [
        head(FIN | RSV1 | TEXT, u64::MAX),
        head(FIN | RSV1 | TEXT, MAX_READ_BYTES as u64 + 1),
        [frame(RSV1 | TEXT, &[0; 1]), head(FIN, MAX_READ_BYTES as u64)].concat(),
        [frame(RSV1 | TEXT, &[0; 1]), head(FIN, u64::MAX)].concat(),
    ];
    for bytes in too_long {
        let (mut socket, _session) = open(&bridge, &mut core).await;
        socket.send(&bytes).await;
        assert_eq!(socket.closed().await, 1009, "{bytes:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_closes_with_its_code() {
    let (bridge, mut core) = bridge().await;
    let payload = deflate(post("hello hello hello").to_string().as_bytes());
    let not_utf8 = deflate(b"{\"type\":\"ping\",\"id\":\"\xff\"}");
    let whole = FIN | RSV1 | TEXT;
    let mut unmasked = vec![whole, payload.len() as u8];
    unmasked.extend(&payload);
    let table = [
        ("not deflated", 1007, frame(whole, b"\xff\xff\xff\xff")),
        ("without its end", 1007, frame(whole, &payload[..payload.len() - 3])),
        ("with more behind its end", 1007, frame(whole, &[&payload[..], b"\x07"].concat())),
        ("nothing at all", 1007, frame(whole, b"")),
        ("not UTF-8", 1007, frame(whole, &not_utf8)),
        ("not UTF-8 in a fragment", 1007, frame(RSV1 | TEXT, &not_utf8)),
        ("RSV2", 1002, frame(FIN | 0x20 | TEXT, b"{}")),
        ("RSV1 and RSV3", 1002, frame(whole | 0x10, &payload)),
        ("a compressed ping", 1002, frame(PING | RSV1, &payload)),
        ("compressed a second time", 1002, [frame(RSV1 | TEXT, &payload[..5]), frame(FIN | RSV1, b"")].concat()),
        ("a message within another", 1002, [frame(RSV1 | TEXT, b""), frame(whole, &payload)].concat()),
        ("a plain message within another", 1002, [frame(RSV1 | TEXT, b""), frame(FIN | TEXT, b"{}")].concat()),
        ("compressed within a plain one", 1002, [frame(TEXT, b"{"), frame(whole, &payload)].concat()),
        ("the end of nothing", 1002, frame(FIN, &payload)),
        ("a compressed frame of no type", 1002, frame(FIN | RSV1 | 3, &payload)),
        ("without a mask", 1002, unmasked),
    ];
    for (what, code, bytes) in table {
        let (mut socket, _session) = open(&bridge, &mut core).await;
        socket.send(&bytes).await;
        assert_eq!(socket.closed().await, code, "{what}");
    }
}

#[tokio::test]
async fn nobody_has_to_compress() {
    let offered = [(EXTENSIONS, "permessage-deflate")];
    let settings = Settings { compress_sockets: false, ..Settings::default() };
    for (settings, offer) in [(settings, &offered[..]), (Settings::default(), &[])] {
        let (bridge, mut core) = bridge_with(settings).await;
        let ((socket, headers), _session) = join!(bridge.socket_with("/api/v1/ws?token=t", offer), async {
            core.expect("SessionService/Connect").await.open()
        });
        assert!(!headers.contains_key(EXTENSIONS));
        let mut socket = Deflated::new(socket.into_stream());
        socket.ask(&json!({"type": "ping"})).await;
        assert_eq!(socket.closed().await, 1002);
    }
}
