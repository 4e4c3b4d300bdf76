//! What a model answers: the pieces of its stream, in the order in which they are said.

use serde_json::{Map, Value};

/// A piece of an answer. A stream is one `Model`, then any number of the others, and `End` if and only if the provider
/// said that the answer is finished.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// The model that answers, as `provider/model`: another than the one asked for when a fallback stepped in.
    Model(String),
    /// Reasoning that the model shows. It is not sent back in later turns.
    Thinking(String),
    /// Text of the answer; never empty.
    Text(String),
    /// The model wants a tool to be called; it comes whole.
    ToolCall(ToolCall),
    /// Tokens as counted by the provider so far. Counts are cumulative: each one replaces those before it.
    /// A provider may send none at all, and before `End` the count of the answer lags behind what was said: the tokens
    /// of an answer that was cut off are for the caller to count.
    Usage(Usage),
    /// The answer is finished. Nothing follows.
    End(FinishReason),
}

/// A tool call as the model wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Pairs the call with its result; made up here when the provider gave none.
    pub id: String,
    /// The tool's name; empty when the model left it out.
    pub name: String,
    /// A JSON object, or the raw text when it is not one: models are cut off in the middle, and make mistakes.
    pub arguments: Result<Value, String>,
}

/// Tokens that a call cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, those read from or written to the provider's cache included.
    pub input_tokens: u64,
    /// Tokens of the answer, hidden reasoning included.
    pub output_tokens: u64,
}

/// Why an answer is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had nothing more to say.
    Stop,
    /// The limit of the answer or of the model's context was reached.
    Length,
    /// The model waits for the results of its tool calls.
    ToolCalls,
    /// The provider or the model refused to go on.
    ContentFilter,
}

impl FinishReason {
    /// The name used on every wire: `stop`, `length`, `tool_calls` or `content_filter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

impl ToolCall {
    /// Reads the arguments from the fragments a provider streamed, joined. No text at all means no arguments.
    pub(super) fn parse(id: String, name: String, arguments: String) -> Self {
        let id = if id.is_empty() { format!("call_{:016x}", rand::random::<u64>()) } else { id };
        let arguments = match arguments.trim() {
            "" => Ok(Value::Object(Map::new())),
            text => serde_json::from_str::<Map<String, Value>>(text).map(Value::Object).map_err(|_| arguments),
        };
        Self { id, name, arguments }
    }
}

impl Usage {
    /// Takes later counts in. They are cumulative, so a lower one is a provider that fills unknown fields with zero.
    pub(super) fn raise(&mut self, input_tokens: u64, output_tokens: u64) {
        self.input_tokens = self.input_tokens.max(input_tokens);
        self.output_tokens = self.output_tokens.max(output_tokens);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_an_object_or_the_raw_text() {
        let parse = |text: &str| ToolCall::parse("id".into(), "tool".into(), text.into()).arguments;
        assert_eq!(parse(""), Ok(json!({})));
        assert_eq!(parse(r#"{"a":1}"#), Ok(json!({"a": 1})));
        assert_eq!(parse(r#"{"a":"#), Err(r#"{"a":"#.to_owned()));
        assert_eq!(parse("[1]"), Err("[1]".to_owned()));
    }

    #[test]
    fn a_call_without_an_id_gets_one() {
        let ids = [(); 2].map(|()| ToolCall::parse(String::new(), "tool".into(), String::new()).id);
        assert!(ids[0].starts_with("call_"));
        assert_ne!(ids[0], ids[1]);
    }
}
