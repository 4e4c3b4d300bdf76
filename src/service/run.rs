//! One run: from the prompt to the settled answer. Log before show, and no timer: what arrives while a piece is being
//! written goes into the next.

use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{prompt, run_log::Logged, runs::Runs};
use crate::{
    error::{Error, Result},
    llm::{Failure, FinishReason, Piece},
    model::{
        conversation::Membership,
        event::{Draft, Happening},
        ids::ConversationId,
        message::{Message, MessageStatus, RunError},
        topic::Topic,
        usage::Usage,
    },
    store::Outcome,
};

/// Pieces that are taken from the provider at once, at most.
const BATCH: usize = 64;

/// An answer to be made.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Who asked for it, and where.
    pub(super) membership: Membership,
    /// The answer, pending.
    pub(super) reply: Message,
}

/// What a run has so far.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    model: String,
    usage: Option<Usage>,
    prompt_tokens: usize,
}

/// Why a run ended.
#[derive(Debug)]
enum Ending {
    Finished(FinishReason),
    Stopped,
    Failed(RunError),
    /// The process ends.
    Interrupted,
    /// Another node has taken the run and ended it.
    NotOwned,
}

impl Runs {
    /// Makes an answer to its end.
    pub(super) async fn make(&self, run: Run, stop: CancellationToken) {
        let mut answer = Answer { model: run.reply.model.clone().unwrap_or_default(), ..Answer::default() };
        let ending = match self.write(&run, &stop, &mut answer).await {
            Ok(ending) => ending,
            Err(_) if self.lifecycle().stopped().is_cancelled() => Ending::Interrupted,
            Err(error) => {
                tracing::error!(message.id = %run.reply.id, error = format!("{error:?}"), "run failed");
                Ending::Failed(fault("PROCESSING_ERROR", "the server failed to make the answer", true))
            }
        };
        self.settle(&run, answer, ending).await;
    }

