//! Providers that misbehave, as seen by those who ask a model.

use std::time::{Duration, Instant};

use colloquy::llm::{
    Block, Breach, Clock, Failure, FinishReason, Kind, Models, Piece, PieceStream, Prompt, ProviderConfig, Role,
    Secret, Settings, ToolCall, ToolSpec, Turn, Usage,
};
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::harness::upstream::{Outcome, Scenario, Script, Upstream, Wire, piece, scenarios};

const WIRES: [Wire; 2] = [Wire::Anthropic, Wire::OpenAi];

/// What came out of a stream.
struct Answer {
    pieces: Vec<Piece>,
    failure: Option<Failure>,
}

impl Answer {
    async fn of(mut stream: PieceStream) -> Self {
        let mut pieces = Vec::new();
        while let Some(item) = stream.next().await {
            match item {
                Ok(piece) => pieces.push(piece),
                Err(failure) => {
                    assert!(stream.next().await.is_none(), "nothing follows a failure");
                    return Self { pieces, failure: Some(failure) };
                }
            }
        }
        Self { pieces, failure: None }
    }

    fn text(&self) -> String {
        let text = |piece: &Piece| if let Piece::Text(text) = piece { Some(text.clone()) } else { None };
        self.pieces.iter().filter_map(text).collect()
    }

    fn outcome(&self) -> Outcome {
        match (&self.failure, self.pieces.last()) {
            (Some(failure), _) => Outcome::Failed(failure.kind()),
            (None, Some(Piece::End(reason))) => Outcome::Finished(reason.as_str()),
            (None, last) => panic!("the stream neither failed nor ended but stopped after {last:?}"),
        }
    }
}

fn config(name: &str, upstream: &Upstream, wire: Wire) -> ProviderConfig {
    let kind = match wire {
        Wire::Anthropic => Kind::Anthropic,
        Wire::OpenAi => Kind::OpenAi,
    };
    ProviderConfig {
        base_url: upstream.url(),
        api_key: Some(Secret::new("sk-test")),
        ..ProviderConfig::new(name, kind)
    }
}

fn models(providers: impl IntoIterator<Item = ProviderConfig>) -> Models {
    Models::new(Settings { providers: providers.into_iter().collect(), ..Settings::default() }).unwrap()
}

fn question() -> Prompt {
    Prompt { turns: vec![Turn::user("how are you?")], ..Prompt::default() }
}

/// The next piece of text, past whatever comes before it.
async fn next_text(stream: &mut PieceStream) -> String {
    loop {
        match stream.next().await.expect("the answer goes on").unwrap() {
            Piece::Text(text) => return text,
            Piece::End(reason) => panic!("ended with {reason:?}"),
            _ => {}
        }
    }
}

