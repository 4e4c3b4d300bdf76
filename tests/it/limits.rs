//! Limits, as clients meet them: how much they may send, how often they may call, how many connections they may have.

use colloquy::proto::{ClientFrame, ConnectRequest};
use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Actor, RedisServer, Server, Socket, eventually, reason, retry_after};

/// Where a node counts.
#[derive(Clone, Copy, Debug)]
enum Ground {
    Memory,
    Redis,
    /// In memory, for Redis is away.
    RedisGone,
}

impl Ground {
    const ALL: [Self; 3] = [Self::Memory, Self::Redis, Self::RedisGone];

    /// Somebody on a node with these settings, and the Redis server that it is to have.
    async fn alice(self, settings: &[(&str, &str)]) -> (Actor, Option<RedisServer>) {
        if matches!(self, Self::Memory) {
            return (Server::with(settings).await.register("alice").await, None);
        }
        let mut redis = RedisServer::start().await;
        let url = redis.url();
        let settings = [&[("redis_url", url.as_str())], settings].concat();
        let alice = Server::with(&settings).await.register("alice").await;
        if matches!(self, Self::RedisGone) {
            redis.stop().await;
            eventually("it is reported", async || lacks_redis(&alice).await).await;
        }
        (alice, Some(redis))
    }
}

/// Whether the node says that Redis is away.
async fn lacks_redis(actor: &Actor) -> bool {
    let (_, health) = actor.get("/api/health/detailed").await;
    health["components"]["live"]["status"] == "unavailable"
}

/// Sends messages that nobody answers, under the ids 1 to `count`.
async fn chatter(socket: &mut Socket, conversation: &str, count: usize) {
    for nth in 1..=count {
        let data = json!({ "conversation_id": conversation, "content": format!("{nth}"), "reply": false });
        socket.ask(&nth.to_string(), "message", data).await;
    }
}

/// What answers each of the frames 1 to `count`.
async fn answers(socket: &mut Socket, count: usize) -> Vec<Value> {
    let mut answers = Vec::new();
    while answers.len() < count {
        let frame = socket.next().await.expect("the socket stays");
        let id = (answers.len() + 1).to_string();
        if frame["reply_to"].as_str() == Some(&id) {
            answers.push(frame);
        }
    }
    answers
}

/// Windows of a second that may have counted what happened since.
fn seconds_touched(begun: Instant) -> usize {
    begun.elapsed().as_secs() as usize + 2
}

fn is_refusal(frame: &Value) -> bool {
    frame["type"] == "error" && frame["data"]["code"] == "RATE_LIMIT_EXCEEDED"
}

/// The word that a socket got instead of a session, and how it was closed.
async fn turned_away(actor: &Actor) -> (String, u16) {
    let mut socket = Socket::open(&actor.socket_url("")).await;
    let first = socket.next().await.unwrap();
    assert_eq!(first["type"], "error", "{first}");
    (first["data"]["code"].as_str().unwrap().to_owned(), socket.close_code().await)
}

