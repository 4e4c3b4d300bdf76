//! What an operator can set: providers, their clocks, and how faults are met.

use std::{fmt, time::Duration};

/// All that [`Models`](super::Models) is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The providers, in the order in which their models are listed.
    pub providers: Vec<ProviderConfig>,
    /// The model of conversations that name none; `None` takes the first one of the first provider that has a key,
    /// or else `echo`.
    pub default_model: Option<String>,
    /// The pause between two words of `echo`.
    pub echo_interval: Duration,
}

/// One provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// The part of a model id before the `/`; unique, and not `echo`.
    pub name: String,
    /// The protocol that it speaks.
    pub kind: Kind,
    /// Where it is, as its own client libraries take it: the Messages API without `/v1`, chat completions with it.
    pub base_url: String,
    /// Sent with every request; local servers need none.
    pub api_key: Option<Secret>,
    /// The models offered, by the provider's own names. Empty offers none in lists and accepts any name.
    pub models: Vec<String>,
    /// The `anthropic-version` header; other kinds ignore it.
    pub version: String,
    /// Model ids (`provider/model` or `echo`) to try in turn when this provider fails before its first visible piece.
    pub fallback: Vec<String>,
    /// How long to wait for what.
    pub timers: Timers,
    /// Further tries of a call that failed before its first visible piece.
    pub retries: u32,
    /// Failures in a row after which the provider is left alone, at least 1.
    pub breaker_failures: u32,
    /// For how long it is then left alone.
    pub breaker_open: Duration,
    /// The longest answer, in tokens.
    pub max_output_tokens: u32,
    /// Whether its models are offered tools; many servers refuse a request that does.
    pub tools: bool,
}

/// The protocol that a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's chat completions, as also offered by vLLM, Ollama, llama.cpp and others.
    OpenAi,
}

/// The four clocks of a provider call. No keep-alive moves any of them: it proves that a connection lives, not that the
/// model has anything to say.
#[derive(Debug, Clone, Copy)]
pub struct Timers {
    /// Until the connection stands.
    pub connect: Duration,
    /// From the request until text, reasoning or a tool call begins.
    pub first_piece: Duration,
    /// Between one such piece and the next.
    pub silence: Duration,
    /// For the whole answer, retries included.
    pub total: Duration,
}

/// A key that shows itself only to the provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {value:?}: {wanted}")]
pub struct SettingsError {
    /// Which setting, such as `provider openai: base_url`.
    pub setting: String,
    /// Its value; empty for secrets.
    pub value: String,
    /// What would be right.
    pub wanted: String,
}

impl ProviderConfig {
    /// A provider with the defaults of its kind.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        let base_url = match kind {
            Kind::Anthropic => "https://api.anthropic.com",
            Kind::OpenAi => "https://api.openai.com/v1",
        };
        Self {
            name: name.into(),
            kind,
            base_url: base_url.to_owned(),
            api_key: None,
            models: Vec::new(),
            version: "2023-06-01".to_owned(),
            fallback: Vec::new(),
            timers: Timers::default(),
            retries: 2,
            breaker_failures: 5,
            breaker_open: Duration::from_secs(30),
            max_output_tokens: 4096,
            tools: true,
        }
    }

    /// An error about one of this provider's settings.
    pub(super) fn error(&self, setting: &str, value: &str, wanted: impl Into<String>) -> SettingsError {
        SettingsError {
            setting: format!("provider {}: {setting}", self.name),
            value: value.to_owned(),
            wanted: wanted.into(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { providers: Vec::new(), default_model: None, echo_interval: Duration::from_millis(20) }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_piece: Duration::from_secs(60),
            silence: Duration::from_secs(30),
            total: Duration::from_secs(600),
        }
    }
}

impl Secret {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_shows() {
        let config = ProviderConfig {
            api_key: Some(Secret::new("sk-very-secret")),
            ..ProviderConfig::new("openai", Kind::OpenAi)
        };
        assert!(!format!("{config:?}").contains("sk-very-secret"));
    }
}
