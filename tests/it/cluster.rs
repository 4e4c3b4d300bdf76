//! Many nodes, each a process of its own: killed, restarted one after another, without Redis, and with clocks that differ.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use colloquy::proto::SendMessageRequest;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use crate::harness::{
    Actor, Cluster, Happened, PASSWORD, PATIENCE, Process, Server, Socket, Transport, Viewer, eventually, within,
};

/// How far an answer is when something happens to its node, in bytes.
const STEP: usize = 60;
/// How long an answer may seem to go on after its node has died.
const TERMINAL_WITHIN: Duration = Duration::from_secs(15);
/// How long Redis is away.
const OUTAGE: Duration = Duration::from_secs(10);

/// Words that say where they stand, with characters of one to four bytes.
fn words(count: usize) -> String {
    (1..=count).map(|number| format!("{number}·é€🦀 ")).collect()
}

/// Sends a message at a core and returns the answer's id.
async fn ask(actor: &Actor, conversation: &str, content: &str) -> String {
    let request = SendMessageRequest {
        conversation_id: conversation.to_owned(),
        content: content.to_owned(),
        ..Default::default()
    };
    actor.chat().send_message(request).await.unwrap().into_inner().reply.unwrap().id
}

/// Whether a last event only says that the link is over, and that the viewer shall come back.
fn asks_to_come_back(event: &Happened) -> bool {
    event.kind == "error" && event.data["code"] == "UNAVAILABLE"
}

/// Somebody who watches an answer, and where to come back when the link is lost.
struct Watch {
    viewer: Viewer,
    transport: Transport,
    home: Actor,
    /// How often the link was lost.
    losses: usize,
}

impl Watch {
    /// Watches at one place, and after that at the other.
    async fn at(first: &Actor, home: &Actor, (conversation, answer): (&str, &str), transport: Transport) -> Self {
        let mut viewer = Viewer::new(first, conversation, answer);
        viewer.attach(transport).await;
        Self { viewer, transport, home: home.clone(), losses: 0 }
    }

    /// Watches to the end, coming back whenever the link is lost; the last event is returned.
    async fn until_its_end(mut self) -> (Viewer, Happened, usize) {
        loop {
            match self.viewer.next().await {
                Some(event) if event.is_last() && !asks_to_come_back(&event) => {
                    return (self.viewer, event, self.losses);
                }
                Some(event) if !event.is_last() => {}
                _ => {
                    self.losses += 1;
                    self.viewer = self.viewer.by(&self.home);
                    self.viewer.attach(self.transport).await;
                }
            }
        }
    }
}

