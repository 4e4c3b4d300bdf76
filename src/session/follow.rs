//! Following one run, from any place of its answer to its end: what gRPC and SSE viewers of a single answer get.

use std::time::Duration;

use async_stream::try_stream;
use futures_util::Stream;
use tracing::Instrument as _;

use super::{
    lanes::Lane,
    mailbox::Letter,
    seat::Seat,
    splice::{Rest, catch_up, seen, splice, splice_tool},
};
use crate::{
    error::{Error, Result},
    lifecycle::Lifecycle,
    model::{
        conversation::Membership,
        cursor::Cursor,
        event::{Draft, Happening},
        ids::MessageId,
        message::{Message, MessageRole},
        topic::Topic,
    },
    service::{deliveries::Deliveries, runs::Runs},
};

/// How long nothing may come before the answer is read again: whoever had to tell its end may be gone.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How a viewer comes to an answer.
#[derive(Clone, Debug)]
pub enum Coming {
    /// It was appended, as it is here, after its topic was joined: all of it is still to come.
    Ahead(Box<Message>),
    /// It was asked for once more: `start` comes first, whatever has become of the run.
    Again,
    /// To go on from a place.
    Back,
}

/// Which answer to follow.
#[derive(Clone, Debug)]
pub struct Following {
    /// The viewer's right to see it.
    pub membership: Membership,
    /// The answer.
    pub message_id: MessageId,
    /// The place up to which the viewer has it.
    pub after: Cursor,
    /// How the viewer comes to it.
    pub coming: Coming,
}

/// A step of an answer: the place behind it, and the step.
pub type Step = (Cursor, Draft);

/// Follows a run to its end. The run goes on when the stream is dropped.
pub fn follow(
    mut seat: Seat,
    runs: Runs,
    deliveries: Deliveries,
    lifecycle: Lifecycle,
    following: Following,
) -> impl Stream<Item = Result<Step>> + Send {
    let Following { membership, message_id, after, coming } = following;
    let conversation_id = membership.conversation_id;
    let draft = move |happening| Draft::within(conversation_id, Some(message_id), happening);
    try_stream! {
        let topic = Topic::Conversation(conversation_id);
        if !seat.has_joined(&topic) {
            seat.join(&topic, None, 0).await;
        }
        let mut shown = after;
        let (is_again, mut is_ahead) = (matches!(coming, Coming::Again), false);
        let (mut is_first, mut seq) = (true, 0);
        if let Coming::Ahead(reply) = coming {
            seq = reply.seq;
            yield (Cursor::default(), draft(Happening::start_of(&reply)));
            (is_ahead, is_first) = (true, false);
        }
        // Each round reads the log, then lives on what is published; a gap, a full mailbox, the word that something was
        // missed and a long silence begin the next round.
        'rounds: loop {
            if !std::mem::take(&mut is_ahead) {
                let message = so_far(&lifecycle, &runs, membership, message_id).await?;
                seq = message.seq;
                if is_first && (is_again || after == Cursor::default() && message.status.is_running()) {
                    yield (Cursor::default(), draft(Happening::start_of(&message)));
                }
                if !message.status.is_running() {
                    if is_first {
                        shown = seen(shown, &message.tool_calls);
                        shown.bytes = message.content.len() as u64;
                        yield (shown, draft(Happening::Snapshot { content: message.content.clone() }));
                    }
                    for (place, happening) in catch_up(&mut shown, &message.content, &message.tool_calls) {
                        yield (place, draft(happening));
                    }
                    deliveries.note(conversation_id, membership.user_id, seq);
                    yield (shown, draft(Happening::end_of(&message)));
                    return;
                }
                if is_first {
                    check_cursor(&message.content, after)?;
                    shown = seen(shown, &message.tool_calls);
                }
                is_first = false;
                for (place, happening) in catch_up(&mut shown, &message.content, &message.tool_calls) {
                    yield (place, draft(happening));
                }
            }
            loop {
                let letter = tokio::select! {
                    letter = seat.next(Lane::Low) => Ok(letter),
                    () = tokio::time::sleep(LOOK_AGAIN) => continue 'rounds,
                    () = lifecycle.stopped().cancelled() => Err(shutting_down()),
                };
                let event = match letter? {
                    Letter::Event(event) if event.draft.message_id == Some(message_id) => event,
                    Letter::Event(_) | Letter::Status(_) | Letter::Role(_) | Letter::Closed => continue,
                    Letter::Barred(id) if id == conversation_id => Err(Error::NotFound("message"))?,
                    Letter::Barred(_) => continue,
                    Letter::SignedOut => Err(Error::Unauthenticated("the session has ended"))?,
                    Letter::Missed(topic) if *topic == Topic::Conversation(conversation_id) => continue 'rounds,
                    Letter::Missed(_) => continue,
                    Letter::Overflow => continue 'rounds,
                };
                match &event.draft.happening {
                    Happening::Token { content, index } => match splice(&mut shown, content, *index) {
                        Rest::Nothing => {}
                        Rest::Whole => yield (shown, event.draft.clone()),
                        Rest::Part(happening) => yield (shown, draft(happening)),
                        Rest::Gap => continue 'rounds,
                    },
                    Happening::End { content_length, .. } | Happening::Failed { content_length, .. } => {
                        // Pieces that were dropped on the way are in the settled message.
                        if *content_length > shown.bytes {
                            continue 'rounds;
                        }
                        deliveries.note(conversation_id, membership.user_id, seq);
                        yield (shown, event.draft.clone());
                        return;
                    }
                    Happening::ToolCall { number, index, .. } | Happening::ToolResult { number, index, .. } => {
                        match splice_tool(&mut shown, *number, *index) {
                            Rest::Whole => yield (shown, event.draft.clone()),
                            Rest::Gap => continue 'rounds,
                            Rest::Nothing | Rest::Part(_) => {}
                        }
                    }
                    Happening::Thinking { .. } => yield (shown, event.draft.clone()),
                    Happening::Start { .. }
                    | Happening::Snapshot { .. }
                    | Happening::Message(_)
                    | Happening::MessageUpdated(_)
                    | Happening::MessageDeleted
                    | Happening::Read { .. }
                    | Happening::Delivered { .. }
                    | Happening::Typing { .. }
                    | Happening::Joined { .. }
                    | Happening::Left { .. }
                    | Happening::Notification(_)
                    | Happening::Published(_) => {}
                }
            }
        }
    }
}

/// Reads the log on a task of its own: a viewer who goes away must not cut a query short.
pub(super) async fn so_far(
    lifecycle: &Lifecycle,
    runs: &Runs,
    membership: Membership,
    id: MessageId,
) -> Result<Message> {
    let runs = runs.clone();
    let read = lifecycle.spawn(async move { runs.so_far(&membership, id).await }.in_current_span());
    let message = read.await.map_err(Error::internal)??;
    if message.role != MessageRole::Assistant {
        return Err(Error::FailedPrecondition("only answers can be followed"));
    }
    Ok(message)
}

fn check_cursor(text: &str, after: Cursor) -> Result<()> {
    match usize::try_from(after.bytes) {
        Ok(at) if text.is_char_boundary(at) => Ok(()),
        Ok(at) if at < text.len() => Err(Error::invalid("after", "lies within a character of the answer")),
        _ => Err(Error::invalid("after", format!("the answer has only {} bytes so far", text.len()))),
    }
}

fn shutting_down() -> Error {
    Error::Unavailable { part: "server", source: anyhow::anyhow!("shutting down") }
}
