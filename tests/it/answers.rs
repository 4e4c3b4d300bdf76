//! Answers of providers that misbehave: what is stored and what is shown agree with what was said, and no end is made up.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::harness::{
    Actor, Server,
    upstream::{Outcome, Scenario, Script, Upstream, Wire, piece, scenarios},
};

/// Answers under way at once: the timers must measure the provider and not the crowd.
const AT_ONCE: usize = 16;

/// An answer as its viewer saw it and as it was stored.
struct Answered {
    text: String,
    last: String,
    data: Value,
    stored: Value,
}

/// Asks a model over SSE and watches to the end.
async fn ask(actor: &Actor, model: &str) -> Answered {
    let mut events = actor.stream_chat(json!({ "message": "how are you?", "model": model })).await;
    let start = events.next().await.expect("a start");
    assert_eq!(start.kind, "start");
    let (mut text, mut last) = (String::new(), start.clone());
    while let Some(event) = events.next().await {
        event.apply(&mut text);
        last = event;
    }
    let id = |field: &str| start.data[field].as_str().unwrap().to_owned();
    let stored = actor.message(&id("conversation_id"), &id("message_id")).await;
    Answered { text, last: last.kind, data: last.data, stored }
}

/// The part of a configuration file that names these providers, in order, as `p0`, `p1`, ….
fn providers(upstreams: &[(Wire, &Upstream)]) -> String {
    let mut file = String::new();
    for (number, (wire, upstream)) in upstreams.iter().enumerate() {
        let kind = if *wire == Wire::Anthropic { "anthropic" } else { "openai" };
        let url = upstream.url();
        writeln!(file, "[[providers]]\nname = \"p{number}\"\nkind = \"{kind}\"\nbase_url = \"{url}\"").unwrap();
    }
    file
}

async fn check(actor: &Actor, number: usize, wire: Wire, scenario: &Scenario, upstream: &Upstream) {
    let name = format!("{wire:?}: {}", scenario.name);
    let answered = ask(actor, &format!("p{number}/m")).await;
    let Answered { text, last, data, stored } = &answered;
    assert_eq!(*text, scenario.text, "{name}");
    assert_eq!(stored["content"], *text, "{name}");
    assert_eq!(upstream.exchanges().len(), scenario.calls, "{name}");
    match scenario.outcome {
        Outcome::Finished(reason) => {
            assert_eq!((last.as_str(), &data["finish_reason"]), ("end", &reason.into()), "{name}: {data}");
            assert_eq!((&stored["status"], &stored["finish_reason"]), (&"complete".into(), &reason.into()), "{name}");
            assert_eq!(data["content_length"], text.len(), "{name}");
            assert_eq!(data["usage"], stored["usage"], "{name}");
            assert_eq!(stored.get("error"), None, "{name}");
        }
        Outcome::Failed(kind) => {
            // Whether it is the request that is refused, or who asks, makes no difference to people.
            let kind = if kind == "denied" { "rejected" } else { kind };
            let code = format!("PROVIDER_{}", kind.to_uppercase());
            assert_eq!((last.as_str(), data["code"].as_str()), ("error", Some(&*code)), "{name}: {data}");
            assert_eq!((&stored["status"], &stored["error"]["code"]), (&"failed".into(), &code.into()), "{name}");
            assert_eq!(stored.get("finish_reason"), None, "{name}");
            for field in ["message", "retryable"] {
                assert_eq!(data[field], stored["error"][field], "{name}");
            }
            let told = data["message"].as_str().unwrap();
            assert!(!told.contains("sk-") && !told.contains("your words"), "{name}: {told}");
        }
    }
}

