//! Churn: thousands of connections come and go, in order or not, and nothing of them stays.

use std::time::Duration;

use colloquy::proto::{Typing, client_frame};
use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, runtime::Handle, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Actor, Data, Native, Process, RedisServer, Server, Socket, soon, within};

/// Connections that come and go, and how many are there at once.
const CONNECTIONS: usize = 10_000;
const AT_ONCE: usize = 64;
/// Connections before the first count: pools and caches are as large then as they get.
const FIRST: usize = 500;
/// Those who connect; each two of them share a conversation.
const USERS: usize = 16;
/// How long all of them may take.
const LIMIT: Duration = Duration::from_secs(240);
/// How long what is left of the last may take to go.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// Open files beside those of connections: pools grow and shrink by a few.
const LEEWAY: usize = 16;

/// What counts what is live.
const GAUGES: [&str; 7] = [
    "colloquy_bus_topics",
    "colloquy_connections",
    "colloquy_delivery_notes",
    "colloquy_presence_users",
    "colloquy_presence_views",
    "colloquy_sockets_open",
    "colloquy_viewers",
];

/// Each with a conversation of theirs.
type People = Vec<(Actor, String)>;

async fn people(server: &Server) -> People {
    let mut people: People = Vec::new();
    for number in 0..USERS / 2 {
        let owner = server.register(&format!("owner{number}")).await;
        let member = server.register(&format!("member{number}")).await;
        let conversation = owner.conversation().await;
        owner.add(&conversation, &member, "member").await;
        people.extend([(owner, conversation.clone()), (member, conversation)]);
    }
    people
}

/// So many connections, each opened and closed.
async fn churn(server: &Server, people: &People, count: usize) {
    let visits = stream::iter(0..count).map(|number| {
        let (actor, conversation) = &people[number / 2 % people.len()];
        visit(server, actor, conversation, number)
    });
    timeout(LIMIT, visits.buffer_unordered(AT_ONCE).collect::<()>()).await.expect("they come and go in time");
}

/// One connection: most are sockets, and half of all break off.
async fn visit(server: &Server, actor: &Actor, conversation: &str, number: usize) {
    let is_orderly = number.is_multiple_of(2);
    let typing = json!({ "conversation_id": conversation, "is_typing": true });
    match number / 2 % 10 {
        0 => {
            let path = format!("/api/v1/presence/stream?conversation_id={conversation}");
            let mut events = soon("a stream", actor.request(Method::GET, &path).send()).await.unwrap();
            soon("its first event", events.chunk()).await.unwrap();
        }
        1 => {
            let mut native = Native::open(actor, number.is_multiple_of(4).then_some(1)).await;
            native.subscribe(&[(conversation, Some(0))]);
            let payload = Typing { conversation_id: conversation.to_owned(), is_typing: true };
            native.ask(client_frame::Payload::Typing(payload));
            native.next().await;
            if is_orderly {
                native.hang_up();
                while matches!(native.try_next().await, Ok(Some(_))) {}
            }
        }
        2 => {
            // Nobody is there any more when the session opens, or not even when the request is whole.
            if is_orderly {
                Socket::open(&actor.socket_url("")).await.cut();
            } else {
                let mut line = TcpStream::connect(server.http()).await.unwrap();
                line.write_all(b"GET /api/v1/ws HTTP/1.1\r\nhost: chat\r\nupgr").await.unwrap();
            }
        }
        _ => {
            let mut socket = Socket::open(&actor.socket_url(&format!("/{conversation}"))).await;
            socket.until("subscription.confirmed").await;
            socket.ask("events", "subscribe", json!({ "events": ["file.ready"] })).await;
            socket.ask("typing", "typing", typing).await;
            let status = ["online", "away", "busy", "offline"][number / 20 % 4];
            socket.ask("presence", "presence", json!({ "status": status })).await;
            loop {
                let frame = socket.next().await;
                let frame = frame.unwrap_or_else(|| panic!("ended {number}"));
                assert!(frame["type"] != "reconnect", "{number}: {frame}");
                if frame["reply_to"] == "events" {
                    break;
                }
            }
            if is_orderly {
                socket.send_raw(Message::Close(None)).await;
                while socket.next().await.is_some() {}
            } else {
                socket.cut();
            }
        }
    }
}

/// What a node counts as live.
async fn gauges(actor: &Actor) -> Vec<(&'static str, f64)> {
    let page = soon("the metrics", actor.request(Method::GET, "/metrics").send()).await.unwrap().text().await.unwrap();
    let value = |name| page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    GAUGES.map(|name| (name, value(name).unwrap_or_default())).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_leave_nothing_behind() {
    let redis = RedisServer::start().await;
    let node = Process::start(&Data::fresh().await, &[("redis_url", &redis.url())]).await;
    let people = people(node.server()).await;
    let actor = &people[0].0;
    churn(node.server(), &people, FIRST).await;
    let is_quiet = async || gauges(actor).await.iter().all(|(name, value)| *name == GAUGES[0] || *value == 0.0);
    within(SETTLES_WITHIN, "nobody is there", is_quiet).await;
    let (counted, files, keys) = (gauges(actor).await, node.open_files(), redis.lasting_keys().await);

    churn(node.server(), &people, CONNECTIONS).await;
    let mut now = Vec::new();
    let is_as_before = async || {
        now = gauges(actor).await;
        now == counted && node.open_files() <= files + LEEWAY
    };
    within(SETTLES_WITHIN, "all is as before", is_as_before).await;
    assert_eq!(redis.lasting_keys().await, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_outlives_its_connection() {
    let server = Server::start().await;
    let people = people(&server).await;
    // The clients' tasks are counted as well, and end with their connections.
    let tasks = || Handle::current().metrics().num_alive_tasks();
    churn(&server, &people, FIRST).await;
    let before = tasks();
    churn(&server, &people, FIRST * 2).await;
    within(SETTLES_WITHIN, "the tasks have ended", async || tasks() <= before).await;
}
