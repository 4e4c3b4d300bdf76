//! Model providers of the file's `[[providers]]`.

use super::Secret;

/// A model provider.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The first part of its models' ids.
    pub name: String,
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where it is; empty for the vendor's own address.
    #[serde(default)]
    pub base_url: String,
    /// The environment variable that holds its key.
    #[serde(default)]
    pub api_key_env: String,
    /// Models to offer; empty: any.
    #[serde(default)]
    pub models: Vec<String>,
    /// Models to try, in order, when one of these does not answer.
    #[serde(default)]
    pub fallback: Vec<String>,
    /// Whether its models are offered tools; `false` for servers that refuse them.
    #[serde(default = "yes")]
    pub tools: bool,
    /// Its key.
    #[serde(skip)]
    pub api_key: Option<Secret>,
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// The Messages API.
    Anthropic,
    /// Chat completions.
    OpenAi,
}

fn yes() -> bool {
    true
}
