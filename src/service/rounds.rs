//! The rounds of a run: the model is asked, its words are logged and shown, and while it calls tools it is asked again.

use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    answer::Answer,
    insist::insist,
    prompt,
    run::{Ending, Run, provider_fault},
    run_log::Logged,
    runs::Runs,
    tool_calls::Offer,
};
use crate::{
    error::{Error, Result},
    llm::{Failure, FinishReason, Piece, Prompt, ToolCall},
    model::{credential::Digest, event::Happening},
};

/// Pieces that are taken from the provider at once, at most.
const BATCH: usize = 64;

impl Runs {
    /// Writes an answer, from its prompt to its ending.
    pub(super) async fn write(&self, run: &Run, stop: &CancellationToken, answer: &mut Answer) -> Result<Ending> {
        if let Some(ending) = self.wait_for_turn(run, stop).await? {
            return Ok(ending);
        }
        let question = run.reply.parent_id.ok_or_else(|| Error::internal(anyhow::anyhow!("an answer to nothing")))?;
        let offer = self.lifecycle().stopped().run_until_cancelled(self.offer(&answer.model));
        let offer = match stop.run_until_cancelled(offer).await {
            Some(Some(offer)) => offer,
            Some(None) => return Ok(Ending::Interrupted),
            None => return Ok(Ending::Stopped),
        };
        let build = || prompt::build(self.store(), &run.membership, question, self.bounds(), offer.specs.clone());
        let (mut prompt, mut cost) = insist("prompt", build).await?;
        let (asked_for, digest) = (answer.model.clone(), self.digest(&answer.model, &prompt)?);
        if let Some(ending) = self.give_again(run, answer, digest).await? {
            return Ok(ending);
        }
        let first_round = prompt.turns.len();
        let mut rounds_left = self.limits().tool_rounds;
        loop {
            answer.begin_round(cost);
            let mut asked = Vec::new();
            let ending = self.hear(run, stop, answer, prompt.clone(), &mut asked).await?;
            let calls_tools = matches!(ending, Ending::Finished(FinishReason::ToolCalls)) && !offer.specs.is_empty();
            if !calls_tools || asked.is_empty() {
                if let Some(digest) = digest.filter(|_| answer.model == asked_for) {
                    self.keep(answer, &ending, digest).await;
                }
                return Ok(ending);
            }
            if rounds_left == 0 {
                return Ok(Ending::OutOfRounds);
            }
            rounds_left -= 1;
            let before = answer.tool_calls.len();
            if let Some(ending) = self.call_tools(run, stop, answer, asked, (&offer, &prompt)).await? {
                return Ok(ending);
            }
            let calls = &answer.tool_calls[before..];
            cost +=
                prompt::estimate_tokens(answer.round_text()) + calls.iter().map(prompt::cost_of_call).sum::<usize>();
            let newest = prompt.turns.len();
            prompt.turns.extend(prompt::round(answer.round_text(), calls));
            let over = cost.saturating_sub(self.bounds().context_tokens);
            cost -= prompt::cut_results(&mut prompt.turns[first_round..newest], over);
        }
    }

    /// The tools for this model: none when it takes none.
    async fn offer(&self, model: &str) -> Offer {
        let makers = self.makers();
        if makers.models.takes_tools(model) { Offer::of(makers.tools.definitions().await) } else { Offer::default() }
    }

