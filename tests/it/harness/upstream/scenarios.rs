//! The faults that an answer must survive, or end from without pretending to be whole: one list for every layer.

use std::time::Duration;

use super::{Script, Wire};

/// Providers that behave in some way, and what must come of it.
pub(crate) struct Scenario {
    /// What happens, as a sentence.
    pub(crate) name: &'static str,
    /// What the provider plays, a script per call.
    pub(crate) scripts: Vec<Script>,
    /// The text that a viewer must end up with: exactly what was said, no more and no less.
    pub(crate) text: String,
    /// How the answer must end.
    pub(crate) outcome: Outcome,
    /// How many calls it must take, at most two retries included.
    pub(crate) calls: usize,
    /// The first-piece timer that the scenario needs; `None` for a generous one.
    pub(crate) first_piece: Option<Duration>,
    /// The silence timer that the scenario needs; `None` for a generous one.
    pub(crate) silence: Option<Duration>,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Finished, with this reason.
    Finished(&'static str),
    /// Failed, with this kind of failure.
    Failed(&'static str),
}

use Outcome::{Failed, Finished};

/// Long enough for a loaded machine to deliver what was sent, short enough to wait for.
const SOON: Duration = Duration::from_secs(2);

/// The pace of keep-alives: many of them fit in [`SOON`].
const PING: Duration = Duration::from_millis(100);

/// Every scenario, as `wire` tells it.
pub(crate) fn scenarios(wire: Wire) -> Vec<Scenario> {
    let script = || Script::new(wire);
    let (length, filtered) = match wire {
        Wire::Anthropic => ("max_tokens", "refusal"),
        Wire::OpenAi => ("length", "content_filter"),
    };
    vec![
        // Whole answers, in any wrapping.
        one("it answers", script().text("hello ").text("world").end(), Finished("stop")),
        one("it reasons first", script().thinking("hm").text("so").end(), Finished("stop")),
        one("its bytes come one by one", script().pieces(5).end().portions(1), Finished("stop")),
        one("its bytes come in sevens with crlf", script().pieces(20).end().crlf().portions(7), Finished("stop")),
        one("it pings in between", script().ping().text("a").ping().ping().text("b").end(), Finished("stop")),
        one("its start never comes", script().without_start().pieces(3).end(), Finished("stop")),
        one(
            "it calls a tool",
            script().text("wait ").tool("t1", "now", "{\"zone\":\"utc\"}").end_for_tools(),
            Finished("tool_calls"),
        ),
        one("it breaks off a tool call", script().tool("t1", "now", "{\"zone\":").end_with(length), Finished("length")),
        one("it refuses", script().end_with(filtered), Finished("content_filter")),
        // Faults after the first piece: what was said stands, and nothing is tried again.
        one("its body ends politely in mid-answer", script().pieces(3), Failed("protocol")),
        one("it hangs up in mid-answer", script().pieces(3).hang_up(), Failed("protocol")),
        one("it stalls in mid-answer", script().pieces(3).stall(), Failed("timeout")).silent_for(SOON),
        one("it only pings after saying something", script().pieces(2).ping_forever(PING), Failed("timeout"))
            .silent_for(SOON),
        one("it reports an error in mid-answer", script().pieces(2).error("overloaded_error"), Failed("unavailable")),
        one("it sends nonsense in mid-answer", script().pieces(2).raw("data: {\"nonsense\n\n"), Failed("protocol")),
        one("its last event is cut", script().pieces(2).raw("data: {\"cut\":true}\n"), Failed("protocol")),
        one(
            "its event never ends",
            script().text("a").raw(format!("data: {}", "x".repeat(2 << 20))).stall(),
            Failed("protocol"),
        ),
        // Faults before the first piece: tried again.
        then_well("it is overloaded at first", script().status(529), wire),
        then_well("it asks to wait", script().status(429).header("retry-after", 0), wire),
        then_well("it hangs up at once", script().hang_up(), wire),
        then_well("it resets at once", script().reset(), wire),
        then_well("it starts and then reports an error", script().start().error("overloaded_error"), wire),
        then_well("it ends without a word", script(), wire),
        then_well("it says nothing", script().mute(), wire).speaks_within(SOON),
        then_well("it only pings", script().ping_forever(PING), wire).speaks_within(SOON),
        // Faults that retries do not cure.
        one("it refuses the request", script().status(400), Failed("rejected")),
        one("it refuses the key", script().status(401), Failed("denied")),
        one("it refuses the key inside the stream", script().error("authentication_error"), Failed("denied")),
        one("it refuses inside the stream", script().error("invalid_request_error"), Failed("rejected")),
        one(
            "it advises against another try",
            script().status(503).header("x-should-retry", false),
            Failed("unavailable"),
        ),
        one("it asks to wait for an hour", script().status(429).header("retry-after", 3600), Failed("unavailable")),
        Scenario { calls: 3, ..one("it is down", script().status(500), Failed("unavailable")) },
    ]
}

/// A provider that plays the same script every time and is asked once.
fn one(name: &'static str, script: Script, outcome: Outcome) -> Scenario {
    Scenario {
        name,
        text: script.full_text(),
        scripts: vec![script],
        outcome,
        calls: 1,
        first_piece: None,
        silence: None,
    }
}

/// A provider that fails the first call and answers the second.
fn then_well(name: &'static str, fault: Script, wire: Wire) -> Scenario {
    let well = Script::new(wire).pieces(2).end();
    Scenario {
        name,
        text: well.full_text(),
        scripts: vec![fault, well],
        outcome: Finished("stop"),
        calls: 2,
        first_piece: None,
        silence: None,
    }
}

impl Scenario {
    fn speaks_within(self, first_piece: Duration) -> Self {
        Self { first_piece: Some(first_piece), ..self }
    }

    fn silent_for(self, silence: Duration) -> Self {
        Self { silence: Some(silence), ..self }
    }
}
