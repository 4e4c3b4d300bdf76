//! What a model is asked: contexts and messages, as many as the token budget holds.

use crate::{
    error::Result,
    llm::{Prompt, Turn},
    model::{
        conversation::{Context, Membership},
        ids::MessageId,
        message::{Message, MessageRole},
        page::{self, PageRequest},
    },
    store::Store,
};

/// Bytes that count as one token where no tokenizer is at hand: about right for English, generous for other scripts.
const BYTES_PER_TOKEN: usize = 4;
/// The part of the budget that contexts may take, so that the conversation itself keeps some.
const CONTEXT_SHARE: (usize, usize) = (3, 4);

/// How many tokens a text has, roughly.
pub(super) fn estimate_tokens(text: &str) -> usize {
    text.len().div_ceil(BYTES_PER_TOKEN)
}

/// Builds the prompt for the answer to `question`: contexts in their order, then the latest messages of its path. The
/// question itself is always in it. Returned with what it costs in tokens, roughly.
pub(super) async fn build(
    store: &Store,
    membership: &Membership,
    question: MessageId,
    budget: usize,
    max_output_tokens: u32,
) -> Result<(Prompt, usize)> {
    let contexts = all_contexts(store, membership).await?;
    let (system, spent) = system_text(&contexts, budget * CONTEXT_SHARE.0 / CONTEXT_SHARE.1);
    let mut left = budget.saturating_sub(spent);
    let mut path = store
        .ancestry(membership, question, |message| {
            let cost = estimate_tokens(&message.content);
            let is_over = cost > left && message.id != question;
            left = left.saturating_sub(cost);
            is_over
        })
        .await?;
    path.reverse();
    let cost = spent + path.iter().map(|message| estimate_tokens(&message.content)).sum::<usize>();
    let turns = path.iter().filter_map(turn).collect();
    Ok((Prompt { system, turns, max_output_tokens: Some(max_output_tokens), tools: Vec::new() }, cost))
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

fn turn(message: &Message) -> Option<Turn> {
    match message.role {
        _ if message.is_deleted => None,
        MessageRole::User => Some(Turn::user(&message.content)),
        MessageRole::Assistant => Some(Turn::assistant(&message.content)),
        // Contexts hold what operators say; results of tools stand in the answers that used them.
        MessageRole::System | MessageRole::Tool => None,
    }
}
