//! One run: from its turn in the conversation to the settled answer. Log before show, and no timer: what arrives while a
//! piece is being written goes into the next.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{
    answer::Answer,
    insist::insist,
    runs::{LOOK_AGAIN, Runs},
};
use crate::{
    error::Result,
    llm::{Failure, FinishReason},
    model::{
        conversation::Membership,
        event::{Draft, Happening},
        ids::ConversationId,
        message::{Message, MessageStatus, RunError},
        topic::Topic,
    },
    store::Outcome,
    trace,
};

/// When a run that waits for another node's looks again first; twice as late each time, and [`LOOK_AGAIN`] at most.
const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(50);

/// An answer to be made.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Who asked for it, and where.
    pub(super) membership: Membership,
    /// The answer, pending.
    pub(super) reply: Message,
    /// Whether it was asked for because there is one already.
    pub(super) is_another: bool,
}

/// Why a run ended.
#[derive(Debug)]
pub(super) enum Ending {
    Finished(FinishReason),
    /// The model wants more rounds of tools than a run has.
    OutOfRounds,
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
        let mut answer = Answer::of(run.reply.model.clone().unwrap_or_default());
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

    /// Waits until the runs before this one in its conversation have ended. The store is asked once those of this node have;
    /// while it knows of others they are another node's, and it is asked again.
    pub(super) async fn wait_for_turn(&self, run: &Run, stop: &CancellationToken) -> Result<Option<Ending>> {
        let (conversation, seq) = (run.reply.conversation_id, run.reply.seq);
        let is_busy = || self.store().is_busy_before(conversation, seq);
        let mut pause = LOOK_AGAIN_FIRST;
        loop {
            let ended = self.end_before(&run.reply);
            if ended.is_none() && !insist("turn", is_busy).await? {
                return Ok(None);
            }
            let next = async {
                match ended {
                    Some(ended) => ended.cancelled().await,
                    None => tokio::time::sleep(pause).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(Some(Ending::Stopped)),
                () = self.lifecycle().stopped().cancelled() => return Ok(Some(Ending::Interrupted)),
                () = next => pause = LOOK_AGAIN.min(pause * 2),
            }
        }
    }

    /// Writes the end of a run and tells its viewers.
    async fn settle(&self, run: &Run, answer: Answer, ending: Ending) {
        let id = run.reply.id;
        let (status, finish_reason, error) = match ending {
            Ending::Finished(reason) => (MessageStatus::Complete, Some(reason.as_str().to_owned()), None),
            Ending::OutOfRounds => (MessageStatus::Complete, Some("tool_rounds".to_owned()), None),
            Ending::Stopped => (MessageStatus::Stopped, Some("stopped".to_owned()), None),
            Ending::Failed(error) => (MessageStatus::Failed, None, Some(error)),
            Ending::Interrupted => (MessageStatus::Interrupted, None, Some(interrupted())),
            Ending::NotOwned => {
                tracing::warn!(message.id = %id, "the run was ended by another node");
                return;
            }
        };
        Span::current().record("run.status", status.as_str());
        if status == MessageStatus::Failed {
            trace::fail(&Span::current(), "the answer was not finished");
        }
        let usage = answer.usage();
        let Answer { text: content, model, tool_calls, is_cached, .. } = answer;
        let outcome = Outcome { status, content, model, finish_reason, usage, tool_calls, is_cached, error };
        match self.settle_in_store(id, &outcome).await {
            Ok(Some(message)) => self.tell_end(message).await,
            Ok(None) => self.tell_end_elsewhere(run, status).await,
            // The lease runs out, and whoever finds it then ends the run with what was logged.
            Err(error) => tracing::error!(message.id = %id, error = format!("{error:?}"), "cannot settle the run"),
        }
        metrics::counter!("colloquy_runs_ended_total", "status" => status.as_str()).increment(1);
    }

    /// A run that is not this node's any more was ended by another, which tells so; or by a try of this node's whose answer
    /// was lost, and then nobody has told it yet.
    async fn tell_end_elsewhere(&self, run: &Run, status: MessageStatus) {
        let id = run.reply.id;
        match self.store().message(&run.membership, id).await {
            Ok(Some(message)) if message.status == status => self.tell_end(message).await,
            Ok(_) => tracing::warn!(message.id = %id, "the run was ended by another node"),
            Err(error) => {
                tracing::error!(message.id = %id, error = format!("{error:?}"), "cannot tell how the run ended")
            }
        }
    }

    /// Tells the viewers that a run was ended for a node that is gone. It may have died between logging a piece and showing it,
    /// so the text comes whole.
    pub(super) async fn tell_interrupted(&self, message: Message) {
        let (conversation_id, message_id) = (message.conversation_id, Some(message.id));
        let happening = Happening::Snapshot { content: message.content.clone() };
        self.tell(conversation_id, Draft::within(conversation_id, message_id, happening)).await;
        self.tell_end(message).await;
    }

    /// Tells the viewers that a run has ended, and with what.
    pub(super) async fn tell_end(&self, message: Message) {
        let (conversation_id, message_id) = (message.conversation_id, Some(message.id));
        for happening in [Happening::end_of(&message), Happening::Message(Box::new(message))] {
            self.tell(conversation_id, Draft::within(conversation_id, message_id, happening)).await;
        }
    }

    /// Shows something of a run to its viewers.
    pub(super) async fn publish(&self, run: &Run, happening: Happening) {
        let conversation_id = run.reply.conversation_id;
        self.tell(conversation_id, Draft::within(conversation_id, Some(run.reply.id), happening)).await;
    }

    async fn tell(&self, conversation_id: ConversationId, draft: Draft) {
        self.bus().publish(Topic::Conversation(conversation_id), draft).await;
    }
}

/// What viewers are told of a run whose node is gone.
pub(super) fn interrupted() -> RunError {
    fault("INTERRUPTED", "the server that made the answer went away; the text so far is kept", true)
}

/// What viewers are told of a provider that failed.
pub(super) fn provider_fault(failure: &Failure) -> RunError {
    let code = match failure {
        Failure::UnknownModel(_) => "NOT_FOUND",
        Failure::Rejected(_) | Failure::Denied(_) => "PROVIDER_REJECTED",
        Failure::Unavailable { .. } => "PROVIDER_UNAVAILABLE",
        Failure::Timeout(_) => "PROVIDER_TIMEOUT",
        Failure::Protocol(_) => "PROVIDER_PROTOCOL",
    };
    fault(code, &failure.to_string(), failure.retryable())
}

fn fault(code: &str, message: &str, retryable: bool) -> RunError {
    RunError { code: code.to_owned(), message: message.to_owned(), retryable }
}
