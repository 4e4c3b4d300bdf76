//! OpenAI's chat completions, and the many servers that speak almost the same.

use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, InvalidHeaderValue},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    dialect::{Output, Reader, error_code, key_header},
    failure::{Breach, Failure},
    piece::{FinishReason, ToolCall},
    prompt::{Block, Prompt, Role, ToolSpec},
    settings::ProviderConfig,
};

/// Appended to the base URL.
pub(super) const PATH: &str = "/chat/completions";

pub(super) fn headers(config: &ProviderConfig) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &config.api_key {
        headers.insert(AUTHORIZATION, key_header("Bearer ", key)?);
    }
    Ok(headers)
}

/// The name of the output limit: OpenAI's own models refuse the old one, compatible servers may not know the new one.
pub(super) fn limit_field(base_url: &str) -> &'static str {
    let openai = Url::parse(base_url).is_ok_and(|url| url.host_str() == Some("api.openai.com"));
    if openai { "max_completion_tokens" } else { "max_tokens" }
}

pub(super) fn body(model: &str, prompt: &Prompt, limit: u32, limit_field: &str) -> Value {
    let system = prompt.system.iter().map(|text| json!({"role": "system", "content": text}));
    let turns = prompt.alternating().into_iter().flat_map(|(role, blocks)| messages(role, &blocks));
    let mut body = json!({
        "model": model,
        "messages": system.chain(turns).collect::<Vec<Value>>(),
        "stream": true,
        "stream_options": {"include_usage": true},
        limit_field: limit,
    });
    if !prompt.tools.is_empty() {
        body["tools"] = prompt.tools.iter().map(tool).collect();
    }
    body
}

/// A turn as messages: each tool result is one of its own, and what else is said comes after them.
fn messages(role: Role, blocks: &[&Block]) -> Vec<Value> {
    let mut texts = Vec::new();
    let mut calls = Vec::new();
    let mut messages = Vec::new();
    for block in blocks {
        match block {
            Block::Text(text) => texts.push(text.as_str()),
            Block::ToolUse { id, name, arguments } => calls.push(json!({
                "id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()},
            })),
            // This protocol has no mark for a failed tool; the content tells.
            Block::ToolResult { id, content, is_error: _ } => {
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
            }
        }
    }
    // One string and not a list of parts, which some servers refuse.
    let text = (!texts.is_empty()).then(|| texts.join("\n\n"));
    match role {
        Role::User => messages.extend(text.map(|text| json!({"role": "user", "content": text}))),
        Role::Assistant if calls.is_empty() => messages.push(json!({"role": "assistant", "content": text})),
        Role::Assistant => messages.push(json!({"role": "assistant", "content": text, "tool_calls": calls})),
    }
    messages
}

fn tool(tool: &ToolSpec) -> Value {
    let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
    json!({"type": "function", "function": function})
}

/// Reads the chunks of one completion.
///
/// Every field may be missing or null, since compatible servers differ in all of them.
#[derive(Default)]
pub(super) struct Chunks {
    /// Tool calls in the making, in the order in which they began.
    calls: Vec<Call>,
    finish: Option<FinishReason>,
}

struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    /// DeepSeek, vLLM and llama.cpp.
    reasoning_content: Option<String>,
    /// OpenRouter and others; some send both, with the same text.
    reasoning: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Reader for Chunks {
    fn read(&mut self, event: &str, out: &mut Output) -> Result<(), Failure> {
        if event == "[DONE]" {
            self.flush(out);
            return Ok(out.end(self.finish)?);
        }
        let chunk: Chunk = serde_json::from_str(event).map_err(|_| Breach::Malformed)?;
        if let Some(error) = chunk.error {
            return Err(Failure::from_event(error_code(&json!({ "error": error }))));
        }
        if let Some(choice) = chunk.choices.into_iter().flatten().next() {
            self.delta(choice.delta.unwrap_or_default(), out);
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                let reason = finish_reason(&reason)?;
                self.flush(out);
                // A refusal was noticed before, by its text, and stands.
                self.finish.get_or_insert(reason);
            }
        }
        if let Some(Counts { prompt_tokens, completion_tokens }) = chunk.usage {
            out.usage(prompt_tokens.unwrap_or_default(), completion_tokens.unwrap_or_default());
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Output) -> Result<(), Breach> {
        self.finish.ok_or(Breach::Truncated)?;
        out.end(self.finish)
    }
}

