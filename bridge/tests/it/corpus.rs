//! Frames of clients that are malformed, hostile or merely odd: files of `tests/corpus`, each in a folder named after what it
//! leads to, below one named after the subprotocol. They are the fuzzers' seeds, too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::{HeaderMap, header};
use serde_json::json;
use tokio::join;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::{
    core::{Answering, Core, encode, show},
    harness::{Bridge, Socket, bridge},
};

/// The folder of what is taken: the core gets it.
const TAKEN: &str = "taken";

async fn open(bridge: &Bridge, core: &mut Core, subprotocol: &'static str) -> (Socket, Answering) {
    let headers = [("sec-websocket-protocol", subprotocol)];
    let (opened, session): ((Socket, HeaderMap), _) =
        join!(bridge.socket_with("/api/v1/ws?token=t", &headers), async {
            core.expect("SessionService/Connect").await.open()
        });
    assert_eq!(opened.1[header::SEC_WEBSOCKET_PROTOCOL], subprotocol);
    (opened.0, session)
}

/// What a folder holds, in order; a corpus that is not found would test nothing.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    entries.sort();
    assert!(!entries.is_empty(), "{}", folder.display());
    entries
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Sends every frame on a socket of its own, behind which a ping must still reach the core.
async fn run(subprotocol: &'static str, folder: &str, kind: Data, error: fn(Message) -> String, ping: Message) {
    let (bridge, mut core) = bridge().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut wrong = Vec::new();
    for expected in entries(&folder) {
        for file in entries(&expected) {
            let (case, expected) = (format!("{}/{}", name(&expected), name(&file)), name(&expected));
            let (mut socket, mut session) = open(&bridge, &mut core, subprotocol).await;
            let frame = Frame::message(fs::read(&file).unwrap(), OpCode::Data(kind), true);
            socket.send_message(Message::Frame(frame)).await;
            if let Ok(code) = expected.parse::<u16>() {
                assert_eq!(socket.closed().await, code, "{case}");
                continue;
            }
            let got = tokio::select! {
                message = socket.message() => error(message),
                request = session.received() => request.map_or_else(|| "nothing".to_owned(), |_| TAKEN.to_owned()),
            };
            if got != expected {
                wrong.push(format!("{case}: {got}"));
                continue;
            }
            socket.send_message(ping.clone()).await;
            assert_eq!(session.received().await.expect(&case)["frame"]["id"], "still there", "{case}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn frames_of_json_lead_to_what_their_folder_says() {
    let error = |message: Message| {
        let frame = serde_json::from_str::<serde_json::Value>(message.to_text().unwrap()).unwrap();
        frame["data"]["code"].as_str().unwrap().to_owned()
    };
    let ping = Message::text(json!({"type": "ping", "id": "still there"}).to_string());
    run("colloquy.v1.json", "json", Data::Text, error, ping).await;
}

#[tokio::test]
async fn frames_of_protobuf_lead_to_what_their_folder_says() {
    let error = |message: Message| {
        let frame = show("colloquy.v1.ServerFrame", &message.into_data());
        frame["error"]["code"].as_str().unwrap().to_owned()
    };
    let ping = encode("colloquy.v1.ClientFrame", &json!({"id": "still there", "ping": {}}));
    run("colloquy.v1.proto", "proto", Data::Binary, error, Message::binary(ping)).await;
}