async fn play(wire: Wire, scenario: Scenario) {
    let name = format!("{wire:?}: {}", scenario.name);
    let upstream = Upstream::start_all(scenario.scripts).await;
    let mut config = config("p", &upstream, wire);
    let timers = &mut config.timers;
    timers.first_piece = scenario.first_piece.unwrap_or(timers.first_piece);
    timers.silence = scenario.silence.unwrap_or(timers.silence);
    let answer = Answer::of(models([config]).stream("p/m", question())).await;
    assert_eq!(answer.text(), scenario.text, "{name}");
    assert_eq!(answer.outcome(), scenario.outcome, "{name}: {:?}", answer.failure);
    assert_eq!(upstream.exchanges().len(), scenario.calls, "{name}");
    if let Some(failure) = &answer.failure {
        let report = format!("{failure} {failure:?}");
        assert!(!report.contains("sk-") && !report.contains("your words"), "{name}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_ends_as_it_must() {
    let plays =
        WIRES.into_iter().flat_map(|wire| scenarios(wire).into_iter().map(move |scenario| play(wire, scenario)));
    // A few at a time, so that the timers measure the provider and not the crowd.
    stream::iter(plays).buffer_unordered(16).collect::<()>().await;
}

#[tokio::test]
async fn an_answer_begins_with_its_model_and_counts_its_tokens() {
    for wire in WIRES {
        let upstream = Upstream::start(Script::new(wire).thinking("hm").text("héllo").end()).await;
        let answer = Answer::of(models([config("p", &upstream, wire)]).stream("p/m", question())).await;
        let usage = Piece::Usage(Usage { input_tokens: 12, output_tokens: 34 });
        let mut pieces = answer.pieces;
        // The Messages API counts more than once.
        pieces.retain(|piece| !matches!(piece, Piece::Usage(_)) || *piece == usage);
        let spoken = [Piece::Thinking("hm".into()), Piece::Text("héllo".into())];
        assert_eq!(pieces[0], Piece::Model("p/m".into()));
        assert_eq!(pieces[1..3], spoken);
        assert_eq!(pieces[3..], [usage, Piece::End(FinishReason::Stop)]);
    }
}

#[tokio::test]
async fn pieces_are_passed_on_as_they_come() {
    for wire in WIRES {
        let upstream = Upstream::start(Script::new(wire).stepped().pieces(3).end()).await;
        let mut stream = models([config("p", &upstream, wire)]).stream("p/m", question());
        for number in 1..=3 {
            upstream.release(1);
            assert_eq!(next_text(&mut stream).await, piece(number));
        }
        assert_eq!(Answer::of(stream).await.outcome(), Outcome::Finished("stop"));
    }
}

#[tokio::test]
async fn a_broken_tool_call_is_handed_on_raw() {
    for wire in WIRES {
        let script = Script::new(wire).tool("t1", "now", "{\"zone\":").end_for_tools();
        let upstream = Upstream::start(script).await;
        let answer = Answer::of(models([config("p", &upstream, wire)]).stream("p/m", question())).await;
        let call = ToolCall { id: "t1".into(), name: "now".into(), arguments: Err("{\"zone\":".into()) };
        assert!(answer.pieces.contains(&Piece::ToolCall(call)), "{:?}", answer.pieces);
        assert_eq!(answer.outcome(), Outcome::Finished("tool_calls"));
    }
}

#[tokio::test]
async fn a_reset_keeps_what_was_said() {
    for wire in WIRES {
        let upstream = Upstream::start(Script::new(wire).text("so far").pause().reset()).await;
        let mut stream = models([config("p", &upstream, wire)]).stream("p/m", question());
        assert_eq!(next_text(&mut stream).await, "so far");
        upstream.release(1);
        let rest = Answer::of(stream).await;
        assert!(matches!(rest.failure, Some(Failure::Protocol(Breach::Lost(_)))), "{:?}", rest.failure);
        assert_eq!(upstream.exchanges().len(), 1, "no retry once something was seen");
    }
}

#[tokio::test]
async fn dropping_an_answer_closes_the_connection_at_once() {
    for wire in WIRES {
        let upstream = Upstream::start(Script::new(wire).text("so far").stall()).await;
        let mut stream = models([config("p", &upstream, wire)]).stream("p/m", question());
        assert_eq!(next_text(&mut stream).await, "so far");
        let dropped = Instant::now();
        drop(stream);
        assert!(upstream.closed(0).await - dropped < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn dropping_an_unanswered_question_closes_the_connection_at_once() {
    let upstream = Upstream::start(Script::openai().mute()).await;
    let mut stream = models([config("p", &upstream, Wire::OpenAi)]).stream("p/m", question());
    tokio::select! {
        item = stream.next() => panic!("a mute provider said {item:?}"),
        _ = upstream.request(0) => {}
    }
    let dropped = Instant::now();
    drop(stream);
    assert!(upstream.closed(0).await - dropped < Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_answer_is_cut_by_its_total_time_only() {
    let pings = Duration::from_millis(20);
    let upstream = Upstream::start(Script::anthropic().text("on and on").ping_forever(pings)).await;
    let mut config = config("p", &upstream, Wire::Anthropic);
    config.timers.total = Duration::from_millis(500);
    let answer = Answer::of(models([config]).stream("p/m", question())).await;
    assert!(matches!(answer.failure, Some(Failure::Timeout(Clock::Total))), "{:?}", answer.failure);
    assert_eq!(answer.text(), "on and on");
}

#[tokio::test]
async fn a_fallback_answers_and_says_so() {
    let down = Upstream::start(Script::anthropic().status(529)).await;
    let well = Upstream::start(Script::openai().text("here").end()).await;
    let main = ProviderConfig {
        fallback: vec!["spare/m".into(), "echo".into()],
        retries: 0,
        ..config("main", &down, Wire::Anthropic)
    };
    let models = models([main, config("spare", &well, Wire::OpenAi)]);
    let answer = Answer::of(models.stream("main/m", question())).await;
    assert_eq!(answer.pieces[0], Piece::Model("spare/m".into()));
    assert_eq!(answer.text(), "here");
    assert_eq!(down.exchanges().len(), 1);
}

#[tokio::test]
async fn a_refusal_does_not_fall_back() {
    let refuses = Upstream::start(Script::openai().status(400)).await;
    let config = ProviderConfig { fallback: vec!["echo".into()], ..config("p", &refuses, Wire::OpenAi) };
    let answer = Answer::of(models([config]).stream("p/m", question())).await;
    assert_eq!(answer.outcome(), Outcome::Failed("rejected"));
    assert!(answer.pieces.is_empty());
}

#[tokio::test]
async fn an_account_that_is_not_served_falls_back_at_once() {
    for wire in WIRES {
        for status in [401, 402, 403, 404] {
            let refuses = Upstream::start(Script::new(wire).status(status)).await;
            let config = ProviderConfig { fallback: vec!["echo".into()], ..config("p", &refuses, wire) };
            let answer = Answer::of(models([config]).stream("p/m", question())).await;
            assert_eq!((answer.text().as_str(), &answer.pieces[0]), ("how are you?", &Piece::Model("echo".into())));
            assert_eq!(refuses.exchanges().len(), 1, "{status} is not tried again");
        }
    }
}

#[tokio::test]
async fn the_failure_of_the_model_asked_for_is_the_one_told() {
    let down = Upstream::start(Script::openai().status(503)).await;
    let refuses = Upstream::start(Script::openai().status(401)).await;
    let main = ProviderConfig { fallback: vec!["spare/m".into()], retries: 0, ..config("main", &down, Wire::OpenAi) };
    let answer = Answer::of(models([main, config("spare", &refuses, Wire::OpenAi)]).stream("main/m", question())).await;
    assert_eq!(answer.outcome(), Outcome::Failed("unavailable"));
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone() {
    let down = Upstream::start(Script::openai().status(500)).await;
    let config = ProviderConfig {
        retries: 0,
        breaker_failures: 2,
        fallback: vec!["echo".into()],
        ..config("p", &down, Wire::OpenAi)
    };
    let models = models([config]);
    for _ in 0..4 {
        assert_eq!(Answer::of(models.stream("p/m", question())).await.text(), "how are you?");
    }
    assert_eq!(down.exchanges().len(), 2);
}

#[tokio::test]
async fn stops_and_refusals_do_not_open_the_breaker() {
    let scripts = [Script::openai().status(400), Script::openai().text("a").stall(), Script::openai().text("b").end()];
    let upstream = Upstream::start_all(scripts).await;
    let config = ProviderConfig { breaker_failures: 1, ..config("p", &upstream, Wire::OpenAi) };
    let models = models([config]);
    assert_eq!(Answer::of(models.stream("p/m", question())).await.outcome(), Outcome::Failed("rejected"));
    let mut stopped = models.stream("p/m", question());
    assert_eq!(next_text(&mut stopped).await, "a");
    drop(stopped);
    assert_eq!(Answer::of(models.stream("p/m", question())).await.text(), "b");
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_unavailable() {
    let upstream = Upstream::start(Script::openai().end()).await;
    let config = ProviderConfig { retries: 1, ..config("p", &upstream, Wire::OpenAi) };
    drop(upstream);
    let answer = Answer::of(models([config]).stream("p/m", question())).await;
    assert_eq!(answer.outcome(), Outcome::Failed("unavailable"));
    assert!(answer.failure.unwrap().retryable());
}

#[tokio::test]
async fn a_model_that_nobody_serves_is_named() {
    let answer = Answer::of(models([]).stream("acme/large", question())).await;
    assert!(matches!(answer.failure, Some(Failure::UnknownModel(model)) if model == "acme/large"));
}

#[tokio::test]
async fn echo_answers_with_the_question() {
    let answer = Answer::of(models([]).stream("echo", question())).await;
    assert_eq!(answer.text(), "how are you?");
    assert_eq!(answer.outcome(), Outcome::Finished("stop"));
}

#[tokio::test]
async fn requests_carry_the_key_the_prompt_and_the_tools() {
    let prompt = Prompt {
        system: Some("be brief".into()),
        turns: vec![
            Turn::user("what time is it"),
            Turn {
                role: Role::Assistant,
                content: vec![Block::ToolUse { id: "t1".into(), name: "now".into(), arguments: json!({}) }],
            },
            Turn {
                role: Role::User,
                content: vec![Block::ToolResult { id: "t1".into(), content: "noon".into(), is_error: false }],
            },
        ],
        max_output_tokens: Some(100),
        tools: vec![ToolSpec {
            name: "now".into(),
            description: "tells the time".into(),
            parameters: json!({"type": "object"}),
        }],
    };
    for wire in WIRES {
        let upstream = Upstream::start(Script::new(wire).text("noon").end()).await;
        Answer::of(models([config("p", &upstream, wire)]).stream("p/family/m", prompt.clone())).await;
        let request = upstream.request(0).await;
        assert_eq!(request.body["model"], "family/m");
        assert_eq!(request.body["stream"], true);
        assert_eq!(request.body["max_tokens"], 100);
        let last = request.body["messages"].as_array().unwrap().last().unwrap();
        match wire {
            Wire::Anthropic => {
                assert_eq!(request.path, "/v1/messages");
                assert_eq!(request.headers["x-api-key"], "sk-test");
                assert_eq!(request.headers["anthropic-version"], "2023-06-01");
                assert_eq!(request.body["system"], "be brief");
                assert_eq!(last["content"][0]["tool_use_id"], "t1");
                assert_eq!(request.body["tools"][0]["input_schema"], json!({"type": "object"}));
            }
            Wire::OpenAi => {
                assert_eq!(request.path, "/v1/chat/completions");
                assert_eq!(request.headers["authorization"], "Bearer sk-test");
                assert_eq!(request.body["messages"][0]["role"], "system");
                assert_eq!(last["tool_call_id"], "t1");
                assert_eq!(request.body["tools"][0]["function"]["parameters"], json!({"type": "object"}));
                assert_eq!(request.body["stream_options"]["include_usage"], true);
            }
        }
    }
}
