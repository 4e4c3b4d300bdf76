//! Real sockets that are read late, with a kernel that keeps little for them: what they miss is theirs alone.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::harness::{
    Actor, Server, Socket, soon,
    upstream::{Script, Upstream, piece},
};

/// Far more than the kernel, the bridge and a viewer's lanes keep together.
const PIECES: usize = 2000;
/// On a slow machine an answer lasts longer than the ten seconds of five failed sends, after which nothing waits in lanes.
const PATIENT: (&str, &str) = ("send_breaker_failures", "1000");

/// Somebody on a socket who reads when told to.
struct Reader {
    socket: WebSocketStream<tokio::net::TcpStream>,
    conversation: String,
    /// The last place that was seen, and the epoch of the topic.
    place: (i64, String),
    text: String,
    pieces: usize,
}

/// Why a reader has stopped.
#[derive(Debug, PartialEq)]
enum Stop {
    /// The answer has ended.
    End,
    /// The socket was closed with this code, after it was asked to come back for this reason.
    Closed(u16, Option<String>),
}

impl Reader {
    async fn join(bob: &Actor, conversation: &str) -> Self {
        let topic = json!({ "topic": format!("conversation:{conversation}") });
        let (socket, place, _) = enter(bob, topic).await;
        Self { socket, conversation: conversation.to_owned(), place, text: String::new(), pieces: 0 }
    }

    /// Comes back to where it was.
    async fn resume(&mut self, bob: &Actor) {
        let (offset, epoch) = &self.place;
        let topic = json!({ "topic": format!("conversation:{}", self.conversation), "offset": offset, "epoch": epoch });
        let (socket, _, is_recovered) = enter(bob, topic).await;
        assert!(is_recovered, "what was missed is there");
        self.socket = socket;
    }

    /// Reads on until something ends.
    async fn read(&mut self) -> Stop {
        let mut reason = None;
        loop {
            let frame = match soon("a message", self.socket.next()).await.unwrap().unwrap() {
                Message::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
                Message::Close(close) => return Stop::Closed(close.unwrap().code.into(), reason),
                _ => continue,
            };
            if let Some(offset) = frame["offset"].as_i64() {
                self.place.0 = offset;
            }
            match frame["type"].as_str().unwrap() {
                "token" => {
                    assert_eq!(frame["data"]["index"], self.text.len());
                    self.text += frame["data"]["content"].as_str().unwrap();
                    self.pieces += 1;
                }
                "reconnect" => reason = frame["data"]["reason"].as_str().map(str::to_owned),
                "end" => return Stop::End,
                _ => {}
            }
        }
    }
}

/// Opens a socket whose kernel keeps as little as it can, and subscribes.
async fn enter(bob: &Actor, topic: Value) -> (WebSocketStream<tokio::net::TcpStream>, (i64, String), bool) {
    let url = bob.socket_url("");
    let stream = TcpSocket::new_v4().unwrap();
    stream.set_recv_buffer_size(4096).unwrap();
    let address = url.trim_start_matches("ws://").split('/').next().unwrap().parse().unwrap();
    let stream = soon("a connection", stream.connect(address)).await.unwrap();
    let (mut socket, _) = soon("a handshake", client_async(url, stream)).await.unwrap();
    let subscribe = json!({ "type": "subscribe", "id": "s", "data": { "topics": [topic] } });
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    loop {
        let message = soon("a message", socket.next()).await.unwrap().unwrap();
        let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        if frame["type"] == "subscription.confirmed" {
            let topic = &frame["data"]["topics"][0];
            let place = (topic["offset"].as_i64().unwrap(), topic["epoch"].as_str().unwrap().to_owned());
            return (socket, place, topic["recovered"] == true);
        }
    }
}

/// Reads an answer's text on until it has so many bytes or more.
async fn follow(socket: &mut Socket, text: &mut String, until: usize) {
    while text.len() < until {
        let token = socket.until("token").await;
        assert_eq!(token["data"]["index"], text.len());
        *text += token["data"]["content"].as_str().unwrap();
    }
}

/// Alice's conversation with bob, who does not read, and carol, who does and has joined.
async fn company(server: &Server) -> (Actor, Actor, String, Socket) {
    let (alice, bob, carol) =
        (server.register("alice").await, server.register("bob").await, server.register("carol").await);
    let conversation = alice.conversation().await;
    alice.add(&conversation, &bob, "member").await;
    alice.add(&conversation, &carol, "member").await;
    let mut socket = carol.socket().await;
    let topic = json!({ "topic": format!("conversation:{conversation}") });
    socket.ask("subscribe", "subscribe", json!({ "topics": [topic] })).await;
    socket.answer_to("subscribe").await;
    (alice, bob, conversation, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_late_gets_the_answer_in_fewer_pieces_and_delays_nobody() {
    let upstream = Upstream::start(Script::anthropic().pieces(PIECES).end()).await;
    let server = Server::asking(&upstream, &[("lane_frames", "50"), PATIENT]).await;
    let (alice, bob, conversation, mut carol) = company(&server).await;
    let mut reader = Reader::join(&bob, &conversation).await;
    alice.send(&conversation, "hi").await;

    let whole: String = (1..=PIECES).map(piece).collect();
    let mut text = String::new();
    follow(&mut carol, &mut text, whole.len()).await;
    carol.until("end").await;
    assert_eq!(text, whole);

    assert_eq!(reader.read().await, Stop::End);
    assert_eq!(reader.text, whole);
    assert!(reader.pieces < PIECES / 2, "{}", reader.pieces);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_late_is_asked_to_come_back_and_then_has_every_byte() {
    const MESSAGES: usize = 30;
    let upstream = Upstream::start(Script::anthropic().stepped().pieces(PIECES).end()).await;
    let settings = [("lane_frames", "10"), ("history_events", "5000"), PATIENT];
    let server = Server::asking(&upstream, &settings).await;
    let (alice, bob, conversation, mut carol) = company(&server).await;
    let mut reader = Reader::join(&bob, &conversation).await;
    alice.send(&conversation, "hi").await;
    carol.until("start").await;

    let whole: String = (1..=PIECES).map(piece).collect();
    let half: usize = (1..=PIECES / 2).map(|number| piece(number).len()).sum();
    let mut text = String::new();
    upstream.release(PIECES / 2);
    follow(&mut carol, &mut text, half).await;
    // More than may wait, and none of them can be joined.
    for _ in 0..MESSAGES {
        let body = json!({ "content": "still there?", "reply": false });
        assert_eq!(alice.post(&format!("/api/v1/conversations/{conversation}/messages"), body).await.0, 200);
        carol.until("message").await;
    }
    upstream.release(PIECES);
    follow(&mut carol, &mut text, whole.len()).await;
    assert_eq!(text, whole);

    assert_eq!(reader.read().await, Stop::Closed(3000, Some("slow_reader".to_owned())));
    assert!(reader.text.len() < half, "it had read {} bytes", reader.text.len());
    reader.resume(&bob).await;
    assert_eq!(reader.read().await, Stop::End);
    assert_eq!(reader.text, whole);
}
