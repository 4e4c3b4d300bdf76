//! What a model is asked: plain data, the same for every provider.

use serde::Serialize;
use serde_json::Value;

/// A question to a model, with all that the model should know when answering it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Prompt {
    /// Instructions that stand before the conversation.
    pub system: Option<String>,
    /// The conversation, oldest turn first.
    pub turns: Vec<Turn>,
    /// The longest answer wanted, in tokens; the provider's own limit applies when it is lower or this is `None`.
    pub max_output_tokens: Option<u32>,
    /// The tools that the model may call.
    pub tools: Vec<ToolSpec>,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Block>,
}

/// Who speaks in a [`Turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Role {
    /// The person, or a tool answering the assistant.
    User,
    /// The model.
    Assistant,
}

/// A part of a turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Block {
    /// Plain text.
    Text(String),
    /// The assistant calls a tool.
    ToolUse {
        /// Pairs the call with its result.
        id: String,
        /// The tool's name.
        name: String,
        /// A JSON object.
        arguments: Value,
    },
    /// What a tool answered; part of a user turn.
    ToolResult {
        /// The `id` of the call.
        id: String,
        /// The answer, or what went wrong.
        content: String,
        /// Whether `content` tells of a failure.
        is_error: bool,
    },
}

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolSpec {
    /// Letters, digits, `_` and `-`, at most 64: what every provider accepts.
    pub name: String,
    /// Tells the model when to use it.
    pub description: String,
    /// JSON Schema of the arguments object.
    pub parameters: Value,
}

impl Turn {
    /// A user's turn of one text.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, content: vec![Block::Text(text.into())] }
    }

    /// An assistant's turn of one text.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: vec![Block::Text(text.into())] }
    }

    /// The texts of this turn, in order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.content.iter().filter_map(|block| match block {
            Block::Text(text) => Some(text.as_str()),
            Block::ToolUse { .. } | Block::ToolResult { .. } => None,
        })
    }
}

impl Prompt {
    /// The same for a provider that takes no tools, and where none are offered: providers refuse calls of tools that they
    /// are not told of. What was said besides stays.
    pub(super) fn without_tools(&self) -> Self {
        let is_said = |block: &&Block| matches!(block, Block::Text(_));
        let turns = self
            .turns
            .iter()
            .map(|turn| Turn { role: turn.role, content: turn.content.iter().filter(is_said).cloned().collect() });
        Self { turns: turns.collect(), tools: Vec::new(), ..self.clone() }
    }

    /// The conversation in the form that every provider takes: no empty texts, no empty turns, speakers in alternation,
    /// and a person's words first.
    ///
    /// Providers refuse the whole request otherwise, and histories that were edited, stopped or trimmed break each of
    /// these. A tool's result cannot come first because the call that it answers would be missing.
    pub(super) fn alternating(&self) -> Vec<(Role, Vec<&Block>)> {
        let mut turns: Vec<(Role, Vec<&Block>)> = Vec::with_capacity(self.turns.len());
        for turn in &self.turns {
            let said =
                turn.content.iter().filter(|block| !matches!(block, Block::Text(text) if text.trim().is_empty()));
            let said: Vec<&Block> = said.collect();
            let opens = turn.role == Role::User && said.iter().any(|block| matches!(block, Block::Text(_)));
            match turns.last_mut() {
                _ if said.is_empty() => {}
                None if !opens => {}
                Some((role, content)) if *role == turn.role => content.extend(said),
                _ => turns.push((turn.role, said)),
            }
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_alternate_and_a_person_speaks_first() {
        let result = Turn {
            role: Role::User,
            content: vec![Block::ToolResult { id: "t".into(), content: "42".into(), is_error: false }],
        };
        let prompt = Prompt {
            turns: vec![
                Turn::assistant("cut off from its question"),
                result,
                Turn::user("one"),
                Turn::user("  \n"),
                Turn::user("two"),
                Turn::assistant(""),
                Turn::assistant("three"),
            ],
            ..Prompt::default()
        };
        let (one, two, three) = (Block::Text("one".into()), Block::Text("two".into()), Block::Text("three".into()));
        assert_eq!(prompt.alternating(), [(Role::User, vec![&one, &two]), (Role::Assistant, vec![&three])]);
    }

    #[test]
    fn without_tools_only_what_was_said_is_left() {
        let call = Block::ToolUse { id: "t".into(), name: "clock".into(), arguments: Value::Null };
        let result = Block::ToolResult { id: "t".into(), content: "noon".into(), is_error: false };
        let prompt = Prompt {
            turns: vec![
                Turn::user("what time is it"),
                Turn { role: Role::Assistant, content: vec![Block::Text("wait".into()), call] },
                Turn { role: Role::User, content: vec![result] },
                Turn::assistant("noon"),
            ],
            ..Prompt::default()
        };
        let [asked, wait, noon] = ["what time is it", "wait", "noon"].map(|text| Block::Text(text.into()));
        let plain = prompt.without_tools();
        assert_eq!(plain.alternating(), [(Role::User, vec![&asked]), (Role::Assistant, vec![&wait, &noon])]);
    }

    #[test]
    fn a_result_follows_its_call() {
        let call = Block::ToolUse { id: "t".into(), name: "clock".into(), arguments: Value::Null };
        let result = Block::ToolResult { id: "t".into(), content: "noon".into(), is_error: false };
        let prompt = Prompt {
            turns: vec![
                Turn::user("what time is it"),
                Turn { role: Role::Assistant, content: vec![call.clone()] },
                Turn { role: Role::User, content: vec![result.clone()] },
            ],
            ..Prompt::default()
        };
        let roles: Vec<Role> = prompt.alternating().into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
    }
}
