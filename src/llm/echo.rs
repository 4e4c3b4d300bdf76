//! The built-in model: says what it was told, word by word, so that everything can be tried without a provider.

use std::{collections::VecDeque, time::Duration};

use tokio::{task::yield_now, time::sleep};

use super::{
    piece::{FinishReason, Piece, ToolCall, Usage},
    prompt::{Block, Prompt, Role, Turn},
};

/// The id of this model.
pub(super) const ID: &str = "echo";

/// Where tools are offered, `/tool NAME {ARGUMENTS}` is not said again but done, and then what the tool returned is said.
const CALL: &str = "/tool ";

/// An answer under way.
pub(super) struct Echo {
    pieces: VecDeque<Piece>,
    interval: Duration,
    spoke: bool,
}

impl Echo {
    /// Answers with the text of the last user turn, one word with the space after it at a time. Words count as tokens.
    pub(super) fn answer(prompt: &Prompt, interval: Duration) -> Self {
        let question = prompt.turns.iter().rfind(|turn| turn.role == Role::User);
        let text: String = question.into_iter().flat_map(said).collect();
        if let Some((name, arguments)) = call(prompt, &text) {
            let call = Piece::ToolCall(ToolCall::parse(String::new(), name.to_owned(), arguments.to_owned()));
            let pieces = VecDeque::from([call, Piece::End(FinishReason::ToolCalls)]);
            return Self { pieces, interval, spoke: false };
        }
        let prompted = prompt.system.as_deref().into_iter().chain(prompt.turns.iter().flat_map(Turn::texts));
        let usage = Usage { input_tokens: prompted.map(count).sum(), output_tokens: count(&text) };
        let mut pieces: VecDeque<Piece> = words(&text).map(|word| Piece::Text(word.to_owned())).collect();
        pieces.extend([Piece::Usage(usage), Piece::End(FinishReason::Stop)]);
        Self { pieces, interval, spoke: false }
    }

    /// The next piece, or `None` after `End`.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        let waits = std::mem::replace(&mut self.spoke, true) && matches!(self.pieces.front(), Some(Piece::Text(_)));
        if waits && self.interval.is_zero() {
            // Without a pause a long echo would never let its thread do anything else.
            yield_now().await;
        } else if waits {
            sleep(self.interval).await;
        }
        self.pieces.pop_front()
    }
}

/// What a turn says, and what tools returned in it.
fn said(turn: &Turn) -> impl Iterator<Item = &str> {
    turn.content.iter().filter_map(|block| match block {
        Block::Text(text) | Block::ToolResult { content: text, .. } => Some(text.as_str()),
        Block::ToolUse { .. } => None,
    })
}

/// The tool that a text asks for, and what to call it with.
fn call<'a>(prompt: &Prompt, text: &'a str) -> Option<(&'a str, &'a str)> {
    let wanted = text.strip_prefix(CALL).filter(|_| !prompt.tools.is_empty())?.trim();
    Some(wanted.split_once(char::is_whitespace).unwrap_or((wanted, "")))
}

fn count(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// Cuts a text before each word; nothing is lost or added.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let space = rest[word..].find(|c: char| !c.is_whitespace()).unwrap_or(rest.len() - word);
        let (piece, left) = rest.split_at(word + space);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::{super::prompt::ToolSpec, *};

    #[test]
    fn words_keep_every_character() {
        assert_eq!(words("one  two\nthree ").collect::<Vec<_>>(), ["one  ", "two\n", "three "]);
        assert_eq!(words("  ünï 🦀").collect::<Vec<_>>(), ["  ", "ünï ", "🦀"]);
        assert_eq!(words("").count(), 0);
    }

    #[tokio::test]
    async fn it_calls_a_tool_that_is_asked_for_and_says_what_came_back() {
        let tool = ToolSpec { name: "add".into(), description: String::new(), parameters: json!({}) };
        let mut prompt = Prompt { turns: vec![Turn::user("/tool add {\"x\":1}")], ..Prompt::default() };
        let first = async |prompt: &Prompt| Echo::answer(prompt, Duration::ZERO).next().await;
        assert_eq!(first(&prompt).await, Some(Piece::Text("/tool ".into())), "nothing is offered");
        prompt.tools.push(tool);
        let Some(Piece::ToolCall(call)) = first(&prompt).await else { panic!("no call") };
        assert_eq!((call.name.as_str(), call.arguments), ("add", Ok(json!({"x": 1}))));
        let result = Block::ToolResult { id: call.id, content: "two".into(), is_error: false };
        prompt.turns.push(Turn { role: Role::User, content: vec![result] });
        assert_eq!(first(&prompt).await, Some(Piece::Text("two".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_the_last_question_at_its_pace() {
        let turns = vec![Turn::user("earlier"), Turn::assistant("well"), Turn::user("one two")];
        let mut echo = Echo::answer(&Prompt { turns, ..Prompt::default() }, Duration::from_millis(20));
        let start = Instant::now();
        assert_eq!(echo.next().await, Some(Piece::Text("one ".into())));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(echo.next().await, Some(Piece::Text("two".into())));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(echo.next().await, Some(Piece::Usage(Usage { input_tokens: 4, output_tokens: 2 })));
        assert_eq!(echo.next().await, Some(Piece::End(FinishReason::Stop)));
        assert_eq!(echo.next().await, None);
    }
}
