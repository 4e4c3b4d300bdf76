//! Churn: thousands of connections come and go, in order or not, and nothing of them stays.

use std::{collections::VecDeque, future::ready, time::Duration};

use colloquy::proto::{Typing, client_frame};
use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    runtime::Handle,
    time::{Instant, interval, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Actor, Data, Native, Process, RedisServer, Server, Socket, soon, within};

/// Connections that come and go, and how many are there at once.
const CONNECTIONS: usize = 10_000;
const AT_ONCE: usize = 64;
/// Connections before the first count: pools and caches are as large then as they get.
const FIRST: usize = 500;
/// Those who connect; each two of them share a conversation.
const USERS: usize = 16;
/// How long all of them may take, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(1200);
/// How long one of them may take; whoever has to wait longer breaks off.
const VISIT: Duration = Duration::from_secs(15);
/// How long what is left of the last may take to go.
const SETTLES_WITHIN: Duration = Duration::from_secs(180);
/// Open files beside those of connections: pools grow and shrink by a few.
const LEEWAY: usize = 16;

/// What counts answers in the making.
const RUNS: &str = "colloquy_runs_active";
/// What counts what is live, the topics first: they stay for a while.
const GAUGES: [&str; 15] = [
    "colloquy_bus_topics",
    "colloquy_connection_health{status=\"degraded\"}",
    "colloquy_connection_health{status=\"healthy\"}",
    "colloquy_connection_health{status=\"unhealthy\"}",
    "colloquy_connections",
    "colloquy_delivery_notes",
    "colloquy_frames_waiting{lane=\"critical\"}",
    "colloquy_frames_waiting{lane=\"high\"}",
    "colloquy_frames_waiting{lane=\"low\"}",
    "colloquy_frames_waiting{lane=\"medium\"}",
    "colloquy_presence_users",
    "colloquy_presence_views",
    RUNS,
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

/// So many connections, each opened and closed. A node that is busy may ask some to come back, and those have come and gone too.
async fn churn(server: &Server, people: &People, count: usize) {
    let visits = stream::iter(0..count).map(async |number| {
        let (actor, conversation) = &people[number / 2 % people.len()];
        timeout(VISIT, visit(server, actor, conversation, number)).await.ok().flatten()
    });
    let stayed = visits.buffer_unordered(AT_ONCE).filter(|whole| ready(whole.is_some())).count();
    let stayed = timeout(LIMIT, stayed).await.expect("they come and go in time");
    assert!(stayed > count / 2, "only {stayed} of {count} were let stay");
    // Everybody takes what is left for them, once no answer is under way, and leaves what is kept of them as it always is.
    let is_answered = async || !gauges(&people[0].0).await.iter().any(|gauge| gauge.0 == RUNS && gauge.1 > Some(0.0));
    within(SETTLES_WITHIN, "answers end", is_answered).await;
    let begun = Instant::now();
    let mut guests: VecDeque<_> = people.iter().collect();
    while let Some(guest) = guests.pop_front() {
        assert!(begun.elapsed() < LIMIT, "they settle in time");
        if !matches!(timeout(VISIT, settle(guest)).await, Ok(Some(()))) {
            guests.push_back(guest);
        }
    }
}

/// Somebody takes what is left for them, and is online at last.
async fn settle((actor, conversation): &(Actor, String)) -> Option<()> {
    let mut socket = Socket::open(&actor.socket_url(&format!("/{conversation}"))).await;
    until(&mut socket, |frame| frame["type"] == "subscription.confirmed").await?;
    socket.offer("presence", "presence", json!({ "status": "online" })).await?;
    socket.offer("all", "ping", json!({})).await?;
    until(&mut socket, |frame| frame["reply_to"] == "all").await?;
    leave(socket).await
}

/// One connection: most are sockets, and half of all break off. `None` when the server asked to come back in the middle.
async fn visit(server: &Server, actor: &Actor, conversation: &str, number: usize) -> Option<()> {
    let is_orderly = number.is_multiple_of(2);
    match number / 2 % 10 {
        0 => {
            let path = format!("/api/v1/presence/stream?conversation_id={conversation}");
            let mut events = soon("a stream", actor.request(Method::GET, &path).send()).await.unwrap();
            soon("its first event", events.chunk()).await.ok()??;
        }
        1 => {
            let mut native = Native::try_open(actor, number.is_multiple_of(4).then_some(1)).await.ok()?;
            native.subscribe(&[(conversation, Some(0))]);
            let payload = Typing { conversation_id: conversation.to_owned(), is_typing: true };
            native.ask(client_frame::Payload::Typing(payload));
            native.try_next().await.ok()??;
            if is_orderly {
                native.hang_up();
                while matches!(native.try_next().await, Ok(Some(_))) {}
            }
        }
        2..=5 => {
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
            act(&mut socket, conversation, number).await?;
            if is_orderly {
                leave(socket).await?;
            } else {
                socket.cut();
            }
        }
    }
    Some(())
}

/// What somebody does on a socket; some send a message, and wait for its answer to end, or only to begin.
async fn act(socket: &mut Socket, conversation: &str, number: usize) -> Option<()> {
    until(socket, |frame| frame["type"] == "subscription.confirmed").await?;
    socket.offer("events", "subscribe", json!({ "events": ["file.ready"] })).await?;
    socket.offer("typing", "typing", json!({ "conversation_id": conversation, "is_typing": true })).await?;
    let status = ["online", "away", "busy", "offline"][number / 20 % 4];
    socket.offer("presence", "presence", json!({ "status": status })).await?;
    until(socket, |frame| frame["reply_to"] == "events").await?;
    if number / 2 % 10 != 9 {
        return Some(());
    }
    socket.offer("send", "message", json!({ "content": "hello", "conversation_id": conversation })).await?;
    let accepted = until(socket, |frame| frame["reply_to"] == "send").await?;
    // Another answer may be under way there.
    if accepted["type"] != "error" && number.is_multiple_of(2) {
        let reply = &accepted["data"]["reply_message_id"];
        until(socket, |frame| frame["type"] == "end" && frame["data"]["message_id"] == *reply).await?;
    }
    Some(())
}

/// The next frame of this kind, or `None` where the server asks to come back.
async fn until(socket: &mut Socket, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
    loop {
        let frame = socket.next().await?;
        if is_it(&frame) {
            return Some(frame);
        }
        if frame["type"] == "reconnect" {
            return None;
        }
    }
}

/// Ends a connection in order.
async fn leave(mut socket: Socket) -> Option<()> {
    socket.offer_raw(Message::Close(None)).await?;
    while socket.next().await.is_some() {}
    Some(())
}

/// What a node counts as live; `None` where it has not counted yet.
async fn gauges(actor: &Actor) -> Vec<(&'static str, Option<f64>)> {
    let page = soon("the metrics", actor.request(Method::GET, "/metrics").send()).await.unwrap().text().await.unwrap();
    let value = |name| page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    GAUGES.map(|name| (name, value(name))).into()
}

/// What a node and its Redis hold.
#[derive(Debug)]
struct Left {
    gauges: Vec<(&'static str, Option<f64>)>,
    keys: Vec<String>,
}

/// What is left as soon as it is as it should be; fails with what it is instead.
async fn settled(actor: &Actor, redis: &RedisServer, is_settled: impl Fn(&Left) -> bool) -> Left {
    let (deadline, mut again) = (Instant::now() + SETTLES_WITHIN, interval(Duration::from_millis(100)));
    loop {
        let left = Left { gauges: gauges(actor).await, keys: redis.keys().await };
        if is_settled(&left) {
            return left;
        }
        assert!(Instant::now() < deadline, "left after {SETTLES_WITHIN:?}: {left:#?}");
        again.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_leave_nothing_behind() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings =
        [("redis_url", url.as_str()), ("node_ttl", "10"), ("report_interval", "0.5"), ("echo_interval", "0")];
    let node = Process::start(&Data::fresh().await, &settings).await;
    let people = people(node.server()).await;
    let actor = &people[0].0;
    churn(node.server(), &people, FIRST).await;
    let before = settled(actor, &redis, |left| {
        left.gauges[0].1.is_some()
            && left.gauges[1..].iter().all(|(_, value)| *value == Some(0.0))
            && !left.keys.iter().any(|key| key.contains("{places}"))
    });
    let before = before.await;
    let files = node.open_files();

    churn(node.server(), &people, CONNECTIONS).await;
    // Of topics that nobody views any more some may be dropped in between.
    let is_as_before = |left: &Left| {
        left.gauges[0].1 <= before.gauges[0].1 && left.gauges[1..] == before.gauges[1..] && left.keys == before.keys
    };
    settled(actor, &redis, is_as_before).await;
    let files_are_closed = async || node.open_files() <= files + LEEWAY;
    within(SETTLES_WITHIN, "files are closed", files_are_closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_outlives_its_connection() {
    let server = Server::with(&[("echo_interval", "0")]).await;
    let people = people(&server).await;
    // The clients' tasks are counted as well, and end with their connections.
    let tasks = || Handle::current().metrics().num_alive_tasks();
    churn(&server, &people, FIRST).await;
    let before = tasks();
    churn(&server, &people, FIRST * 2).await;
    within(SETTLES_WITHIN, "the tasks have ended", async || tasks() <= before).await;
}
