//! What a model is asked: contexts and messages, as many as the token budget holds.

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

/// What bounds a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Tokens of contexts and messages.
    pub(super) context_tokens: usize,
    /// Tokens that the model may write.
    pub(super) output_tokens: u32,
}

/// Builds the prompt for the answer to `question`: contexts in their order, then the latest messages of its path, with the
/// tools that answers called. The question itself is always in it. Returned with what it costs in tokens, roughly.
pub(super) async fn build(
    store: &Store,
    membership: &Membership,
    question: MessageId,
    bounds: Bounds,
    tools: Vec<ToolSpec>,
) -> Result<(Prompt, usize)> {
    let budget = bounds.context_tokens;
    let contexts = all_contexts(store, membership).await?;
    let (system, spent) = system_text(&contexts, budget * CONTEXT_SHARE.0 / CONTEXT_SHARE.1);
    let mut left = budget.saturating_sub(spent);
    let mut path = store
        .ancestry(membership, question, |message| {
            let cost = cost_of(message);
            let is_over = cost > left && message.id != question;
            left = left.saturating_sub(cost);
            is_over
        })
        .await?;
    path.reverse();
    let cost = spent + path.iter().map(cost_of).sum::<usize>() + tools.iter().map(cost_of_tool).sum::<usize>();
    let turns = path.iter().flat_map(turns_of).collect();
    Ok((Prompt { system, turns, max_output_tokens: Some(bounds.output_tokens), tools }, cost))
}

/// What a message costs in a prompt, in tokens, roughly.
fn cost_of(message: &Message) -> usize {
    estimate_tokens(&message.content) + message.tool_calls.iter().map(cost_of_call).sum::<usize>()
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
