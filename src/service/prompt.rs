//! What a model is asked: contexts and messages, as many as the token budget holds.

use std::collections::HashSet;

use super::answer::call_tokens;
use crate::{
    error::Result,
    llm::{Block, Prompt, Role, ToolSpec, Turn},
    model::{
        conversation::{Context, Membership},
        ids::MessageId,
        message::{Message, MessageRole},
        page::{self, PageRequest},
        tool::ToolCall,
    },
    store::Store,
    tools::wire_name,
};

/// Bytes that count as one token where no tokenizer is at hand: about right for English, generous for other scripts.
const BYTES_PER_TOKEN: usize = 4;
/// The part of the budget that contexts may take, so that the conversation itself keeps some.
const CONTEXT_SHARE: (usize, usize) = (3, 4);

/// Bytes that are kept of a tool's result for which there is no room any more.
const CUT_RESULT: usize = 200;
/// What a model is told of a tool whose run ended before it did.
const CUT_OFF: &str = "the call was cut off";

/// How many tokens a text has, roughly.
pub(super) fn estimate_tokens(text: &str) -> usize {
    estimate_tokens_of(text.len())
}

/// How many tokens so many bytes have, roughly.
pub(super) fn estimate_tokens_of(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// How much of a message stands in a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Whole,
    /// What was said, without the tools that were called.
    Text,
    Nothing,
}

/// What bounds a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Tokens of contexts, messages and what is told of tools.
    pub(super) context_tokens: usize,
    /// Tokens that the model may write.
    pub(super) output_tokens: u32,
}

/// Builds the prompt for the answer to `question`: contexts in their order, then the latest messages of its path, with the
/// tools that answers called, or without where there is no room for them. The question itself is always in it. Returned
/// with what it costs in tokens, roughly.
pub(super) async fn build(
    store: &Store,
    membership: &Membership,
    question: MessageId,
    bounds: Bounds,
    tools: Vec<ToolSpec>,
) -> Result<(Prompt, usize)> {
    let told_of_tools = tools.iter().map(cost_of_tool).sum::<usize>();
    let budget = bounds.context_tokens.saturating_sub(told_of_tools);
    let contexts = all_contexts(store, membership).await?;
    let (system, spent) = system_text(&contexts, budget * CONTEXT_SHARE.0 / CONTEXT_SHARE.1);
    let mut left = budget.saturating_sub(spent);
    let mut bare = HashSet::new();
    let mut path = store
        .ancestry(membership, question, |message| {
            let share = if message.id == question { Share::Whole } else { share_of(message, left) };
            if share == Share::Text {
                bare.insert(message.id);
            }
            left = left.saturating_sub(cost_of(message, share));
            share == Share::Nothing
        })
        .await?;
    path.reverse();
    for message in path.iter_mut().filter(|message| bare.contains(&message.id)) {
        message.tool_calls.clear();
    }
    let cost = spent + told_of_tools + path.iter().map(|message| cost_of(message, Share::Whole)).sum::<usize>();
    let turns = path.iter().flat_map(turns_of).collect();
    Ok((Prompt { system, turns, max_output_tokens: Some(bounds.output_tokens), tools }, cost))
}

/// How much of a message has room in so many tokens.
fn share_of(message: &Message, left: usize) -> Share {
    let fits = |share: &Share| cost_of(message, *share) <= left;
    [Share::Whole, Share::Text].into_iter().find(fits).unwrap_or(Share::Nothing)
}

/// What this much of a message costs in a prompt, in tokens, roughly.
fn cost_of(message: &Message, share: Share) -> usize {
    let said = || estimate_tokens(&message.content);
    match share {
        Share::Whole => said() + message.tool_calls.iter().map(cost_of_call).sum::<usize>(),
        Share::Text => said(),
        Share::Nothing => 0,
    }
}

/// What a call and its result cost in a prompt, in tokens, roughly.
pub(super) fn cost_of_call(call: &ToolCall) -> usize {
    call_tokens(&call.name, &call.arguments) + call.result.as_ref().map_or(0, |result| estimate_tokens(&result.content))
}

fn cost_of_tool(tool: &ToolSpec) -> usize {
    estimate_tokens(&tool.name) + estimate_tokens(&tool.description) + estimate_tokens(&tool.parameters.to_string())
}