    async fn write(&self, run: &Run, stop: &CancellationToken, answer: &mut Answer) -> Result<Ending> {
        if let Some(ending) = self.wait_for_turn(run, stop).await? {
            return Ok(ending);
        }
        let question = run.reply.parent_id.ok_or_else(|| Error::internal(anyhow::anyhow!("an answer to nothing")))?;
        let limits = self.limits();
        let (prompt, cost) =
            prompt::build(self.store(), &run.membership, question, limits.context_tokens, limits.output_tokens).await?;
        answer.prompt_tokens = cost;
        // Dropping the stream, on every way out of here, closes the provider's connection.
        let mut pieces = self.models().stream(&answer.model, prompt).ready_chunks(BATCH);
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ending::Stopped),
                () = self.lifecycle().stopped().cancelled() => return Ok(Ending::Interrupted),
                batch = pieces.next() => batch,
            };
            let batch = batch.ok_or_else(|| Error::internal(anyhow::anyhow!("the stream of pieces has no end")))?;
            if let Some(ending) = self.take(run, answer, batch).await? {
                return Ok(ending);
            }
        }
    }

    /// Waits until the runs before this one in its conversation have ended.
    async fn wait_for_turn(&self, run: &Run, stop: &CancellationToken) -> Result<Option<Ending>> {
        loop {
            let ended = self.next_end();
            if !self.store().is_busy_before(run.reply.conversation_id, run.reply.seq).await? {
                return Ok(None);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(Some(Ending::Stopped)),
                () = self.lifecycle().stopped().cancelled() => return Ok(Some(Ending::Interrupted)),
                () = ended => {}
            }
        }
    }

    /// Logs and shows what arrived together; returns the ending when it was among it.
    async fn take(&self, run: &Run, answer: &mut Answer, batch: Vec<Result<Piece, Failure>>) -> Result<Option<Ending>> {
        let mut text = String::new();
        let mut ending = None;
        for piece in batch {
            match piece {
                Ok(Piece::Text(piece)) => text.push_str(&piece),
                Ok(Piece::Thinking(content)) => {
                    if self.show(run, answer, std::mem::take(&mut text)).await? == Logged::NotOwned {
                        return Ok(Some(Ending::NotOwned));
                    }
                    self.publish(run, Happening::Thinking { content }).await;
                }
                Ok(Piece::Model(model)) => answer.model = model,
                Ok(Piece::Usage(usage)) => answer.usage = Some(usage_of(usage)),
                // No tools are offered, so none can be run: a model that calls one all the same is heard out.
                Ok(Piece::ToolCall(_)) => {}
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

    /// Writes the end of a run and tells its viewers.
    async fn settle(&self, run: &Run, answer: Answer, ending: Ending) {
        let id = run.reply.id;
        let (status, finish_reason, error) = match ending {
            Ending::Finished(reason) => (MessageStatus::Complete, Some(reason.as_str().to_owned()), None),
            Ending::Stopped => (MessageStatus::Stopped, Some("stopped".to_owned()), None),
            Ending::Failed(error) => (MessageStatus::Failed, None, Some(error)),
            Ending::Interrupted => (MessageStatus::Interrupted, None, Some(interrupted())),
            Ending::NotOwned => {
                tracing::warn!(message.id = %id, "the run was ended by another node");
                return;
            }
        };
        // A provider that says zero did not count.
        let counted = |said: i64, estimate: usize| if said > 0 { said } else { estimate as i64 };
        let said = answer.usage.unwrap_or_default();
        let usage = Usage {
            input_tokens: counted(said.input_tokens, answer.prompt_tokens),
            output_tokens: counted(said.output_tokens, prompt::estimate_tokens(&answer.text)),
        };
        let outcome = Outcome { status, content: answer.text, model: answer.model, finish_reason, usage, error };
        match self.settle_in_store(id, &outcome).await {
            Ok(Some(message)) => self.tell_end(message).await,
            Ok(None) => tracing::warn!(message.id = %id, "the run was ended by another node"),
            // The lease runs out, and whoever finds it then ends the run with what was logged.
            Err(error) => tracing::error!(message.id = %id, error = format!("{error:?}"), "cannot settle the run"),
        }
        metrics::counter!("colloquy_runs_ended_total", "status" => status.as_str()).increment(1);
    }

    /// Tells the viewers that a run has ended, and with what.
    pub(super) async fn tell_end(&self, message: Message) {
        let (conversation_id, message_id) = (message.conversation_id, Some(message.id));
        for happening in [Happening::end_of(&message), Happening::Message(Box::new(message))] {
            self.tell(conversation_id, Draft { conversation_id, message_id, happening }).await;
        }
    }

    async fn publish(&self, run: &Run, happening: Happening) {
        let conversation_id = run.reply.conversation_id;
        self.tell(conversation_id, Draft { conversation_id, message_id: Some(run.reply.id), happening }).await;
    }

    async fn tell(&self, conversation_id: ConversationId, draft: Draft) {
        self.bus().publish(Topic::Conversation(conversation_id), draft).await;
    }
}

/// What viewers are told of a run whose node is gone.
pub(super) fn interrupted() -> RunError {
    fault("INTERRUPTED", "the server that made the answer went away; the text so far is kept", true)
}

fn fault(code: &str, message: &str, retryable: bool) -> RunError {
    RunError { code: code.to_owned(), message: message.to_owned(), retryable }
}

fn provider_fault(failure: &Failure) -> RunError {
    let code = match failure {
        Failure::UnknownModel(_) => "NOT_FOUND",
        Failure::Rejected(_) => "PROVIDER_REJECTED",
        Failure::Unavailable { .. } => "PROVIDER_UNAVAILABLE",
        Failure::Timeout(_) => "PROVIDER_TIMEOUT",
        Failure::Protocol(_) => "PROVIDER_PROTOCOL",
    };
    fault(code, &failure.to_string(), failure.retryable())
}

fn usage_of(usage: crate::llm::Usage) -> Usage {
    let count = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
    Usage { input_tokens: count(usage.input_tokens), output_tokens: count(usage.output_tokens) }
}
