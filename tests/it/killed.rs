//! The program itself: killed in the middle of answers, asked to end, and started wrongly.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::harness::{Actor, Data, PASSWORD, Process, Transport, Viewer};

/// Nodes that are killed.
const NODES: usize = 5;
/// Answers that each of them is making then.
const ANSWERS: usize = 10;
/// How far an answer is ahead of the one that was asked for after it, in bytes.
const STEP: usize = 60;
/// How long an answer may seem to go on after its node has died.
const TERMINAL_WITHIN: Duration = Duration::from_secs(15);

/// Words that say where they stand, with characters of one to four bytes.
fn words(count: usize) -> String {
    (1..=count).map(|number| format!("{number}·é€🦀 ")).collect()
}

/// An answer of the killed node's, and what was seen of it.
struct Answer {
    conversation: String,
    question: String,
    id: String,
    viewer: Viewer,
}

async fn ask(actor: &Actor, question: &str, transport: Transport) -> Answer {
    let conversation = actor.conversation().await;
    let (message, id) = actor.send(&conversation, question).await;
    let mut viewer = Viewer::new(actor, &conversation, &id);
    viewer.attach(transport).await;
    Answer { conversation, question: message, id, viewer }
}

async fn register(process: &Process, name: &str) -> Actor {
    process.server().register(name).await
}