/// Opens a session as a native client does.
async fn connect(actor: &Actor) -> Result<(), Status> {
    let nothing = stream::pending::<ConnectRequest>();
    actor.sessions().connect(nothing).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_101_messages_in_a_minute_the_last_is_refused_and_the_connection_stays() {
    for ground in Ground::ALL {
        let (alice, _redis) = ground.alice(&[("messages_per_minute", "100")]).await;
        let conversation = alice.conversation().await;
        let mut socket = alice.socket().await;
        chatter(&mut socket, &conversation, 101).await;
        let answers = answers(&mut socket, 101).await;
        for accepted in &answers[..100] {
            assert_eq!(accepted["type"], "message.accepted", "{accepted}");
        }
        let refused = &answers[100];
        assert!(is_refusal(refused) && refused["data"]["retry_after"].as_f64().unwrap() > 1.0, "{refused}");
        // It was not done, and what does not count is.
        let (_, listed) = alice.get(&format!("/api/v1/conversations/{conversation}/messages?limit=1")).await;
        assert_eq!(listed["messages"][0]["content"], "100");
        socket.ask("p", "ping", json!({})).await;
        assert_eq!(socket.answer_to("p").await["type"], "pong");
        for nth in 1..=20 {
            socket.ask(&format!("h{nth}"), "heartbeat", json!({})).await;
            assert_eq!(socket.answer_to(&format!("h{nth}")).await["type"], "heartbeat_ack");
        }
        // Another connection is no way around.
        let mut other = alice.socket().await;
        chatter(&mut other, &conversation, 1).await;
        assert!(is_refusal(&other.answer_to("1").await), "{ground:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_105_pings_at_once_two_a_second_are_free_and_the_others_count() {
    for ground in Ground::ALL {
        let (alice, _redis) = ground.alice(&[("messages_per_minute", "50")]).await;
        let mut socket = alice.socket().await;
        let begun = Instant::now();
        for nth in 1..=105 {
            socket.ask(&nth.to_string(), "ping", json!({ "pingId": nth.to_string() })).await;
        }
        let answers = answers(&mut socket, 105).await;
        let pongs = answers.iter().filter(|answer| answer["type"] == "pong").count();
        assert!(answers[..52].iter().all(|answer| answer["type"] == "pong"));
        assert_eq!(answers.iter().filter(|answer| is_refusal(answer)).count(), 105 - pongs);
        let most = 50 + 2 * seconds_touched(begun);
        assert!(pongs <= most, "{pongs} of {most} on {ground:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_105_pings_in_a_second_twelve_pass_by_default_and_the_connection_stays() {
    for ground in Ground::ALL {
        let (alice, _redis) = ground.alice(&[("messages_per_second", "10"), ("messages_per_minute", "100")]).await;
        let mut socket = alice.socket().await;
        let begun = Instant::now();
        for nth in 1..=105 {
            socket.ask(&nth.to_string(), "ping", json!({})).await;
        }
        let answers = answers(&mut socket, 105).await;
        assert!(answers[..12].iter().all(|answer| answer["type"] == "pong"), "{ground:?}");
        let refused: Vec<_> = answers.iter().filter(|answer| is_refusal(answer)).collect();
        let (pongs, most) = (105 - refused.len(), 12 * seconds_touched(begun));
        assert!(pongs <= most, "{pongs} of {most} on {ground:?}");
        assert!(refused.iter().all(|error| error["data"]["retry_after"].as_f64() > Some(0.0)), "{refused:?}");
        assert!(refused[0]["data"]["retry_after"].as_f64() > Some(1.0), "{}", refused[0]);
        socket.ask("alive", "heartbeat", json!({})).await;
        assert_eq!(socket.answer_to("alive").await["type"], "heartbeat_ack");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_frames_pass_in_a_second() {
    let alice = Server::with(&[("messages_per_second", "10")]).await.register("alice").await;
    let conversation = alice.conversation().await;
    let mut socket = alice.socket().await;
    let begun = Instant::now();
    chatter(&mut socket, &conversation, 200).await;
    let answers = answers(&mut socket, 200).await;
    assert!(answers[..10].iter().all(|answer| answer["type"] == "message.accepted"));
    let (accepted, most) = (answers.iter().filter(|answer| !is_refusal(answer)).count(), 10 * seconds_touched(begun));
    assert!(accepted <= most, "{accepted} of {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_on_and_on_is_sent_away() {
    let alice = Server::with(&[("messages_per_minute", "1")]).await.register("alice").await;
    let mut socket = alice.socket().await;
    for nth in 0..=501 {
        socket.ask(&nth.to_string(), "unsubscribe", json!({})).await;
    }
    let mut refused = 0;
    let last = loop {
        let frame = socket.next().await.unwrap();
        if frame["type"] == "error" && frame["reply_to"].is_null() {
            break frame;
        }
        refused += usize::from(is_refusal(&frame));
    };
    assert_eq!((refused, &last["data"]["code"]), (500, &"RATE_LIMIT_EXCEEDED".into()));
    assert_eq!(socket.close_code().await, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn native_frames_count_as_those_of_sockets_do() {
    let alice = Server::with(&[("messages_per_minute", "3")]).await.register("alice").await;
    let frame = |nth: i32| ConnectRequest {
        frame: Some(ClientFrame { id: nth.to_string(), ..Default::default() }),
        report: None,
    };
    let frames = stream::iter((1..=4).map(frame)).chain(stream::pending());
    let mut session = alice.sessions().connect(frames).await.unwrap().into_inner();
    let mut codes = Vec::new();
    while codes.len() < 4 {
        let frame = session.message().await.unwrap().unwrap().frame.unwrap();
        if let Some(colloquy::proto::server_frame::Payload::Error(error)) = frame.payload {
            codes.push(error.code);
        }
    }
    assert_eq!(codes, ["INVALID_MESSAGE", "INVALID_MESSAGE", "INVALID_MESSAGE", "RATE_LIMIT_EXCEEDED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_connections_and_is_told_by_4429() {
    let server = Server::with(&[("max_connections_per_user", "2")]).await;
    let alice = server.register("alice").await;
    let first = alice.socket().await;
    let _second = alice.socket().await;
    assert_eq!(turned_away(&alice).await, ("CONNECTION_LIMIT_EXCEEDED".to_owned(), 4429));
    let refused = connect(&alice).await;
    let status = refused.clone().unwrap_err();
    assert_eq!(status.get_details_quota_failure().unwrap().violations[0].subject, "user");
    assert_eq!(reason(refused), (Code::ResourceExhausted, "CONNECTION_LIMIT_EXCEEDED".to_owned()));
    server.register("bob").await.socket().await;
    first.cut();
    eventually("a place is free", async || connect(&alice).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_is_told_by_4429() {
    let server = Server::with(&[("max_connections_per_address", "2")]).await;
    let _sockets = [server.register("alice").await.socket().await, server.register("bob").await.socket().await];
    let carol = server.register("carol").await;
    assert_eq!(turned_away(&carol).await, ("CONNECTION_LIMIT_EXCEEDED".to_owned(), 4429));
    connect(&carol.from("192.0.2.9")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_is_told_by_4503() {
    let server = Server::with(&[("max_connections", "1")]).await;
    let socket = server.register("alice").await.socket().await;
    let bob = server.register("bob").await;
    assert_eq!(turned_away(&bob).await, ("CONNECTION_LIMIT_EXCEEDED".to_owned(), 4503));
    socket.cut();
    eventually("a place is free", async || connect(&bob).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_over_all_nodes() {
    let redis = RedisServer::start().await;
    let settings = [("redis_url", redis.url()), ("max_connections_per_user", "2".to_owned())];
    let settings = settings.each_ref().map(|(name, text)| (*name, text.as_str()));
    let here = Server::with(&settings).await;
    let there = here.beside(&settings).await;
    let alice = here.register("alice").await;
    let _first = alice.socket().await;
    let second = alice.at(&there).socket().await;
    assert_eq!(turned_away(&alice.at(&there)).await, ("CONNECTION_LIMIT_EXCEEDED".to_owned(), 4429));
    second.cut();
    eventually("a place is free", async || connect(&alice).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_rest_say_what_is_left_and_are_refused_with_429() {
    let alice = Server::with(&[("requests_per_minute", "5")]).await.register("alice").await;
    let me = async || alice.request(Method::GET, "/api/v1/users/me").send().await.unwrap();
    let header = |response: &reqwest::Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    for left in (0..5).rev() {
        let response = me().await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-limit").as_deref(), Some("5"));
        assert_eq!(header(&response, "ratelimit-remaining"), Some(left.to_string()));
        assert_eq!(header(&response, "ratelimit-policy").as_deref(), Some("1000000;w=1, 5;w=60"));
        assert!(header(&response, "ratelimit-reset").is_some());
    }
    let refused = me().await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((2..=66).contains(&wait), "{wait}");
    assert_eq!(header(&refused, "ratelimit-limit").as_deref(), Some("5"));
    assert_eq!(header(&refused, "ratelimit-remaining").as_deref(), Some("0"));
    assert_eq!(header(&refused, "ratelimit-reset"), Some(wait.to_string()));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "RESOURCE_EXHAUSTED");
    let details = body["error"]["details"].as_array().unwrap();
    assert!(details.iter().any(|detail| detail["reason"] == "RATE_LIMIT_EXCEEDED"), "{body}");
    assert!(details.iter().any(|detail| detail["violations"][0]["description"] == "5 in 60 s"), "{body}");
    // Whether it lives may always be asked.
    assert_eq!(alice.get("/api/v1/health/ready").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_grpc_are_refused_with_a_hint_by_user_and_by_address() {
    let server = Server::with(&[("requests_per_minute", "6")]).await;
    let alice = server.register("alice").await;
    for _ in 0..6 {
        alice.from("192.0.2.7").me().await.unwrap();
    }
    let refused = alice.from("192.0.2.8").me().await;
    assert!(retry_after(refused.clone()).as_secs_f64() > 1.0);
    let quota = refused.clone().unwrap_err().get_details_quota_failure().unwrap();
    assert!(quota.violations[0].subject.starts_with("user:"), "{quota:?}");
    assert_eq!(reason(refused), (Code::ResourceExhausted, "RATE_LIMIT_EXCEEDED".to_owned()));
    // Nobody signed in, and credentials that are no good, count for the address.
    let stranger = server.visitor().from("192.0.2.9").with_token("none");
    for _ in 0..6 {
        assert_eq!(stranger.me().await.unwrap_err().code(), Code::Unauthenticated);
    }
    assert_eq!(stranger.me().await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_redis_goes_limits_go_on_and_nobody_is_refused_for_it() {
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    let server =
        Server::with(&[("redis_url", &url), ("messages_per_minute", "10"), ("max_connections_per_user", "1")]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let mut socket = alice.socket().await;
    chatter(&mut socket, &conversation, 5).await;
    assert!(answers(&mut socket, 5).await.iter().all(|answer| !is_refusal(answer)));
    redis.stop().await;
    eventually("it is reported", async || lacks_redis(&alice).await).await;
    chatter(&mut socket, &conversation, 6).await;
    let answers = answers(&mut socket, 6).await;
    assert_eq!(answers.iter().filter(|answer| is_refusal(answer)).count(), 1, "{answers:?}");
    assert!(is_refusal(&answers[5]));
    assert_eq!(turned_away(&alice).await.1, 4429);
}