impl Chunks {
    fn delta(&mut self, delta: Delta, out: &mut Output) {
        out.thinking(delta.reasoning_content.or(delta.reasoning).unwrap_or_default());
        out.text(delta.content.unwrap_or_default());
        if let Some(refusal) = delta.refusal.filter(|text| !text.is_empty()) {
            self.finish = Some(FinishReason::ContentFilter);
            out.text(refusal);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            out.working();
            self.call(call);
        }
    }

    /// Joins a fragment to its call. The index says which one, but some servers leave it out and others give every call
    /// the same, so that a new id begins a new call whatever the index says.
    fn call(&mut self, delta: CallDelta) {
        let id = delta.id.unwrap_or_default();
        let continues = |call: &Call| {
            (delta.index.is_none() || call.index == delta.index)
                && (id.is_empty() || call.id.is_empty() || call.id == id)
        };
        let position = self.calls.iter().rposition(continues).unwrap_or_else(|| {
            self.calls.push(Call {
                index: delta.index,
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
            });
            self.calls.len() - 1
        });
        let call = &mut self.calls[position];
        if call.id.is_empty() {
            call.id = id;
        }
        let Some(function) = delta.function else { return };
        if call.name.is_empty() {
            call.name = function.name.unwrap_or_default();
        }
        call.arguments.push_str(&function.arguments.unwrap_or_default());
    }

    fn flush(&mut self, out: &mut Output) {
        for call in self.calls.drain(..) {
            out.tool_call(ToolCall::parse(call.id, call.name, call.arguments));
        }
    }
}