/// An answer and its viewers.
struct Watched {
    owner: usize,
    conversation: String,
    answer: String,
    asker: Actor,
    watches: Vec<Watch>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_killed_among_many_ends_its_own_answers_and_no_viewer_misses_anything() {
    const KILLED: usize = 1;
    let cluster = Cluster::of(3, 2).await;
    let settings = [("echo_interval", "0.05")];
    let mut cores = join_all((0..3).map(|number| cluster.core(number, &settings))).await;
    let bridges = join_all((0..2).map(|number| cluster.bridge(number))).await;
    let text = words(160);
    let watched = (0..20).map(async |number| {
        let owner = number % 3;
        let asker = cores[owner].server().register(&format!("user{number}")).await;
        let core = |number: usize| asker.at(cores[number % 3].server());
        let bridge = |number: usize| asker.at(bridges[number % 2].server());
        let conversation = bridge(number).conversation().await;
        let answer = ask(&asker, &conversation, &text).await;
        let place = (&*conversation, &*answer);
        // Who was at the core that is killed comes back at another one; the bridges find another one by themselves.
        let watches = vec![
            Watch::at(&bridge(number), &bridge(number + 1), place, Transport::WebSocket).await,
            Watch::at(&bridge(number + 1), &bridge(number), place, Transport::Sse).await,
            Watch::at(&core(number + 1), &core(KILLED + 1), place, Transport::Grpc).await,
        ];
        Watched { owner, asker: bridge(0), conversation, answer, watches }
    });
    let mut watched = join_all(watched).await;
    let all = watched.iter_mut().flat_map(|watched| &mut watched.watches);
    join_all(all.map(|watch| watch.viewer.until_bytes(STEP))).await;
    let killed_at = Instant::now();
    cores.remove(KILLED).kill().await;

    let ends = watched.into_iter().map(async |Watched { owner, conversation, answer, asker, watches }| {
        let watching = join_all(watches.into_iter().map(Watch::until_its_end));
        let ends = if owner == KILLED {
            timeout_at(killed_at + TERMINAL_WITHIN, watching).await.expect("its runs are ended in time")
        } else {
            watching.await
        };
        let message = asker.message(&conversation, &answer).await;
        let stored = message["content"].as_str().unwrap();
        for (viewer, last, _) in &ends {
            assert_eq!(viewer.text, stored, "{conversation} of {owner}");
            if owner == KILLED {
                assert_eq!((last.kind.as_str(), &last.data["code"]), ("error", &"INTERRUPTED".into()));
            } else {
                assert_eq!((last.kind.as_str(), stored), ("end", &*text));
            }
        }
        assert_eq!(message["status"], if owner == KILLED { "interrupted" } else { "complete" }, "{message}");
        assert!(text.starts_with(stored) && stored.len() >= STEP, "{message}");
        ends.iter().map(|(_, _, losses)| losses).sum::<usize>()
    });
    let losses: usize = join_all(ends).await.into_iter().sum();
    assert!(losses > 0, "the viewers of a core that was killed lost their links");
}

/// Sends messages one after another, each again until it is acknowledged, by whichever bridge answers; what was acknowledged
/// is returned, with its answer's id.
async fn send_until(enough: &AtomicBool, actors: &[Actor], conversation: &str) -> Vec<(String, String, String)> {
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let mut acknowledged = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let content = format!("message {}", acknowledged.len());
        let body = json!({ "content": content, "client_message_id": content, "wait": true });
        let sent = async {
            for actor in actors.iter().cycle() {
                let Ok(response) = actor.request(Method::POST, &path).json(&body).send().await else { continue };
                let status = response.status().as_u16();
                let Ok(answer) = response.json::<Value>().await else { continue };
                match status {
                    200 => return answer,
                    503 => tokio::task::yield_now().await,
                    _ => panic!("{status}: {answer}"),
                }
            }
            unreachable!("it goes round for ever")
        };
        let answer = timeout(PATIENCE, sent).await.expect("a message is acknowledged");
        let id = |field: &str| answer[field]["id"].as_str().unwrap().to_owned();
        acknowledged.push((content, id("message"), id("reply")));
    }
    acknowledged
}

