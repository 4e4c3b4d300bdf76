//! What the two provider protocols have in common: a request made from a prompt, and a reader of events.

use std::{borrow::Cow, collections::VecDeque};

use reqwest::header::{HeaderMap, HeaderValue, InvalidHeaderValue};
use serde_json::Value;

use super::{
    anthropic,
    failure::{Breach, Failure, plain_code},
    openai,
    piece::{FinishReason, Piece, ToolCall, Usage},
    prompt::Prompt,
    settings::{Kind, ProviderConfig, Secret},
};

/// Turns the events of one answer into pieces.
pub(super) trait Reader: Send {
    /// Takes one event in.
    fn read(&mut self, event: &str, out: &mut Output) -> Result<(), Failure>;

    /// The connection is gone. Writes the end if the provider had given its reason for finishing; otherwise the answer
    /// is truncated, and nobody may make up an end for it.
    fn close(&mut self, out: &mut Output) -> Result<(), Breach>;
}

impl Kind {
    /// The path of the call, relative to the base URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Anthropic => anthropic::PATH,
            Self::OpenAi => openai::PATH,
        }
    }

    /// The body of the call for `prompt`.
    pub(super) fn body(self, config: &ProviderConfig, model: &str, prompt: &Prompt) -> Value {
        let limit = config.max_output_tokens;
        let limit = prompt.max_output_tokens.map_or(limit, |wanted| wanted.min(limit));
        let prompt = match config.tools && !prompt.tools.is_empty() {
            true => Cow::Borrowed(prompt),
            false => Cow::Owned(prompt.without_tools()),
        };
        match self {
            Self::Anthropic => anthropic::body(model, &prompt, limit),
            Self::OpenAi => openai::body(model, &prompt, limit, openai::limit_field(&config.base_url)),
        }
    }

    /// The headers that every call carries.
    pub(super) fn headers(self, config: &ProviderConfig) -> Result<HeaderMap, InvalidHeaderValue> {
        match self {
            Self::Anthropic => anthropic::headers(config),
            Self::OpenAi => openai::headers(config),
        }
    }

    /// A reader for one answer.
    pub(super) fn reader(self) -> Box<dyn Reader> {
        match self {
            Self::Anthropic => Box::<anthropic::Events>::default(),
            Self::OpenAi => Box::<openai::Chunks>::default(),
        }
    }
}

/// The pieces that a reader has made and nobody has taken yet.
#[derive(Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    usage: Usage,
    progress: bool,
    said: bool,
    called: bool,
}

impl Output {
    /// Takes the oldest piece.
    pub(super) fn take(&mut self) -> Option<Piece> {
        self.pieces.pop_front()
    }

    /// Whether the model has said something since this was last asked.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    pub(super) fn text(&mut self, text: String) {
        if !text.is_empty() {
            self.say(Piece::Text(text));
        }
    }

    pub(super) fn thinking(&mut self, text: String) {
        if !text.is_empty() {
            self.say(Piece::Thinking(text));
        }
    }

    pub(super) fn tool_call(&mut self, call: ToolCall) {
        self.called = true;
        self.say(Piece::ToolCall(call));
    }

    /// The model is at work on something that is shown only when it is whole.
    pub(super) fn working(&mut self) {
        self.progress = true;
    }

    /// The provider's count so far. Servers that do not count send zeros, which is no count.
    pub(super) fn usage(&mut self, input_tokens: u64, output_tokens: u64) {
        self.usage.raise(input_tokens, output_tokens);
        if self.usage != Usage::default() {
            self.pieces.push_back(Piece::Usage(self.usage));
        }
    }

    /// The provider says that the answer is finished. Some give no reason, some say `stop` after a tool call; but one
    /// that has neither spoken nor given a reason has not answered.
    pub(super) fn end(&mut self, reason: Option<FinishReason>) -> Result<(), Breach> {
        let reason = match reason {
            None | Some(FinishReason::Stop) if self.called => FinishReason::ToolCalls,
            Some(reason) => reason,
            None if self.said => FinishReason::Stop,
            None => return Err(Breach::Truncated),
        };
        self.pieces.push_back(Piece::End(reason));
        Ok(())
    }

    fn say(&mut self, piece: Piece) {
        self.said = true;
        self.progress = true;
        self.pieces.push_back(piece);
    }
}

/// The code of an error object, `{"error":{"type","code","message"}}` in both protocols. The type names the class of
/// the error, so it comes first; `code` may be the number of an HTTP status. The message may quote the request.
pub(super) fn error_code(body: &Value) -> Option<String> {
    let error = body.get("error")?;
    let field = |name| match error.get(name)? {
        Value::String(text) => plain_code(text),
        Value::Number(number) => plain_code(&number.to_string()),
        _ => None,
    };
    field("type").or_else(|| field("code"))
}

/// A header that is not logged, holding a key after `prefix`.
pub(super) fn key_header(prefix: &str, key: &Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("{prefix}{}", key.reveal()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a whole answer that arrives as `events`, for tests of the dialects.
#[cfg(test)]
pub(super) fn read_all(kind: Kind, events: &[&str]) -> (Vec<Piece>, Result<(), Failure>) {
    let mut reader = kind.reader();
    let mut out = Output::default();
    let read = events.iter().try_for_each(|event| reader.read(event, &mut out));
    let mut pieces: Vec<Piece> = std::iter::from_fn(|| out.take()).collect();
    let ended = matches!(pieces.last(), Some(Piece::End(_)));
    let result = read.and_then(|()| if ended { Ok(()) } else { reader.close(&mut out).map_err(Failure::from) });
    pieces.extend(std::iter::from_fn(|| out.take()));
    (pieces, result)
}
