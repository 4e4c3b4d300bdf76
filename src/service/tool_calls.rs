//! The tools that a run calls for its model: all of a round at once, each logged before it is shown.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    answer::Answer,
    run::{Ending, Run},
    run_log::Logged,
    runs::Runs,
};
use crate::{
    error::Result,
    llm::{self, Block, Prompt, ToolSpec},
    model::{
        event::Happening,
        tool::{Arguments, ToolResult},
    },
    tools::{Definition, Outcome, wire_name},
};

/// Tools of one run that work at once.
const AT_ONCE: usize = 8;
/// Tools called in one round: what they return must fit into a prompt and into a message. To a model that asked for more it
/// looks as if it had asked for these.
const MAX_CALLS: usize = 16;
/// How deep arguments may nest: deeper ones do not fit into a frame that every client can read.
const MAX_DEPTH: usize = 20;
/// Characters that are kept of a name which is on offer nowhere.
const MAX_NAME: usize = 100;
/// Characters of an id that every provider takes.
const MAX_ID: usize = 64;

/// The tools of a run, as its model is told of them.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// What the model is told.
    pub(super) specs: Vec<ToolSpec>,
    /// Names here, by the names that the model knows.
    names: HashMap<String, String>,
}

impl Offer {
    /// Offers these tools.
    pub(super) fn of(definitions: Vec<Definition>) -> Self {
        let mut offer = Self::default();
        for Definition { name, description, parameters } in definitions {
            let known_as = wire_name(&name);
            offer.specs.push(ToolSpec { name: known_as.clone(), description, parameters });
            offer.names.insert(known_as, name);
        }
        offer
    }

    /// The name here of a tool that the model calls; one that is not on offer keeps the model's name for it.
    fn name_of(&self, called: &str) -> String {
        let unknown = || called.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        self.names.get(called).cloned().unwrap_or_else(unknown)
    }
}

impl Runs {
    /// Calls the tools that a model asks for and waits until all have ended; returns the run's ending when it came first.
    pub(super) async fn call_tools(
        &self,
        run: &Run,
        stop: &CancellationToken,
        answer: &mut Answer,
        mut asked: Vec<llm::ToolCall>,
        (offer, prompt): (&Offer, &Prompt),
    ) -> Result<Option<Ending>> {
        let first = answer.tool_calls.len();
        asked.truncate(MAX_CALLS);
        let mut faults = Vec::with_capacity(asked.len());
        for call in asked {
            let id = own_id(call.id, prompt, answer);
            let (arguments, fault) = read(call.arguments);
            answer.call(id, offer.name_of(&call.name), arguments);
            faults.push(fault);
        }
        let calls = answer.tool_calls[first..].to_vec();
        if self.log_tool_calls(run.reply.id, &calls).await? == Logged::NotOwned {
            return Ok(Some(Ending::NotOwned));
        }
        for call in &calls {
            self.publish(run, Happening::call_of(call)).await;
        }

        let tools = &self.makers().tools;
        let calls = calls.into_iter().zip(faults).enumerate().map(|(at, (call, fault))| async move {
            let begun = Instant::now();
            let outcome = match fault {
                Some(fault) => Some(fault),
                None => tools.call(&call.name, call.arguments, stop).await,
            };
            (first + at, outcome, begun.elapsed())
        });
        let mut ended = stream::iter(calls).buffer_unordered(AT_ONCE);
        let mut ending = None;
        loop {
            let next = tokio::select! {
                biased;
                () = self.lifecycle().stopped().cancelled() => return Ok(Some(Ending::Interrupted)),
                next = ended.next() => next,
            };
            match next {
                Some((at, Some(outcome), took)) => {
                    if self.end_call(run, answer, at, outcome, took).await? == Logged::NotOwned {
                        return Ok(Some(Ending::NotOwned));
                    }
                }
                // The others are told too that nobody waits for them.
                Some((_, None, _)) => ending = Some(Ending::Stopped),
                None => return Ok(ending),
            }
        }
    }