/// Kills a node in the middle of its answers and returns at which bytes, as the viewers saw it.
async fn kill_in_mid_answer(node: usize) -> Vec<usize> {
    let data = Data::fresh().await;
    let process = Process::start(&data, &[("echo_interval", "0.01")]).await;
    let alice = register(&process, "alice").await;
    let text = words(1000);
    // Each node is killed a little later than the one before.
    let late = 1 + node * STEP / NODES;
    let mut answers: Vec<Answer> = Vec::with_capacity(ANSWERS);
    for number in 0..ANSWERS {
        if let Some(last) = answers.last_mut() {
            last.viewer.until_bytes(STEP).await;
        }
        answers.push(ask(&alice, &text, Transport::nth(number)).await);
    }
    join_all(answers.iter_mut().enumerate().map(async |(number, answer)| {
        answer.viewer.until_bytes(late + (ANSWERS - 1 - number) * STEP).await;
    }))
    .await;
    process.kill().await;

    let process = Process::start(&data, &[]).await;
    let alice = process.server().visitor().login("alice", PASSWORD).await.unwrap();
    let settled = answers.into_iter().map(async |answer| {
        let shown = answer.viewer.text.clone();
        let mut viewer = answer.viewer.by(&alice);
        viewer.attach(Transport::Grpc).await;
        let last = viewer.until_last().await;
        assert_eq!((last.kind.as_str(), &last.data["code"]), ("error", &"INTERRUPTED".into()));
        let message = alice.message(&answer.conversation, &answer.id).await;
        assert_eq!(message["status"], "interrupted");
        let stored = message["content"].as_str().unwrap();
        assert!(stored.starts_with(&shown), "shown: {shown:?}, stored: {stored:?}");
        assert!(text.starts_with(stored) && stored.len() < text.len(), "{stored:?}");
        assert_eq!(viewer.text, stored);
        assert_eq!(alice.message(&answer.conversation, &answer.question).await["content"], text);
        shown.len()
    });
    let points = timeout(TERMINAL_WITHIN, join_all(settled)).await.expect("every answer is settled in time");
    process.terminate().await;
    assert_eq!(process.ended().await, Some(0));
    points
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_fifty_points_loses_nothing_that_was_shown() {
    let points: Vec<usize> = join_all((0..NODES).map(kill_in_mid_answer)).await.concat();
    assert_eq!(points.len(), NODES * ANSWERS);
    let different: BTreeSet<usize> = points.iter().copied().collect();
    assert!(different.len() > points.len() / 2, "not at many different points: {points:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_ends_what_a_killed_one_was_saying() {
    let data = Data::fresh().await;
    let process = Process::start(&data, &[("echo_interval", "0.01")]).await;
    let alice = register(&process, "alice").await;
    let other = Process::start(&data.beside(), &[]).await;
    let mut answer = ask(&alice, &words(1000), Transport::Sse).await;
    answer.viewer.until_bytes(STEP).await;
    process.kill().await;

    let alice = alice.at(other.server());
    let mut viewer = answer.viewer.by(&alice);
    let last = timeout(TERMINAL_WITHIN, async {
        viewer.attach(Transport::Grpc).await;
        viewer.until_last().await
    });
    let last = last.await.expect("the other node ends the run in time");
    assert_eq!((last.kind.as_str(), &last.data["code"]), ("error", &"INTERRUPTED".into()));
    let message = alice.message(&answer.conversation, &answer.id).await;
    assert_eq!((&message["status"], message["content"].as_str()), (&"interrupted".into(), Some(&*viewer.text)));
    let (_, usage) = alice.get("/api/v1/users/me/usage").await;
    assert_eq!(usage["usage"][0]["output_tokens"], message["usage"]["output_tokens"], "{usage}");
    assert!(message["usage"]["output_tokens"].as_i64() > Some(0), "what was written has its price: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_lets_answers_finish_and_sends_sockets_elsewhere() {
    let data = Data::fresh().await;
    let process = Process::start(&data, &[("echo_interval", "0.005")]).await;
    let alice = register(&process, "alice").await;
    let text = words(200);
    let mut answer = ask(&alice, &text, Transport::Grpc).await;
    let mut elsewhere = Viewer::new(&alice, &answer.conversation, &answer.id);
    elsewhere.attach(Transport::Sse).await;
    elsewhere.until_bytes(STEP).await;
    let mut socket = alice.socket().await;
    process.terminate().await;
    let reconnect = socket.until("reconnect").await;
    assert_eq!(reconnect["data"]["reason"], "shutdown");
    assert!((0..=5000).contains(&reconnect["data"]["after_ms"].as_i64().unwrap()), "{reconnect}");
    for viewer in [&mut answer.viewer, &mut elsewhere] {
        assert_eq!(viewer.until_last().await.kind, "end");
        assert_eq!(viewer.text, text);
    }
    assert_eq!(process.ended().await, Some(0));

    let process = Process::start(&data, &[]).await;
    let message = alice.at(process.server()).message(&answer.conversation, &answer.id).await;
    assert_eq!((&message["status"], message["content"].as_str()), (&"complete".into(), Some(&*text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_outlast_the_grace_are_settled_before_it_ends() {
    let data = Data::fresh().await;
    let process = Process::start(&data, &[("echo_interval", "0.05"), ("shutdown_grace", "1")]).await;
    let alice = register(&process, "alice").await;
    let mut answer = ask(&alice, &words(1000), Transport::Grpc).await;
    let mut elsewhere = Viewer::new(&alice, &answer.conversation, &answer.id);
    elsewhere.attach(Transport::Sse).await;
    for viewer in [&mut answer.viewer, &mut elsewhere] {
        viewer.until_bytes(STEP).await;
    }
    process.terminate().await;
    let last = elsewhere.until_last().await;
    assert_eq!((last.kind.as_str(), &last.data["code"]), ("error", &"UNAVAILABLE".into()));
    assert_eq!((&last.data["retryable"], &last.data["message_id"]), (&true.into(), &answer.id.as_str().into()));
    while answer.viewer.next().await.is_some_and(|event| !event.is_last()) {}
    assert_eq!(process.ended().await, Some(0));

    let process = Process::start(&data, &[]).await;
    let alice = alice.at(process.server());
    let message = alice.message(&answer.conversation, &answer.id).await;
    assert_eq!(message["status"], "interrupted");
    let content = message["content"].as_str().unwrap();
    assert!(content.starts_with(&answer.viewer.text), "{message}");
    let mut back = elsewhere.by(&alice);
    back.attach(Transport::Sse).await;
    assert_eq!(back.until_last().await.data["code"], "INTERRUPTED");
    assert_eq!(back.text, content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_belongs_to_one_process() {
    let data = Data::fresh().await;
    // Of a database that is elsewhere, many may be nodes.
    let inside = [("database_url", "")];
    let process = Process::start(&data, &inside).await;
    let exit = refused(&data, &inside, &[]).await;
    assert_eq!(exit.0, Some(69));
    assert!(exit.1.contains(data.folder().to_str().unwrap()) && exit.1.contains("another"), "{}", exit.1);
    register(&process, "alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_start_names_what_is_wrong() {
    let data = Data::fresh().await;
    for (setting, wrong) in
        [("run_lease", "soon"), ("no_such_setting", "1"), ("default_model", "acme/none"), ("tools", "hammer")]
    {
        let (code, line) = refused(&data, &[(setting, wrong)], &[]).await;
        let name = setting.replace('_', " ");
        assert_eq!(code, Some(78), "{line}");
        assert!(line.contains(setting) || line.contains(&name), "{line}");
    }
    let exit = Process::refused("serve", &data, &[], &["--no-such-flag"]).await;
    assert_eq!(exit.code, Some(64), "{exit:?}");
    assert!(exit.stderr.contains("--no-such-flag"), "{exit:?}");
}

/// How a node that cannot start ends: its exit code and the one error that it logs.
async fn refused(data: &Data, settings: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String) {
    let exit = Process::refused("serve", data, settings, flags).await;
    let errors: Vec<&str> = exit.stderr.lines().filter(|line| line.contains("ERROR")).collect();
    match errors[..] {
        [line] => (exit.code, line.to_owned()),
        _ => panic!("not one error: {exit:?}"),
    }
}
