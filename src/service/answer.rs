//! What a run has so far: text, tool calls, and what they cost.

use super::prompt::estimate_tokens;
use crate::{
    llm,
    model::{
        tool::{Arguments, ToolCall},
        usage::Usage,
    },
};

/// An answer in the making.
///
/// It is made in rounds: the model is asked, calls tools, and is asked again with what they returned.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The text, as it was shown.
    pub(super) text: String,
    /// The model that answers.
    pub(super) model: String,
    /// The tools called, in their order.
    pub(super) tool_calls: Vec<ToolCall>,
    /// Whether the answer came from the response cache.
    pub(super) is_cached: bool,
    /// Tool events so far.
    tool_events: u64,
    /// What the rounds before this one cost.
    spent: Usage,
    round: Round,
}

/// The present round, as far as counting goes.
#[derive(Debug, Default)]
struct Round {
    prompt_tokens: usize,
    /// Whether a provider has answered.
    is_answered: bool,
    /// Where its text begins.
    begun_at: usize,
    /// Tokens of the tool calls that the model wrote.
    call_tokens: usize,
    /// What the provider counted.
    said: Usage,
}

impl Answer {
    /// An answer of this model that has said nothing yet.
    pub(super) fn of(model: String) -> Self {
        Self { model, ..Self::default() }
    }

    /// Begins a round whose prompt has so many tokens, roughly; they count once somebody answers.
    pub(super) fn begin_round(&mut self, prompt_tokens: usize) {
        self.spent = self.usage();
        self.round = Round { prompt_tokens, begun_at: self.text.len(), ..Round::default() };
    }

    /// Notes that this model answers: what it was asked is spent.
    pub(super) fn answers(&mut self, model: String) {
        self.model = model;
        self.round.is_answered = true;
    }

    /// Where this round's text begins.
    pub(super) fn round_text(&self) -> &str {
        &self.text[self.round.begun_at..]
    }

    /// Takes the provider's count of this round.
    pub(super) fn count(&mut self, usage: llm::Usage) {
        // No model reads or writes as much: sums of nonsense must not run over.
        let count = |tokens: u64| i64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
        self.round.said = Usage { input_tokens: count(usage.input_tokens), output_tokens: count(usage.output_tokens) };
    }

    /// Notes that the model called a tool, here and now.
    pub(super) fn call(&mut self, id: String, name: String, arguments: Arguments) {
        self.round.call_tokens += call_tokens(&name, &arguments);
        let number = self.next_tool_event();
        let index = self.text.len() as u64;
        self.tool_calls.push(ToolCall { number, index, id, name, arguments, result: None });
    }

    /// The number of the next tool event.
    pub(super) fn next_tool_event(&mut self) -> u64 {
        self.tool_events += 1;
        self.tool_events
    }

    /// What the answer cost so far: as the provider counted, or else as estimated. One that says zero did not count.
    pub(super) fn usage(&self) -> Usage {
        if self.is_cached {
            return Usage::default();
        }
        let counted =
            |said: i64, estimate: usize| if said > 0 { said } else { i64::try_from(estimate).unwrap_or(i64::MAX) };
        let asked = if self.round.is_answered { self.round.prompt_tokens } else { 0 };
        let written = estimate_tokens(self.round_text()) + self.round.call_tokens;
        Usage {
            input_tokens: self.spent.input_tokens.saturating_add(counted(self.round.said.input_tokens, asked)),
            output_tokens: self.spent.output_tokens.saturating_add(counted(self.round.said.output_tokens, written)),
        }
    }
}

/// What a model writes to call a tool, in tokens, roughly.
pub(super) fn call_tokens(name: &str, arguments: &Arguments) -> usize {
    estimate_tokens(name) + estimate_tokens(&serde_json::to_string(arguments).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_is_counted_by_its_provider_or_here() {
        let mut answer = Answer::default();
        answer.begin_round(10);
        assert_eq!(answer.usage(), Usage::default(), "nobody has answered");
        answer.answers("p/m".into());
        answer.text.push_str("12345678");
        assert_eq!(answer.usage(), Usage { input_tokens: 10, output_tokens: 2 });
        answer.count(llm::Usage { input_tokens: 7, output_tokens: 0 });
        assert_eq!(answer.usage(), Usage { input_tokens: 7, output_tokens: 2 });
        answer.begin_round(20);
        answer.text.push_str("1234");
        answer.count(llm::Usage { input_tokens: 0, output_tokens: 5 });
        assert_eq!(answer.usage(), Usage { input_tokens: 7, output_tokens: 7 });
        answer.answers("p/m".into());
        assert_eq!(answer.usage(), Usage { input_tokens: 27, output_tokens: 7 });
    }

    #[test]
    fn counts_that_cannot_be_are_bounded() {
        let mut answer = Answer::default();
        for _ in 0..2 {
            answer.begin_round(usize::MAX);
            answer.answers("p/m".into());
            answer.count(llm::Usage { input_tokens: u64::MAX, output_tokens: u64::MAX });
        }
        let most = 2 * i64::from(u32::MAX);
        assert_eq!(answer.usage(), Usage { input_tokens: most, output_tokens: most });
    }
}
