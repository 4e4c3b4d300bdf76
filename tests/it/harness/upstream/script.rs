//! What an [`Upstream`](super::Upstream) says: an answer in either protocol, and everything that can go wrong with one.

use std::time::Duration;

use serde_json::{Value, json};

/// The protocol of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's chat completions.
    OpenAi,
}

/// One response, built up move by move and then played to a client.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(super) wire: Wire,
    pub(super) status: Option<u16>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) line_end: &'static str,
    pub(super) portion: usize,
    pub(super) moves: Vec<Move>,
    starts: bool,
    stepped: bool,
    blocks: u64,
    text_open: bool,
    text: String,
}

/// What the upstream does next.
#[derive(Debug, Clone)]
pub(super) enum Move {
    /// Sends an event, written with LF.
    Send(String),
    /// Waits for a [`release`](super::Upstream::release).
    Await,
    /// Says nothing more and keeps the connection.
    Stall,
    /// Keeps the connection alive and says nothing more.
    PingForever(Duration),
    /// Closes the connection in the middle of the body.
    HangUp,
    /// Resets the connection.
    Reset,
}

/// The `number`th of numbered pieces: every one holds characters of one to four bytes.
pub(crate) fn piece(number: usize) -> String {
    format!("{number}·é€🦀 ")
}

impl Script {
    /// An answer of the Messages API that has said nothing yet.
    pub(crate) fn anthropic() -> Self {
        Self::new(Wire::Anthropic)
    }

    /// An answer of chat completions that has said nothing yet.
    pub(crate) fn openai() -> Self {
        Self::new(Wire::OpenAi)
    }

