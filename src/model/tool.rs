//! Tools that an answer called, and what they returned.

use serde::{Deserialize, Serialize};

/// What a tool is called with: a JSON object.
pub type Arguments = serde_json::Map<String, serde_json::Value>;

/// A call of a tool within an answer.
///
/// The tool events of an answer, calls and results alike, are numbered from 1: one number tells which of them a viewer has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's place among the tool events of its answer.
    pub number: u64,
    /// Where in the answer it was called, in UTF-8 bytes.
    pub index: u64,
    /// Names the call within its answer.
    pub id: String,
    /// The tool.
    pub name: String,
    /// What it was called with; empty when the model wrote no JSON object.
    pub arguments: Arguments,
    /// What came of it; `None` while it works, and when the run ended before it did.
    pub result: Option<ToolResult>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The result's place among the tool events of its answer.
    pub number: u64,
    /// What the tool returned, or why it failed.
    pub content: String,
    /// Whether it failed.
    pub is_error: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

impl ToolCall {
    /// Roughly what the call costs in memory, in bytes.
    pub fn weight(&self) -> usize {
        weight(&self.arguments) + self.result.as_ref().map_or(0, |result| result.content.len())
    }
}

/// Roughly what arguments cost in memory, in bytes.
pub fn weight(arguments: &Arguments) -> usize {
    serde_json::to_string(arguments).map_or(0, |text| text.len())
}