/// Plays the scenarios that need these timers, each with a provider of its own, on one node.
async fn play(first_piece: Option<Duration>, silence: Option<Duration>) -> usize {
    let mut cast = Vec::new();
    for wire in [Wire::Anthropic, Wire::OpenAi] {
        for scenario in scenarios(wire) {
            if (scenario.first_piece, scenario.silence) == (first_piece, silence) {
                let upstream = Upstream::start_all(scenario.scripts.clone()).await;
                cast.push((wire, scenario, upstream));
            }
        }
    }
    let upstreams: Vec<_> = cast.iter().map(|(wire, _, upstream)| (*wire, upstream)).collect();
    let timers = [("provider_first_piece_timeout", first_piece), ("provider_silence_timeout", silence)];
    let timers: Vec<(&str, String)> =
        timers.into_iter().filter_map(|(name, timer)| Some((name, timer?.as_secs().to_string()))).collect();
    let timers: Vec<_> = timers.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let server = Server::configured(&providers(&upstreams), &timers).await;
    let alice = server.register("alice").await;
    let checks = cast
        .iter()
        .enumerate()
        .map(|(number, (wire, scenario, upstream))| check(&alice, number, *wire, scenario, upstream));
    stream::iter(checks).buffer_unordered(AT_ONCE).collect::<()>().await;
    cast.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_shown_and_stored_as_what_it_is() {
    let timers: Vec<_> = scenarios(Wire::Anthropic).iter().map(|s| (s.first_piece, s.silence)).collect();
    let mut played = 0;
    for (at, (first_piece, silence)) in timers.iter().enumerate() {
        if !timers[..at].contains(&(*first_piece, *silence)) {
            played += play(*first_piece, *silence).await;
        }
    }
    assert_eq!(played, 2 * timers.len(), "every scenario was played in both protocols");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_asks_to_wait_is_given_the_time() {
    for wire in [Wire::Anthropic, Wire::OpenAi] {
        let busy = Script::new(wire).status(429).header("retry-after", 1);
        let upstream = Upstream::start_all([busy, Script::new(wire).pieces(2).end()]).await;
        let server = Server::configured(&providers(&[(wire, &upstream)]), &[]).await;
        let alice = server.register("alice").await;
        let begun = Instant::now();
        let answered = ask(&alice, "p0/m").await;
        assert_eq!((answered.text, answered.last.as_str()), (piece(1) + &piece(2), "end"));
        assert!(begun.elapsed() >= Duration::from_secs(1));
        assert_eq!(upstream.exchanges().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_keeps_failing_is_left_alone_for_a_while() {
    let down = Upstream::start(Script::openai().status(500)).await;
    let server = Server::configured(&providers(&[(Wire::OpenAi, &down)]), &[("provider_retries", "0")]).await;
    let alice = server.register("alice").await;
    for _ in 0..7 {
        let answered = ask(&alice, "p0/m").await;
        assert_eq!((answered.last.as_str(), &answered.data["code"]), ("error", &"PROVIDER_UNAVAILABLE".into()));
        assert_eq!(answered.stored["status"], "failed");
    }
    assert_eq!(down.exchanges().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_answers_in_its_own_name() {
    let down = Upstream::start(Script::anthropic().status(529)).await;
    let well = Upstream::start(Script::openai().text("here").end()).await;
    let spare = providers(&[(Wire::OpenAi, &well)]);
    let main = format!(
        "[[providers]]\nname = \"main\"\nkind = \"anthropic\"\nbase_url = \"{}\"\nfallback = [\"p0/spare\"]\n",
        down.url()
    );
    let server = Server::configured(&(spare + &main), &[("provider_retries", "0")]).await;
    let alice = server.register("alice").await;
    let answered = ask(&alice, "main/m").await;
    assert_eq!((answered.text.as_str(), answered.last.as_str()), ("here", "end"));
    assert_eq!(answered.stored["model"], "p0/spare");
    assert_eq!(well.request(0).await.body["model"], "spare");
    let (_, usage) = alice.get("/api/v1/users/me/usage").await;
    assert_eq!(usage["usage"][0]["model"], "p0/spare", "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_a_fault_is_not_said_again_by_another() {
    let breaks = Upstream::start(Script::anthropic().pieces(2).hang_up()).await;
    let file = providers(&[(Wire::Anthropic, &breaks)]) + "fallback = [\"echo\"]\n";
    let server = Server::configured(&file, &[]).await;
    let alice = server.register("alice").await;
    let answered = ask(&alice, "p0/m").await;
    assert_eq!((answered.text, answered.last.as_str()), (piece(1) + &piece(2), "error"));
    assert_eq!(answered.stored["model"], "p0/m");
    assert_eq!(breaks.exchanges().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_character_that_not_every_database_keeps_is_replaced() {
    let upstream = Upstream::start(Script::openai().text("a\0").text("b").end()).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let mut events = alice.resume_chat(&answer, 0).await;
    while events.next().await.is_some() {}
    assert_eq!(alice.message(&conversation, &answer).await["content"], "a\u{fffd}b");
}