    /// An answer that has said nothing yet.
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire,
            status: Some(200),
            headers: Vec::new(),
            line_end: "\n",
            portion: usize::MAX,
            moves: Vec::new(),
            starts: true,
            stepped: false,
            blocks: 0,
            text_open: false,
            text: String::new(),
        }
    }

    /// All text of this script, joined.
    pub(crate) fn full_text(&self) -> String {
        self.text.clone()
    }

    /// Answers with this status and an error body instead of a stream.
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Takes the request and never answers it.
    pub(crate) fn mute(mut self) -> Self {
        self.status = None;
        self
    }

    /// Adds a response header.
    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Ends lines with CRLF.
    pub(crate) fn crlf(mut self) -> Self {
        self.line_end = "\r\n";
        self
    }

    /// Sends the body in portions of so many bytes, which cut events and characters.
    pub(crate) fn portions(mut self, bytes: usize) -> Self {
        self.portion = bytes;
        self
    }

    /// Leaves out the events before the first content.
    pub(crate) fn without_start(mut self) -> Self {
        self.starts = false;
        self
    }

    /// Waits for a release before each text that follows.
    pub(crate) fn stepped(mut self) -> Self {
        self.stepped = true;
        self
    }

    /// Sends what comes before the first content, unless it was sent or left out; content does so by itself.
    pub(crate) fn start(mut self) -> Self {
        if !std::mem::take(&mut self.starts) {
            return self;
        }
        match self.wire {
            Wire::Anthropic => {
                let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "content": [],
                    "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 1}});
                self.event(json!({"type": "message_start", "message": message})).ping()
            }
            Wire::OpenAi => self.delta(json!({"role": "assistant", "content": ""})),
        }
    }

    /// Waits for a release.
    pub(crate) fn pause(mut self) -> Self {
        self.moves.push(Move::Await);
        self
    }

    /// Says a piece of text.
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        self = self.start();
        if self.stepped {
            self.moves.push(Move::Await);
        }
        self.text.push_str(&text);
        match self.wire {
            Wire::Anthropic => {
                if !self.text_open {
                    self.text_open = true;
                    self = self.block_start(json!({"type": "text", "text": ""}));
                }
                self.block_delta(json!({"type": "text_delta", "text": text}))
            }
            Wire::OpenAi => self.delta(json!({"content": text})),
        }
    }

    /// Says pieces `1..=count` as made by [`piece`].
    pub(crate) fn pieces(self, count: usize) -> Self {
        (1..=count).fold(self, |script, number| script.text(piece(number)))
    }

    /// Reasons aloud.
    pub(crate) fn thinking(self, text: &str) -> Self {
        let script = self.start();
        match script.wire {
            Wire::Anthropic => script
                .close_text()
                .block_start(json!({"type": "thinking", "thinking": "", "signature": ""}))
                .block_delta(json!({"type": "thinking_delta", "thinking": text}))
                .block_delta(json!({"type": "signature_delta", "signature": "c2ln"}))
                .block_stop(),
            Wire::OpenAi => script.delta(json!({"reasoning_content": text})),
        }
    }

    /// Calls a tool; the arguments come in two fragments, as they are, be they JSON or not.
    pub(crate) fn tool(self, id: &str, name: &str, arguments: &str) -> Self {
        let half = arguments.floor_char_boundary(arguments.len() / 2);
        let (first, second) = arguments.split_at(half);
        let script = self.start();
        match script.wire {
            Wire::Anthropic => script
                .close_text()
                .block_start(json!({"type": "tool_use", "id": id, "name": name, "input": {}}))
                .block_delta(json!({"type": "input_json_delta", "partial_json": first}))
                .block_delta(json!({"type": "input_json_delta", "partial_json": second}))
                .block_stop(),
            Wire::OpenAi => {
                let head =
                    json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": first}});
                script
                    .delta(json!({"tool_calls": [head]}))
                    .delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": second}}]}))
            }
        }
    }

    /// Sends a sign of life without content.
    pub(crate) fn ping(mut self) -> Self {
        let ping = keep_alive(self.wire);
        self.moves.push(Move::Send(ping));
        self
    }

    /// Ends the answer because all is said. Usage: 12 tokens in, 34 out.
    pub(crate) fn end(self) -> Self {
        match self.wire {
            Wire::Anthropic => self.end_with("end_turn"),
            Wire::OpenAi => self.end_with("stop"),
        }
    }

    /// Ends the answer to wait for the results of tool calls.
    pub(crate) fn end_for_tools(self) -> Self {
        match self.wire {
            Wire::Anthropic => self.end_with("tool_use"),
            Wire::OpenAi => self.end_with("tool_calls"),
        }
    }

    /// Ends the answer for a reason in the words of the protocol.
    pub(crate) fn end_with(self, reason: &str) -> Self {
        let script = self.start();
        match script.wire {
            Wire::Anthropic => script
                .close_text()
                .event(
                    json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 34}}),
                )
                .event(json!({"type": "message_stop"})),
            Wire::OpenAi => script
                .event(chunk(json!([{"index": 0, "delta": {}, "finish_reason": reason}])))
                .event(json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 34}}))
                .raw("data: [DONE]\n\n"),
        }
    }

    /// Sends an error event, `overloaded_error` or the like.
    pub(crate) fn error(self, kind: &str) -> Self {
        let wire = self.wire;
        self.event(error_body(wire, kind))
    }

    /// Sends bytes that no builder makes.
    pub(crate) fn raw(mut self, event: impl Into<String>) -> Self {
        self.moves.push(Move::Send(event.into()));
        self
    }

    /// Falls silent with the connection open.
    pub(crate) fn stall(mut self) -> Self {
        self.moves.push(Move::Stall);
        self
    }

    /// Sends nothing but signs of life from now on.
    pub(crate) fn ping_forever(mut self, interval: Duration) -> Self {
        self.moves.push(Move::PingForever(interval));
        self
    }

    /// Closes the connection in the middle of the body. Without this a script that has no `end` closes the body
    /// politely, as a proxy does for a server that died.
    pub(crate) fn hang_up(mut self) -> Self {
        self.moves.push(Move::HangUp);
        self
    }

    /// Resets the connection.
    pub(crate) fn reset(mut self) -> Self {
        self.moves.push(Move::Reset);
        self
    }

    fn close_text(self) -> Self {
        if self.text_open { self.block_stop() } else { self }
    }

    fn block_start(self, block: Value) -> Self {
        let index = self.blocks;
        self.event(json!({"type": "content_block_start", "index": index, "content_block": block}))
    }

    fn block_delta(self, delta: Value) -> Self {
        let index = self.blocks;
        self.event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }

    fn block_stop(mut self) -> Self {
        let index = self.blocks;
        self.blocks += 1;
        self.text_open = false;
        self.event(json!({"type": "content_block_stop", "index": index}))
    }

    fn delta(self, delta: Value) -> Self {
        self.event(chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])))
    }

    fn event(self, data: Value) -> Self {
        let event = match (self.wire, data["type"].as_str()) {
            (Wire::Anthropic, Some(name)) => format!("event: {name}\ndata: {data}\n\n"),
            _ => format!("data: {data}\n\n"),
        };
        self.raw(event)
    }
}

/// A sign of life without content: an event of its own, or a comment.
pub(super) fn keep_alive(wire: Wire) -> String {
    match wire {
        Wire::Anthropic => "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
        Wire::OpenAi => ": keep-alive\n\n".to_owned(),
    }
}

/// An error as the protocol words it; its message quotes what must never be shown or logged.
pub(super) fn error_body(wire: Wire, kind: &str) -> Value {
    let message = "your key sk-leak and your words";
    match wire {
        Wire::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
        Wire::OpenAi => json!({"error": {"type": kind, "message": message, "code": null}}),
    }
}

fn chunk(choices: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices})
}