    /// Asks the model and hears it to the end of the round. The tools that it wants called are added to `asked`.
    async fn hear(
        &self,
        run: &Run,
        stop: &CancellationToken,
        answer: &mut Answer,
        prompt: Prompt,
        asked: &mut Vec<ToolCall>,
    ) -> Result<Ending> {
        // Dropping the stream, on every way out of here, closes the provider's connection.
        let mut pieces = self.makers().models.stream(&answer.model, prompt).ready_chunks(BATCH);
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ending::Stopped),
                () = self.lifecycle().stopped().cancelled() => return Ok(Ending::Interrupted),
                batch = pieces.next() => batch,
            };
            let batch = batch.ok_or_else(|| Error::internal(anyhow::anyhow!("the stream of pieces has no end")))?;
            if let Some(ending) = self.take(run, answer, batch, asked).await? {
                return Ok(ending);
            }
        }
    }

    /// Logs and shows what arrived together; returns the ending when it was among it.
    async fn take(
        &self,
        run: &Run,
        answer: &mut Answer,
        batch: Vec<Result<Piece, Failure>>,
        asked: &mut Vec<ToolCall>,
    ) -> Result<Option<Ending>> {
        let mut text = String::new();
        let mut ending = None;
        for piece in batch {
            match piece {
                // The one character that not every database keeps.
                Ok(Piece::Text(piece)) => text.push_str(&piece.replace('\0', "\u{fffd}")),
                Ok(Piece::Thinking(content)) => {
                    if self.show(run, answer, std::mem::take(&mut text)).await? == Logged::NotOwned {
                        return Ok(Some(Ending::NotOwned));
                    }
                    self.publish(run, Happening::Thinking { content }).await;
                }
                Ok(Piece::Model(model)) => answer.answers(model),
                Ok(Piece::Usage(usage)) => answer.count(usage),
                Ok(Piece::ToolCall(call)) => asked.push(call),
                Ok(Piece::End(reason)) => ending = Some(Ending::Finished(reason)),
                Err(failure) => {
                    let cause = std::error::Error::source(&failure).map(ToString::to_string);
                    tracing::warn!(message.id = %run.reply.id, model = answer.model, %failure, cause, "the answer was not finished");
                    ending = Some(Ending::Failed(provider_fault(&failure)));
                }
            }
        }
        if self.show(run, answer, text).await? == Logged::NotOwned {
            return Ok(Some(Ending::NotOwned));
        }
        Ok(ending)
    }

    /// Logs a piece of text, then shows it.
    async fn show(&self, run: &Run, answer: &mut Answer, content: String) -> Result<Logged> {
        if content.is_empty() {
            return Ok(Logged::Written);
        }
        let index = answer.text.len() as u64;
        let logged = self.log().append(run.reply.id, index, &content).await?;
        if logged == Logged::Written {
            answer.text.push_str(&content);
            self.publish(run, Happening::Token { content, index }).await;
        }
        Ok(logged)
    }

    /// What finds an answer in the cache: the model and all that it is asked. `None` where nothing is cached.
    fn digest(&self, model: &str, prompt: &Prompt) -> Result<Option<Digest>> {
        if self.makers().cache.is_none() {
            return Ok(None);
        }
        serde_json::to_string(&(model, prompt)).map(|asked| Some(Digest::of(&asked))).map_err(Error::internal)
    }

    /// Gives the answer that the cache holds, unless another one is wanted.
    async fn give_again(&self, run: &Run, answer: &mut Answer, digest: Option<Digest>) -> Result<Option<Ending>> {
        let (Some(cache), Some(digest), false) = (&self.makers().cache, digest, run.is_another) else {
            return Ok(None);
        };
        let Some(text) = cache.get(&digest).await else { return Ok(None) };
        metrics::counter!("colloquy_response_cache_hits_total").increment(1);
        answer.is_cached = true;
        match self.show(run, answer, text.as_ref().to_owned()).await? {
            Logged::Written => Ok(Some(Ending::Finished(FinishReason::Stop))),
            Logged::NotOwned => Ok(Some(Ending::NotOwned)),
        }
    }

    /// Keeps an answer that its model ended by itself and without tools.
    async fn keep(&self, answer: &Answer, ending: &Ending, digest: Digest) {
        if let (Some(cache), Ending::Finished(FinishReason::Stop), true) =
            (&self.makers().cache, ending, answer.tool_calls.is_empty())
        {
            cache.put(digest, &answer.text).await;
        }
    }
}