    async fn end_call(
        &self,
        run: &Run,
        answer: &mut Answer,
        at: usize,
        outcome: Outcome,
        took: Duration,
    ) -> Result<Logged> {
        let Outcome { content, is_error } = outcome;
        let duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let result = ToolResult { number: answer.next_tool_event(), content, is_error, duration_ms };
        let call = &mut answer.tool_calls[at];
        let logged = self.log_tool_result(run.reply.id, call.number, &result).await?;
        if logged == Logged::Written {
            call.result = Some(result);
            metrics::counter!("colloquy_tool_calls_total", "is_error" => is_error.to_string()).increment(1);
            metrics::histogram!("colloquy_tool_call_seconds").record(took.as_secs_f64());
            if let Some(happening) = Happening::result_of(call) {
                self.publish(run, happening).await;
            }
        }
        Ok(logged)
    }
}

/// What the model wrote as arguments, or a word to the model that they are none.
fn read(arguments: std::result::Result<serde_json::Value, String>) -> (Arguments, Option<Outcome>) {
    match arguments {
        Ok(serde_json::Value::Object(arguments)) if depth(&arguments) <= MAX_DEPTH => (arguments, None),
        Ok(serde_json::Value::Object(_)) => {
            (Arguments::new(), Some(Outcome::bad(format!("the arguments nest deeper than {MAX_DEPTH} levels"))))
        }
        Ok(other) => (Arguments::new(), Some(broken(&other.to_string()))),
        Err(raw) => (Arguments::new(), Some(broken(&raw))),
    }
}

fn depth(object: &Arguments) -> usize {
    fn below(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Object(object) => depth(object),
            serde_json::Value::Array(values) => 1 + values.iter().map(below).max().unwrap_or_default(),
            _ => 0,
        }
    }
    1 + object.values().map(below).max().unwrap_or_default()
}

fn broken(arguments: &str) -> Outcome {
    const SHOWN: usize = 200;
    let end = arguments.floor_char_boundary(SHOWN);
    Outcome::bad(format!("the arguments are not a JSON object, and nothing was called: {}", &arguments[..end]))
}

/// The id that the model gave to a call, if every provider takes it and nothing else in the conversation has it. Some
/// servers count anew in every answer, and the next question may go to another provider.
fn own_id(id: String, prompt: &Prompt, answer: &Answer) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut blocks = prompt.turns.iter().flat_map(|turn| &turn.content);
    let is_taken = blocks.any(|block| matches!(block, Block::ToolUse { id: other, .. } if *other == id))
        || answer.tool_calls.iter().any(|call| call.id == id);
    if (1..=MAX_ID).contains(&id.len()) && id.chars().all(is_plain) && !is_taken {
        return id;
    }
    format!("call_{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_an_object_of_some_depth_or_a_word_to_the_model() {
        let deep = (0..MAX_DEPTH).fold(json!({}), |inner, _| json!({ "x": inner }));
        assert!(read(Ok(deep)).1.unwrap().content.contains("deeper"));
        assert_eq!(read(Ok(json!({ "x": [1] }))).1, None);
        for broken in [Ok(json!([1])), Err("{\"x\":".to_owned())] {
            assert!(read(broken).1.unwrap().is_error);
        }
    }

    #[test]
    fn an_id_is_kept_when_everybody_takes_it_and_nobody_has_it() {
        let use_of = |id: &str| Block::ToolUse { id: id.to_owned(), name: "x".into(), arguments: json!({}) };
        let turn = llm::Turn { role: llm::Role::Assistant, content: vec![use_of("taken")] };
        let prompt = Prompt { turns: vec![turn], ..Prompt::default() };
        let answer = Answer::default();
        assert_eq!(own_id("toolu_01-A".to_owned(), &prompt, &answer), "toolu_01-A");
        for id in ["taken", "", "with space", &"x".repeat(65)] {
            assert!(own_id(id.to_owned(), &prompt, &answer).starts_with("call_"), "{id}");
        }
    }
}
