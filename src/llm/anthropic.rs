//! Anthropic's Messages API.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderValue, InvalidHeaderValue};
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
pub(super) const PATH: &str = "/v1/messages";

pub(super) fn headers(config: &ProviderConfig) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::try_from(&config.version)?);
    if let Some(key) = &config.api_key {
        headers.insert("x-api-key", key_header("", key)?);
    }
    Ok(headers)
}

/// The request. Sampling settings are left out: from version 2026-10-21 on they are an error.
pub(super) fn body(model: &str, prompt: &Prompt, limit: u32) -> Value {
    let messages: Vec<Value> = prompt.alternating().into_iter().map(message).collect();
    let mut body = json!({"model": model, "max_tokens": limit, "messages": messages, "stream": true});
    if let Some(system) = &prompt.system {
        body["system"] = json!(system);
    }
    if !prompt.tools.is_empty() {
        body["tools"] = prompt.tools.iter().map(tool).collect();
    }
    body
}

fn message((role, blocks): (Role, Vec<&Block>)) -> Value {
    let role = match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    json!({"role": role, "content": blocks.into_iter().map(block).collect::<Vec<Value>>()})
}

fn block(block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({"type": "text", "text": text}),
        Block::ToolUse { id, name, arguments } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": arguments})
        }
        Block::ToolResult { id, content, is_error } => {
            json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error})
        }
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters})
}