/// The reason, unless it says that the server gave up: such an answer must not look finished.
fn finish_reason(reason: &str) -> Result<FinishReason, Failure> {
    match reason {
        "length" => Ok(FinishReason::Length),
        "tool_calls" | "function_call" => Ok(FinishReason::ToolCalls),
        "content_filter" => Ok(FinishReason::ContentFilter),
        // OpenRouter, vLLM and DeepSeek, in this order.
        "error" | "abort" | "insufficient_system_resource" => Err(Failure::from_event(Some(reason.to_owned()))),
        // `stop`, and names of the same that servers take from their engines, such as `eos`.
        _ => Ok(FinishReason::Stop),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            dialect::read_all,
            piece::{Piece, Usage},
            prompt::Turn,
            settings::Kind,
        },
        *,
    };

    fn read(events: &[&str]) -> (Vec<Piece>, Result<(), Failure>) {
        read_all(Kind::OpenAi, events)
    }

    fn delta(delta: Value) -> String {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null}).to_string()
    }

    fn finish(reason: &str) -> String {
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string()
    }

    const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    const DONE: &str = "[DONE]";

    #[test]
    fn an_answer_is_read_and_its_usage_precedes_the_end() {
        let (pieces, result) = read(&[
            &delta(json!({"role": "assistant", "content": ""})),
            &delta(json!({"reasoning_content": "hm", "reasoning": "hm"})),
            &delta(json!({"content": "hi"})),
            &finish("stop"),
            USAGE,
            DONE,
        ]);
        result.unwrap();
        assert_eq!(
            pieces,
            [
                Piece::Thinking("hm".into()),
                Piece::Text("hi".into()),
                Piece::Usage(Usage { input_tokens: 3, output_tokens: 5 }),
                Piece::End(FinishReason::Stop),
            ]
        );
    }

    #[test]
    fn fragments_of_tool_calls_are_joined_however_they_are_marked() {
        let marked = [
            json!({"index": 0, "id": "a", "function": {"name": "add"}}),
            json!({"index": 1, "id": "b", "function": {"arguments": "{\"y\":2}"}}),
            json!({"index": 0, "function": {"arguments": "{\"x\""}}),
            json!({"index": 1, "function": {"name": "sub"}}),
            json!({"index": 0, "id": "a", "function": {"name": "add", "arguments": ":1}"}}),
        ];
        let unmarked = [
            json!({"id": "a", "function": {"name": "add", "arguments": "{\"x\""}}),
            json!({"function": {"arguments": ":1}"}}),
            json!({"id": "b", "function": {"name": "sub", "arguments": "{\"y\":2}"}}),
        ];
        let same_index = [
            json!({"index": 0, "id": "a", "function": {"name": "add", "arguments": "{\"x\":1}"}}),
            json!({"index": 0, "id": "b", "function": {"name": "sub", "arguments": "{\"y\":2}"}}),
        ];
        for fragments in [&marked[..], &unmarked, &same_index] {
            let mut events: Vec<String> = fragments.iter().map(|call| delta(json!({"tool_calls": [call]}))).collect();
            events.push(finish("stop"));
            let (pieces, result) = read(&events.iter().map(String::as_str).collect::<Vec<_>>());
            result.unwrap();
            let call = |id: &str, name: &str, arguments| {
                Piece::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: Ok(arguments) })
            };
            let expected = [call("a", "add", json!({"x": 1})), call("b", "sub", json!({"y": 2}))];
            assert_eq!(pieces[..2], expected);
            assert_eq!(pieces[2..], [Piece::End(FinishReason::ToolCalls)]);
        }
    }

    #[test]
    fn the_end_is_never_made_up() {
        let text = delta(json!({"content": "hi"}));
        assert!(matches!(read(&[&text]).1, Err(Failure::Protocol(Breach::Truncated))));
        assert!(matches!(read(&[DONE]).1, Err(Failure::Protocol(Breach::Truncated))));
        assert!(matches!(read(&[&text, "oops"]).1, Err(Failure::Protocol(Breach::Malformed))));
        assert!(matches!(read(&[&text, &finish("error")]).1, Err(Failure::Unavailable { .. })));
        read(&[&text, DONE]).1.unwrap();
        read(&[&text, &finish("length")]).1.unwrap();
    }

    #[test]
    fn an_error_event_is_a_failure_and_a_refusal_an_end() {
        let (_, result) = read(&[r#"{"error":{"message":"secret","type":null,"code":400}}"#]);
        assert_eq!(result.unwrap_err().to_string(), "the provider refused the request: error event, 400");
        let (pieces, _) = read(&[&delta(json!({"refusal": "no"})), &finish("stop"), DONE]);
        assert_eq!(pieces, [Piece::Text("no".into()), Piece::End(FinishReason::ContentFilter)]);
    }

    #[test]
    fn a_request_holds_system_tools_and_results() {
        let prompt = Prompt {
            system: Some("be brief".into()),
            turns: vec![
                Turn::user("2+2"),
                Turn {
                    role: Role::Assistant,
                    content: vec![Block::ToolUse { id: "t".into(), name: "add".into(), arguments: json!({"x": 2}) }],
                },
                Turn {
                    role: Role::User,
                    content: vec![Block::ToolResult { id: "t".into(), content: "4".into(), is_error: false }],
                },
                Turn::user("thanks"),
            ],
            max_output_tokens: None,
            tools: vec![ToolSpec { name: "add".into(), description: "adds".into(), parameters: json!({}) }],
        };
        let call = json!({"id": "t", "type": "function", "function": {"name": "add", "arguments": "{\"x\":2}"}});
        assert_eq!(
            body("m", &prompt, 7, "max_tokens"),
            json!({
                "model": "m", "max_tokens": 7, "stream": true, "stream_options": {"include_usage": true},
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "2+2"},
                    {"role": "assistant", "content": null, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "t", "content": "4"},
                    {"role": "user", "content": "thanks"},
                ],
                "tools": [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": {}}}],
            })
        );
    }

    #[test]
    fn the_output_limit_is_named_as_the_server_expects() {
        assert_eq!(limit_field("https://api.openai.com/v1"), "max_completion_tokens");
        assert_eq!(limit_field("http://localhost:11434/v1"), "max_tokens");
    }
}
