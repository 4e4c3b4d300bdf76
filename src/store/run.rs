//! Runs: their leases, their end. A message whose run lasts has a lease, and no other has. Every write of a run is conditional on its node still owning it.

use diesel::{prelude::*, upsert::excluded};
use diesel_async::RunQueryDsl;

use super::{
    Store,
    message::MessageRow,
    read,
    schema::{daily_usage, messages, run_chunks},
    transaction, write,
};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        conversation::Membership,
        ids::{ConversationId, MessageId, NodeId, UserId},
        message::{Message, MessageStatus, RunError},
        usage::Usage,
    },
};

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Complete, stopped, failed or interrupted.
    pub(crate) status: MessageStatus,
    /// The whole text.
    pub(crate) content: String,
    /// The model that answered: another than was asked for when a fallback stepped in.
    pub(crate) model: String,
    /// Why the model ended.
    pub(crate) finish_reason: Option<String>,
    /// What it cost.
    pub(crate) usage: Usage,
    /// Why it failed.
    pub(crate) error: Option<RunError>,
}

impl Store {
    /// Ends a run that this node owns; `None` when it does not own it any more, and nothing was written.
    pub(crate) async fn settle(
        &self,
        owner: NodeId,
        id: MessageId,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<Option<Message>> {
        transaction!(self, "settle_run", |connection| {
            let ended: Option<(MessageRow, Option<UserId>)> =
                diesel::update(messages::table.filter(messages::id.eq(id)))
                    .filter(messages::lease_owner.eq(owner))
                    .set((
                        messages::status.eq(outcome.status),
                        messages::content.eq(&outcome.content),
                        messages::model.eq(&outcome.model),
                        messages::finish_reason.eq(&outcome.finish_reason),
                        messages::input_tokens.eq(outcome.usage.input_tokens),
                        messages::output_tokens.eq(outcome.usage.output_tokens),
                        messages::error_code.eq(outcome.error.as_ref().map(|error| &error.code)),
                        messages::error_message.eq(outcome.error.as_ref().map(|error| &error.message)),
                        messages::error_retryable.eq(outcome.error.as_ref().map(|error| error.retryable)),
                        messages::lease_owner.eq(None::<NodeId>),
                        messages::lease_until.eq(None::<Timestamp>),
                        messages::updated_at.eq(now),
                    ))
                    .returning((MessageRow::as_returning(), messages::requested_by))
                    .get_result(connection)
                    .await
                    .optional()?;
            let Some((row, requested_by)) = ended else { return Ok(None) };
            diesel::delete(run_chunks::table.filter(run_chunks::message_id.eq(id))).execute(connection).await?;
            let message = Message::from(row);
            if let (Some(user), Some(model)) = (requested_by, &message.model) {
                diesel::insert_into(daily_usage::table)
                    .values((
                        daily_usage::user_id.eq(user),
                        daily_usage::day.eq(now.day()),
                        daily_usage::model.eq(model),
                        daily_usage::input_tokens.eq(outcome.usage.input_tokens),
                        daily_usage::output_tokens.eq(outcome.usage.output_tokens),
                        daily_usage::message_count.eq(1_i64),
                    ))
                    .on_conflict((daily_usage::user_id, daily_usage::day, daily_usage::model))
                    .do_update()
                    .set((
                        daily_usage::input_tokens.eq(daily_usage::input_tokens + excluded(daily_usage::input_tokens)),
                        daily_usage::output_tokens
                            .eq(daily_usage::output_tokens + excluded(daily_usage::output_tokens)),
                        daily_usage::message_count.eq(daily_usage::message_count + 1),
                    ))
                    .execute(connection)
                    .await?;
            }
            Ok(Some(message))
        })
    }

    /// Renews the leases of all runs of this node and returns those that somebody wants stopped.
    pub(crate) async fn renew_leases(&self, owner: NodeId, until: Timestamp) -> Result<Vec<MessageId>> {
        transaction!(self, "renew_leases", |connection| {
            diesel::update(messages::table.filter(messages::lease_owner.eq(owner)))
                .set(messages::lease_until.eq(until))
                .execute(connection)
                .await?;
            Ok(messages::table
                .filter(messages::lease_owner.eq(owner))
                .filter(messages::stop_requested)
                .select(messages::id)
                .load(connection)
                .await?)
        })
    }

    /// Ends the runs whose lease ran out before `now`, with the text that was logged, and returns them.
    pub(crate) async fn interrupt_expired(&self, now: Timestamp, error: &RunError) -> Result<Vec<Message>> {
        transaction!(self, "interrupt_expired", |connection| {
            // Taken before its pieces are read: a node that is late with a piece waits, and finds that the run is not its own.
            let expired: Vec<MessageId> = messages::table
                .filter(messages::lease_until.lt(now))
                .select(messages::id)
                .limit(100)
                .load(connection)
                .await?;
            let taken: Vec<MessageId> = diesel::update(messages::table.filter(messages::id.eq_any(expired)))
                .filter(messages::lease_until.lt(now))
                .set((messages::lease_owner.eq(None::<NodeId>), messages::lease_until.eq(None::<Timestamp>)))
                .returning(messages::id)
                .get_results(connection)
                .await?;
            let mut interrupted: Vec<Message> = Vec::with_capacity(taken.len());
            for id in taken {
                let chunks: Vec<String> = run_chunks::table
                    .filter(run_chunks::message_id.eq(id))
                    .order(run_chunks::offset)
                    .select(run_chunks::content)
                    .load(connection)
                    .await?;
                let row: MessageRow = diesel::update(messages::table.filter(messages::id.eq(id)))
                    .set((
                        messages::status.eq(MessageStatus::Interrupted),
                        messages::content.eq(chunks.concat()),
                        messages::error_code.eq(&error.code),
                        messages::error_message.eq(&error.message),
                        messages::error_retryable.eq(error.retryable),
                        messages::updated_at.eq(now),
                    ))
                    .returning(MessageRow::as_returning())
                    .get_result(connection)
                    .await?;
                diesel::delete(run_chunks::table.filter(run_chunks::message_id.eq(id))).execute(connection).await?;
                interrupted.push(row.into());
            }
            Ok(interrupted)
        })
    }

    /// Lets every lease run out: for a process that knows no other can be alive.
    pub(crate) async fn expire_leases(&self, at: Timestamp) -> Result<()> {
        write!(self, |connection| {
            diesel::update(messages::table.filter(messages::lease_until.is_not_null()))
                .set(messages::lease_until.eq(at))
                .execute(connection)
                .await?
        });
        Ok(())
    }

    /// Leaves word for the node that owns a run that it shall stop; nothing happens to a run that has ended.
    pub(crate) async fn request_stop(&self, membership: &Membership, id: MessageId) -> Result<()> {
        write!(self, |connection| {
            diesel::update(messages::table.filter(messages::id.eq(id)))
                .filter(messages::conversation_id.eq(membership.conversation_id))
                .filter(messages::lease_owner.is_not_null())
                .set(messages::stop_requested.eq(true))
                .execute(connection)
                .await?
        });
        Ok(())
    }

    /// The runs of a conversation that last.
    pub(crate) async fn running(&self, conversation: ConversationId) -> Result<Vec<MessageId>> {
        Ok(read!(self, |connection| {
            messages::table
                .filter(messages::conversation_id.eq(conversation))
                .filter(messages::lease_owner.is_not_null())
                .order(messages::seq)
                .select(messages::id)
                .load(connection)
                .await?
        }))
    }
}