/// Reads the events of one message.
///
/// Nothing but the reason for finishing is required: compatible servers leave out `message_start`, the `input` of a
/// tool call or the `content_block_stop` of one that was cut short.
#[derive(Default)]
pub(super) struct Events {
    counts: Counts,
    /// Tool calls in the making, by the index of their block.
    calls: BTreeMap<u64, Call>,
    finish: Option<FinishReason>,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Option<Message>,
    },
    ContentBlockStart {
        #[serde(default)]
        index: u64,
        content_block: ContentBlock,
    },
    ContentBlockDelta {
        #[serde(default)]
        index: u64,
        delta: Delta,
    },
    ContentBlockStop {
        #[serde(default)]
        index: u64,
    },
    MessageDelta {
        delta: Option<Ending>,
        usage: Option<Counts>,
    },
    MessageStop,
    Error,
    /// `ping`, and whatever is added in future.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Message {
    usage: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentBlock {
    Text {
        text: Option<String>,
    },
    Thinking {
        thinking: Option<String>,
    },
    ToolUse {
        id: Option<String>,
        name: Option<String>,
        input: Option<Value>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    /// Signatures and citations.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

/// Token counts; each may be missing, and those that are not replace earlier ones.
#[derive(Default, Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Reader for Events {
    fn read(&mut self, event: &str, out: &mut Output) -> Result<(), Failure> {
        // Not part of this protocol, but gateways that translate from the other one send it.
        if event == "[DONE]" {
            return Ok(());
        }
        match serde_json::from_str(event).map_err(|_| Breach::Malformed)? {
            Event::MessageStart { message } => self.count(message.and_then(|message| message.usage), out),
            Event::ContentBlockStart { index, content_block } => self.open(index, content_block, out),
            Event::ContentBlockDelta { index, delta } => match delta {
                Delta::Text { text } => out.text(text),
                Delta::Thinking { thinking } => out.thinking(thinking),
                Delta::InputJson { partial_json } => {
                    if !partial_json.is_empty() {
                        out.working();
                    }
                    self.calls.entry(index).or_default().arguments.push_str(&partial_json);
                }
                Delta::Other => {}
            },
            Event::ContentBlockStop { index } => {
                if let Some(call) = self.calls.remove(&index) {
                    out.tool_call(ToolCall::parse(call.id, call.name, call.arguments));
                }
            }
            Event::MessageDelta { delta, usage } => {
                self.count(usage, out);
                if let Some(reason) = delta.and_then(|delta| delta.stop_reason) {
                    self.finish = Some(finish_reason(&reason));
                }
            }
            Event::MessageStop => self.end(out)?,
            Event::Error => {
                let body: Value = serde_json::from_str(event).map_err(|_| Breach::Malformed)?;
                return Err(Failure::from_event(error_code(&body)));
            }
            Event::Other => {}
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Output) -> Result<(), Breach> {
        if self.finish.is_some() { self.end(out) } else { Err(Breach::Truncated) }
    }
}

impl Events {
    fn open(&mut self, index: u64, block: ContentBlock, out: &mut Output) {
        match block {
            ContentBlock::Text { text } => out.text(text.unwrap_or_default()),
            ContentBlock::Thinking { thinking } => out.thinking(thinking.unwrap_or_default()),
            ContentBlock::ToolUse { id, name, input } => {
                out.working();
                // The arguments follow in fragments; a server that does not stream them sends them here.
                let arguments = input.filter(|input| input.as_object().is_some_and(|object| !object.is_empty()));
                let call = Call {
                    id: id.unwrap_or_default(),
                    name: name.unwrap_or_default(),
                    arguments: arguments.map(|input| input.to_string()).unwrap_or_default(),
                };
                self.calls.insert(index, call);
            }
            ContentBlock::Other => {}
        }
    }

    /// Cached tokens are not part of `input_tokens` in this protocol.
    fn count(&mut self, counts: Option<Counts>, out: &mut Output) {
        let Some(new) = counts else { return };
        let counts = &mut self.counts;
        counts.input_tokens = new.input_tokens.or(counts.input_tokens);
        counts.cache_creation_input_tokens = new.cache_creation_input_tokens.or(counts.cache_creation_input_tokens);
        counts.cache_read_input_tokens = new.cache_read_input_tokens.or(counts.cache_read_input_tokens);
        counts.output_tokens = new.output_tokens.or(counts.output_tokens);
        let input = [counts.input_tokens, counts.cache_creation_input_tokens, counts.cache_read_input_tokens];
        out.usage(input.into_iter().flatten().sum(), counts.output_tokens.unwrap_or_default());
    }

    fn end(&mut self, out: &mut Output) -> Result<(), Breach> {
        for (_, call) in std::mem::take(&mut self.calls) {
            out.tool_call(ToolCall::parse(call.id, call.name, call.arguments));
        }
        out.end(self.finish)
    }
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        // `end_turn` and `stop_sequence`; `pause_turn` comes only with tools that the provider runs, which we never ask for.
        _ => FinishReason::Stop,
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
        read_all(Kind::Anthropic, events)
    }

    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn delta(delta: Value) -> String {
        json!({"type": "content_block_delta", "index": 0, "delta": delta}).to_string()
    }

    fn finish(reason: &str) -> String {
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}).to_string()
    }

    #[test]
    fn an_answer_is_read_with_its_cumulative_usage() {
        let start = json!({"type": "message_start", "message": {"usage":
            {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": null, "output_tokens": 1}}});
        let (pieces, result) = read(&[
            &start.to_string(),
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            &delta(json!({"type": "thinking_delta", "thinking": "hm"})),
            &delta(json!({"type": "signature_delta", "signature": "xyz"})),
            &delta(json!({"type": "text_delta", "text": "hi"})),
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"from_the_future","x":1}"#,
            &finish("end_turn"),
            STOP,
        ]);
        result.unwrap();
        assert_eq!(
            pieces,
            [
                Piece::Usage(Usage { input_tokens: 14, output_tokens: 1 }),
                Piece::Thinking("hm".into()),
                Piece::Text("hi".into()),
                Piece::Usage(Usage { input_tokens: 14, output_tokens: 9 }),
                Piece::End(FinishReason::Stop),
            ]
        );
    }

    #[test]
    fn tool_calls_survive_what_servers_leave_out() {
        let no_input =
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"now"}}"#;
        let whole = r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"b","name":"add","input":{"x":1}}}"#;
        let cut = r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"c","name":"add","input":{}}}"#;
        let fragment =
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#;
        let (pieces, result) = read(&[
            no_input,
            r#"{"type":"content_block_stop","index":0}"#,
            whole,
            cut,
            fragment,
            &finish("max_tokens"),
            STOP,
        ]);
        result.unwrap();
        let calls: Vec<_> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::ToolCall(call) => Some((call.id.as_str(), call.arguments.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(calls, [("a", Ok(json!({}))), ("b", Ok(json!({"x": 1}))), ("c", Err("{\"x\":".to_owned()))]);
        assert_eq!(pieces.last(), Some(&Piece::End(FinishReason::Length)));
    }

    #[test]
    fn the_end_is_never_made_up() {
        let text = delta(json!({"type": "text_delta", "text": "hi"}));
        assert!(matches!(read(&[&text]).1, Err(Failure::Protocol(Breach::Truncated))));
        assert!(matches!(read(&[STOP]).1, Err(Failure::Protocol(Breach::Truncated))));
        assert!(matches!(read(&["{"]).1, Err(Failure::Protocol(Breach::Malformed))));
        read(&[&text, &finish("end_turn")]).1.unwrap();
        read(&[&text, STOP]).1.unwrap();
    }

    #[test]
    fn an_error_event_is_a_failure_and_a_refusal_an_end() {
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"secret"}}"#;
        let (_, result) = read(&[error]);
        assert_eq!(result.unwrap_err().to_string(), "the provider is unavailable: error event, overloaded_error");
        let (pieces, _) = read(&[&finish("refusal"), STOP]);
        assert_eq!(pieces.last(), Some(&Piece::End(FinishReason::ContentFilter)));
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
            ],
            max_output_tokens: None,
            tools: vec![ToolSpec { name: "add".into(), description: "adds".into(), parameters: json!({}) }],
        };
        assert_eq!(
            body("m", &prompt, 7),
            json!({
                "model": "m", "max_tokens": 7, "stream": true, "system": "be brief",
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "2+2"}]},
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "add", "input": {"x": 2}}]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": "4", "is_error": false}]},
                ],
                "tools": [{"name": "add", "description": "adds", "input_schema": {}}],
            })
        );
    }
}