/// A round of an answer: what it said, the tools that it called then, and what they returned.
pub(super) fn round(said: &str, calls: &[ToolCall]) -> [Turn; 2] {
    let uses = calls.iter().map(|call| Block::ToolUse {
        id: call.id.clone(),
        name: wire_name(&call.name),
        arguments: serde_json::Value::Object(call.arguments.clone()),
    });
    let results = calls.iter().map(|call| match &call.result {
        Some(result) => {
            Block::ToolResult { id: call.id.clone(), content: result.content.clone(), is_error: result.is_error }
        }
        // Providers refuse a call without a result.
        None => Block::ToolResult { id: call.id.clone(), content: CUT_OFF.to_owned(), is_error: true },
    });
    let said = std::iter::once(Block::Text(said.to_owned()));
    [
        Turn { role: Role::Assistant, content: said.chain(uses).collect() },
        Turn { role: Role::User, content: results.collect() },
    ]
}

/// Cuts what tools returned, the oldest first, until so many tokens less are spent or nothing is left to cut; returns how
/// many less it are, roughly.
pub(super) fn cut_results(turns: &mut [Turn], over: usize) -> usize {
    let mut saved = 0;
    for block in turns.iter_mut().flat_map(|turn| &mut turn.content) {
        let Block::ToolResult { content, .. } = block else { continue };
        if saved >= over {
            break;
        }
        let shown = &content[..content.floor_char_boundary(CUT_RESULT)];
        let cut = format!("{shown}\n[cut: there is no room for all {} bytes any more]", content.len());
        if cut.len() < content.len() {
            saved += estimate_tokens(content) - estimate_tokens(&cut);
            *content = cut;
        }
    }
    saved
}

async fn all_contexts(store: &Store, membership: &Membership) -> Result<Vec<Context>> {
    let mut contexts = Vec::new();
    let mut request = PageRequest { size: page::MAX_SIZE, after: None };
    loop {
        let page = store.contexts(membership, &request).await?;
        contexts.extend(page.entries);
        request.after = page.next;
        if request.after.is_none() {
            return Ok(contexts);
        }
    }
}

/// The contexts that fit, in their order, and what they cost.
fn system_text(contexts: &[Context], budget: usize) -> (Option<String>, usize) {
    let mut spent = 0;
    let mut texts = Vec::new();
    for context in contexts {
        let text = match context.title.as_str() {
            "" => context.content.clone(),
            title => format!("{title}\n{}", context.content),
        };
        let cost = estimate_tokens(&text);
        if spent + cost <= budget {
            spent += cost;
            texts.push(text);
        }
    }
    (Some(texts.join("\n\n")).filter(|text| !text.is_empty()), spent)
}

fn turns_of(message: &Message) -> Vec<Turn> {
    match message.role {
        _ if message.is_deleted => Vec::new(),
        MessageRole::User => vec![Turn::user(&message.content)],
        MessageRole::Assistant => turns_of_answer(message),
        // Contexts hold what operators say; results of tools stand in the answers that used them.
        MessageRole::System | MessageRole::Tool => Vec::new(),
    }
}

/// An answer cut where it called tools. Calls at the same byte were made together, or with nothing said in between.
fn turns_of_answer(message: &Message) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut said = 0;
    for calls in message.tool_calls.chunk_by(|one, other| one.index == other.index) {
        let until = calls.first().and_then(|call| usize::try_from(call.index).ok()).unwrap_or(said);
        turns.extend(round(message.content.get(said..until).unwrap_or_default(), calls));
        said = until;
    }
    turns.push(Turn::assistant(message.content.get(said..).unwrap_or_default()));
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(content: &str) -> Turn {
        let content = content.to_owned();
        Turn { role: Role::User, content: vec![Block::ToolResult { id: "c".into(), content, is_error: false }] }
    }

    #[test]
    fn results_are_cut_from_the_oldest_on_and_no_more_than_needed() {
        let long = "ä".repeat(2000);
        let whole = [Turn::assistant("I look."), result(&long), result("short"), result(&long)];
        let mut turns = whole.clone();
        assert_eq!(cut_results(&mut turns, 0), 0);
        assert_eq!(turns, whole);
        let saved = cut_results(&mut turns, 10);
        assert!((900..1000).contains(&saved), "{saved}");
        assert_ne!(turns[1], whole[1]);
        assert_eq!((&turns[0], &turns[2..]), (&whole[0], &whole[2..]));
        assert_eq!(cut_results(&mut turns, 10_000), saved, "what was cut is not cut again");
        assert_eq!(cut_results(&mut turns, 10_000), 0);
    }
}