/// Ends a process in order and waits until it has gone.
async fn leaves(process: Process) {
    process.terminate().await;
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_no_message_and_no_answer() {
    let cluster = Cluster::of(2, 2).await;
    let settings = [("echo_interval", "0.02")];
    let mut cores = join_all((0..2).map(|number| cluster.core(number, &settings))).await;
    let mut bridges = join_all((0..2).map(|number| cluster.bridge(number))).await;
    let servers: Vec<Server> = bridges.iter().map(|bridge| bridge.server().clone()).collect();
    let mut senders = Vec::new();
    for number in 0..4 {
        let actor = cores[0].server().register(&format!("sender{number}")).await;
        let actors: Vec<Actor> = servers.iter().map(|server| actor.at(server)).collect();
        let conversation = actors[0].conversation().await;
        senders.push((actors, conversation));
    }
    let alice = cores[0].server().register("alice").await;
    let (text, conversation) = (words(100), alice.at(&servers[0]).conversation().await);
    let enough = AtomicBool::new(false);
    let load = join_all(senders.iter().map(|(actors, conversation)| send_until(&enough, actors, conversation)));

    let restart = async {
        let mut losses = 0;
        for number in 0..4 {
            // The core that is restarted, or both bridges' viewers while one of them is.
            let core = number % 2;
            let answer = ask(&alice.at(cores[core].server()), &conversation, &text).await;
            let place = (&*conversation, &*answer);
            let (leaving, staying) = (alice.at(&servers[number % 2]), alice.at(&servers[1 - number % 2]));
            let watches = [
                Watch::at(&leaving, &staying, place, Transport::WebSocket).await,
                Watch::at(&leaving, &staying, place, Transport::Sse).await,
                Watch::at(&alice.at(cores[core].server()), &alice.at(cores[1 - core].server()), place, Transport::Grpc)
                    .await,
            ];
            let mut watches = Vec::from(watches);
            join_all(watches.iter_mut().map(|watch| watch.viewer.until_bytes(STEP))).await;
            let watching = join_all(watches.into_iter().map(Watch::until_its_end));
            let going = async {
                if number < 2 {
                    let process = cores.remove(core);
                    leaves(process).await;
                    cores.insert(core, cluster.core(core, &settings).await);
                } else {
                    let process = bridges.remove(core);
                    leaves(process).await;
                    bridges.insert(core, cluster.bridge(core).await);
                }
            };
            let (ends, ()) = tokio::join!(watching, going);
            for (viewer, last, lost) in ends {
                assert_eq!((last.kind.as_str(), &*viewer.text), ("end", &*text), "restart {number}");
                losses += lost;
            }
        }
        enough.store(true, Ordering::Relaxed);
        losses
    };
    let (acknowledged, losses) = tokio::join!(load, restart);
    assert!(losses >= 2, "the sockets of bridges that left were asked to come back: {losses}");

    for ((actors, conversation), acknowledged) in senders.iter().zip(acknowledged) {
        assert!(!acknowledged.is_empty());
        let count = acknowledged.len() as i64;
        for (content, message, reply) in acknowledged {
            let message = actors[0].message(conversation, &message).await;
            assert_eq!((&message["content"], &message["role"]), (&json!(content), &json!("user")));
            let reply = actors[0].message(conversation, &reply).await;
            assert_eq!((&reply["status"], &reply["content"]), (&json!("complete"), &json!(content)), "{reply}");
        }
        // None was appended twice.
        let (_, list) = actors[0].get(&format!("/api/v1/conversations/{conversation}/messages?limit=1")).await;
        assert_eq!(list["messages"][0]["seq"], 2 * count, "{list}");
    }
}

/// What a node says of the part that may be lost.
async fn live(actor: &Actor) -> String {
    let (status, health) = actor.get("/api/health/detailed").await;
    assert_eq!(status, 200, "{health}");
    let live = health["components"]["live"]["status"].as_str().unwrap();
    assert_eq!(health["status"] == "ok", live == "ok", "{health}");
    live.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_without_redis_and_an_empty_one_after_cost_nobody_a_byte() {
    let mut cluster = Cluster::of(0, 0).await;
    let settings = [("echo_interval", "0.05")];
    let nodes = join_all((0..2).map(|_| cluster.node(&settings))).await;
    let alice = nodes[0].server().register("alice").await;
    let at: Vec<Actor> = nodes.iter().map(|node| alice.at(node.server())).collect();
    let text = words(360);
    let (conversation, aside) = (alice.conversation().await, alice.conversation().await);
    let answer = ask(&alice, &conversation, &text).await;
    let mut watches = Vec::new();
    for (actor, transport) in at.iter().flat_map(|actor| Transport::ALL.map(|transport| (actor, transport))) {
        watches.push(Watch::at(actor, actor, (&conversation, &answer), transport).await);
    }
    for watch in &mut watches {
        watch.viewer.until_bytes(STEP).await;
    }
    for actor in &at {
        eventually("live is well", async || live(actor).await == "ok").await;
    }

    cluster.redis.stop().await;
    let stopped_at = Instant::now();
    for actor in &at {
        eventually("live is not well", async || live(actor).await == "unavailable").await;
    }
    // Those on the node that writes go on as if nothing had happened.
    let seen = watches.iter().map(|watch| watch.viewer.text.len()).max().unwrap_or_default();
    join_all(watches[..3].iter_mut().map(|watch| watch.viewer.until_bytes(seen + STEP))).await;
    assert!(watches[..3].iter().all(|watch| watch.losses == 0));
    let watching = join_all(watches.into_iter().map(Watch::until_its_end));
    let outage = async {
        let mut calls = 0;
        while stopped_at.elapsed() < OUTAGE {
            for actor in &at {
                let path = format!("/api/v1/conversations/{aside}/messages");
                let (status, body) = actor.post(&path, json!({ "content": "still there?", "reply": false })).await;
                assert_eq!(status, 200, "nobody is refused for its sake: {body}");
                assert_eq!(live(actor).await, "unavailable");
                calls += 1;
            }
        }
        assert!(calls > 0);
        cluster.redis.resume().await;
        for actor in &at {
            within(PATIENCE, "live is well again", async || live(actor).await == "ok").await;
        }
    };
    let (ends, ()) = tokio::join!(watching, outage);
    for (number, (viewer, last, _)) in ends.into_iter().enumerate() {
        assert_eq!((last.kind.as_str(), &*viewer.text), ("end", &*text), "viewer {number}");
        let is_socket = Transport::nth(number) == Transport::WebSocket;
        assert_eq!(viewer.epochs > 0, is_socket, "viewer {number} is told of the new epoch");
    }
    let message = at[1].message(&conversation, &answer).await;
    assert_eq!((&message["status"], message["content"].as_str()), (&"complete".into(), Some(&*text)));
}

async fn ticket(actor: &Actor) -> String {
    let (status, body) = actor.post("/api/v1/auth/ticket", json!({})).await;
    assert_eq!(status, 200, "{body}");
    body["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_clocks_are_five_seconds_apart_get_along() {
    let cluster = Cluster::of(0, 0).await;
    // Compared by the nodes' own clocks, a lease of five seconds would be over before it began.
    let settings = [("echo_interval", "0.05"), ("run_lease", "5")];
    let right = cluster.node(&settings).await;
    let ahead = cluster.node(&[&settings[..], &[("clock_ahead_micros", "5000000")]].concat()).await;
    let [here, there] = [right.server(), ahead.server()];

    // Sessions, tokens and tickets of each are good at the other.
    let alice = here.register("alice").await;
    let ahead_of_time = alice.at(there).login("alice", PASSWORD).await.unwrap();
    let refreshed = ahead_of_time.at(here).refresh().await.unwrap();
    for actor in [&alice, &ahead_of_time, &refreshed] {
        for node in [here, there] {
            actor.at(node).me().await.unwrap();
        }
    }
    for (issuer, other) in [(here, there), (there, here)] {
        let url = format!("ws://{}/api/v1/ws?ticket={}", other.http(), ticket(&alice.at(issuer)).await);
        Socket::open(&url).await.until("connection.established").await;
    }

    // Messages stand in the order in which they were taken.
    let conversation = alice.conversation().await;
    let path = format!("/api/v1/conversations/{conversation}/messages");
    for number in 0..6 {
        let actor = alice.at([there, here][number % 2]);
        let body = json!({ "content": number.to_string(), "reply": false });
        assert_eq!(actor.post(&path, body).await.0, 200);
    }
    for node in [here, there] {
        let (_, list) = alice.at(node).get(&path).await;
        let contents: Vec<_> = list["messages"].as_array().unwrap().iter().map(|entry| &entry["content"]).collect();
        assert_eq!(contents, ["0", "1", "2", "3", "4", "5"]);
    }

    // Neither takes the runs of the other, which last longer than a lease.
    let text = words(140);
    let mut watches = Vec::new();
    for (owner, other) in [(here, there), (there, here)] {
        let conversation = alice.conversation().await;
        let answer = ask(&alice.at(owner), &conversation, &text).await;
        let other = alice.at(other);
        watches.push(Watch::at(&other, &other, (&conversation, &answer), Transport::Sse).await);
    }
    for (viewer, last, _) in join_all(watches.into_iter().map(Watch::until_its_end)).await {
        assert_eq!((last.kind.as_str(), &*viewer.text), ("end", &*text));
    }

    // The orphans of one are ended by the other, in time.
    let conversation = alice.conversation().await;
    let answer = ask(&alice.at(there), &conversation, &text).await;
    let alice = alice.at(here);
    let mut watch = Watch::at(&alice, &alice, (&conversation, &answer), Transport::Grpc).await;
    watch.viewer.until_bytes(STEP).await;
    let killed_at = Instant::now();
    ahead.kill().await;
    let (_, last, _) =
        timeout_at(killed_at + TERMINAL_WITHIN, watch.until_its_end()).await.expect("it is ended in time");
    assert_eq!((last.kind.as_str(), &last.data["code"]), ("error", &"INTERRUPTED".into()));
    leaves(right).await;
}
