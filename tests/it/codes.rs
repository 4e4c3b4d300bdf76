//! Codes of sockets: each error code of a frame and each close code that the contract names is met by somebody.

use colloquy::proto::ErrorReason;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data as Kind, OpCode},
        },
    },
};

use crate::{
    harness::{Actor, Data, PATIENCE, PostgresServer, Process, Server, Socket, soon, within},
    reasons::reasons,
};

/// Where the bridge lists what it closes sockets with.
const CLOSES: &str = include_str!("../../bridge/src/ws/farewell.rs");
/// Where clients read what to do then.
const GUIDE: &str = include_str!("../../docs/protocol.md");
/// Stories that are told at once.
const AT_ONCE: usize = 4;
/// Nobody's conversation.
const NOBODYS: &str = "00000000-0000-7000-8000-000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn every_error_code_of_frames_is_told_to_a_socket() {
    let told = reasons().into_iter().map(async |reason| {
        let name = reason.as_str_name().trim_start_matches("ERROR_REASON_");
        let Some(error) = soon(name, Box::pin(error_of(reason))).await else { return };
        assert_eq!(error["code"], name, "{error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        let comes_back = reason == ErrorReason::RateLimitExceeded;
        assert!(!comes_back || error["retry_after"].as_f64().is_some_and(|wait| wait > 1.0), "{error}");
    });
    stream::iter(told).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// The `error` that a socket gets for this reason; `None` where only calls and runs end with it.
async fn error_of(reason: ErrorReason) -> Option<Value> {
    let error = match reason {
        ErrorReason::InvalidJson => refused(&alice(&[]).await, "{").await,
        ErrorReason::InvalidMessage => refused(&alice(&[]).await, r#"{"type":"ping","colour":"red"}"#).await,
        ErrorReason::InvalidMessageType => refused(&alice(&[]).await, r#"{"type":"dance"}"#).await,
        ErrorReason::MessageTooLarge => {
            refused(&alice(&[]).await, &json!({ "type": "ping", "id": "x".repeat(65_536) }).to_string()).await
        }
        ErrorReason::ContentRejected => {
            let alice = alice(&[("content_policy", "reject")]).await;
            refused(&alice, r#"{"type":"message","message":"<script>x</script>"}"#).await
        }
        ErrorReason::Unauthenticated => first_word(&mut Socket::open(&visiting(&Server::start().await)).await).await,
        ErrorReason::PermissionDenied => {
            let server = Server::start().await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let conversation = alice.conversation().await;
            alice.add(&conversation, &bob, "viewer").await;
            refused(&bob, &post(&conversation)).await
        }
        ErrorReason::NotFound => refused(&alice(&[]).await, &post(NOBODYS)).await,
        ErrorReason::RateLimitExceeded => {
            let alice = alice(&[("messages_per_minute", "1")]).await;
            let mut socket = alice.socket().await;
            for id in ["passes", "is refused"] {
                socket.ask(id, "unsubscribe", json!({})).await;
            }
            socket.answer_to("is refused").await["data"].take()
        }
        ErrorReason::ConnectionLimitExceeded => {
            let alice = alice(&[("max_connections_per_user", "1")]).await;
            let _first = alice.socket().await;
            first_word(&mut Socket::open(&alice.socket_url("")).await).await
        }
        ErrorReason::ProcessingError => {
            let server = Server::start().await;
            let alice = server.register("alice").await;
            let conversation = alice.conversation().await;
            server.data().sql("ALTER TABLE messages RENAME TO mislaid");
            refused(&alice, &post(&conversation)).await
        }
        ErrorReason::Unavailable => {
            let mut postgres = PostgresServer::start().await;
            let alice = alice(&[("database_url", &postgres.url())]).await;
            let (conversation, mut socket) = (alice.conversation().await, alice.socket().await);
            postgres.stop().await;
            socket.send_text(post(&conversation)).await;
            socket.until("error").await["data"].take()
        }
        ErrorReason::Unspecified
        | ErrorReason::AlreadyExists
        | ErrorReason::ConversationBusy
        | ErrorReason::FailedPrecondition
        | ErrorReason::QuotaExceeded
        | ErrorReason::DeadlineExceeded
        | ErrorReason::ProviderRejected
        | ErrorReason::ProviderUnavailable
        | ErrorReason::ProviderTimeout
        | ErrorReason::ProviderProtocol
        | ErrorReason::Interrupted => return None,
    };
    Some(error)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_close_code_is_met_and_documented() {
    let listed = CLOSES.lines().filter_map(|line| Some(line.trim().strip_prefix("/// ")?.split_once(": ")?.0));
    let codes: Vec<u16> =
        listed.flat_map(|codes| codes.split([',', ' ']).filter_map(|code| code.parse().ok())).collect();
    assert!(codes.len() > 10, "{codes:?}");
    let (_, table) = GUIDE.split_once("| close code | do |\n").unwrap();
    let rows = table.lines().skip(1).map_while(|line| line.strip_prefix("| ")?.split(" | ").next());
    let documented: Vec<_> = rows.flat_map(|cell| cell.split(", ")).map(range).collect();
    for code in &codes {
        assert!(documented.iter().any(|range| range.contains(code)), "what to do after {code} is not documented");
    }
    let met = codes.into_iter().map(async |code| {
        assert_eq!(soon(&code.to_string(), Box::pin(close_by(code))).await, code);
    });
    stream::iter(met).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// The code of a socket to which happens what this code is for.
async fn close_by(code: u16) -> u16 {
    match code {
        1000 => {
            let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            after(&alice(&[]).await, Message::Close(Some(goodbye))).await
        }
        1001 => {
            // A core that takes connections and says nothing: the session is still being opened when the bridge stops.
            let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let bridge = Process::bridge(&[mute.local_addr().unwrap()], &[]).await;
            let mut socket = Socket::open(&bridge.server().visitor().with_token("any").socket_url("")).await;
            bridge.terminate().await;
            socket.close_code().await
        }
        1002 => {
            let reserved = Frame::message(&b"?"[..], OpCode::Data(Kind::Reserved(3)), true);
            after(&alice(&[]).await, Message::Frame(reserved)).await
        }
        1007 => {
            let text = Frame::message(&b"\xff"[..], OpCode::Data(Kind::Text), true);
            after(&alice(&[]).await, Message::Frame(text)).await
        }
        1008 => Socket::open(&visiting(&Server::start().await)).await.close_code().await,
        1009 => after(&alice(&[]).await, Message::text("x".repeat(1 << 20))).await,
        3000 => {
            let server = Server::start().await;
            let mut socket = server.register("alice").await.socket().await;
            let (code, ()) = tokio::join!(socket.close_code(), server.stop());
            code
        }
        3001 => {
            let core = Process::core(&Data::fresh().await, &[]).await;
            let bridge = Process::bridge(&[core.server().grpc_address()], &[]).await;
            let alice = core.server().register("alice").await.at(bridge.server());
            within(PATIENCE, "the bridge has found its core", async || {
                alice.get("/api/v1/health/ready").await.0 == 200
            })
            .await;
            let mut socket = alice.socket().await;
            core.kill().await;
            socket.close_code().await
        }
        3002 => {
            alice(&[("connection_timeout", "0.2"), ("heartbeat_interval", "10")])
                .await
                .socket()
                .await
                .close_code()
                .await
        }
        3500 => {
            let alice = alice(&[]).await;
            Socket::open(&format!("{}&session_id=mine", alice.socket_url(""))).await.close_code().await
        }
        4429 => {
            let alice = alice(&[("max_connections_per_user", "1")]).await;
            let _first = alice.socket().await;
            Socket::open(&alice.socket_url("")).await.close_code().await
        }
        4503 => {
            let alice = alice(&[("max_connections", "1")]).await;
            let _first = alice.socket().await;
            Socket::open(&alice.socket_url("")).await.close_code().await
        }
        code => panic!("a story is missing for {code}"),
    }
}

async fn alice(settings: &[(&str, &str)]) -> Actor {
    Server::with(settings).await.register("alice").await
}

/// Where somebody without a credential opens a socket.
fn visiting(server: &Server) -> String {
    format!("ws://{}/api/v1/ws", server.http())
}

/// The frame by which a message is sent.
fn post(conversation: &str) -> String {
    json!({ "type": "message", "message": "hi", "data": { "conversation_id": conversation } }).to_string()
}

/// What is wrong with a frame of this text.
async fn refused(actor: &Actor, text: &str) -> Value {
    let mut socket = actor.socket().await;
    socket.send_text(text.to_owned()).await;
    socket.until("error").await["data"].take()
}

/// What is wrong with a socket from the start.
async fn first_word(socket: &mut Socket) -> Value {
    let mut first = socket.next().await.expect("a word");
    assert_eq!(first["type"], "error", "{first}");
    first["data"].take()
}

/// How a socket is closed on which this was sent.
async fn after(actor: &Actor, message: Message) -> u16 {
    let mut socket = actor.socket().await;
    socket.send_raw(message).await;
    socket.close_code().await
}

/// Codes as the guide writes them.
fn range(cell: &str) -> std::ops::RangeInclusive<u16> {
    let (first, last) = cell.split_once('–').unwrap_or((cell, cell));
    first.parse().unwrap()..=last.parse().unwrap()
}
