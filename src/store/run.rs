//! Runs: their leases, their end. A message whose run lasts has a lease, and no other has. Every write of a run is
//! conditional on its node still owning it.

use diesel::{define_sql_function, dsl::sum, prelude::*, sql_types::Text};
use diesel_async::RunQueryDsl;

use super::{
    Pools, Store,
    message::MessageRow,
    read,
    schema::{messages, run_chunks},
    steady::Steadily as _,
    tool_call::attach_tool_calls,
    transaction,
    types::sql,
    usage::add_usage,
    write,
};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        conversation::Membership,
        ids::{ConversationId, MessageId, NodeId, UserId},
        message::{Message, MessageStatus, RunError},
        tool::ToolCall,
        usage::Usage,
    },
};

define_sql_function! {
    /// The characters of a text.
    fn length(text: Text) -> Integer;
}

/// What the database's clock shows.
#[derive(Debug, QueryableByName)]
struct Time {
    #[diesel(sql_type = sql::Instant)]
    now: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Complete, stopped, failed or interrupted.
    pub(crate) status: MessageStatus,
    /// The whole text.
    pub(crate) content: String,
    /// The model that answered: another than was asked for when a fallback stepped in.
    pub(crate) model: String,
    /// Why the answer ended.
    pub(crate) finish_reason: Option<String>,
    /// What it cost; nothing is added to the day for a cached answer.
    pub(crate) usage: Usage,
    /// The tools that it called, as they were logged.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// Whether it came from the response cache.
    pub(crate) is_cached: bool,
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
                        messages::is_cached.eq(outcome.is_cached),
                        messages::error_code.eq(outcome.error.as_ref().map(|error| &error.code)),
                        messages::error_message.eq(outcome.error.as_ref().map(|error| &error.message)),
                        messages::error_retryable.eq(outcome.error.as_ref().map(|error| error.retryable)),
                        messages::lease_owner.eq(None::<NodeId>),
                        messages::lease_until.eq(None::<Timestamp>),
                        messages::updated_at.eq(now),
                    ))
                    .returning((MessageRow::as_returning(), messages::requested_by))
                    .steady()
                    .get_result(connection)
                    .await
                    .optional()?;
            let Some((row, requested_by)) = ended else { return Ok(None) };
            diesel::delete(run_chunks::table.filter(run_chunks::message_id.eq(id))).execute(connection).await?;
            let message = Message { tool_calls: outcome.tool_calls.clone(), ..Message::from(row) };
            if let (Some(user), Some(model), false) = (requested_by, &message.model, message.is_cached) {
                add_usage!(connection, user, model, outcome.usage, now);
            }
            Ok(Some(message))
        })
    }

    /// Renews the leases of these runs, as far as they are this node's, and returns those that somebody wants stopped.
    ///
    /// A run that the node holds no more, but owns by its row, is not among them: its lease runs out.
    pub(crate) async fn renew_leases(
        &self,
        owner: NodeId,
        runs: &[MessageId],
        until: Timestamp,
    ) -> Result<Vec<MessageId>> {
        let renewed: Vec<(MessageId, bool)> = write!(self, |connection| {
            diesel::update(messages::table.filter(messages::id.eq_any(runs)))
                .filter(messages::lease_owner.eq(owner))
                .set(messages::lease_until.eq(until))
                .returning((messages::id, messages::stop_requested))
                .get_results(connection)
                .await?
        });
        Ok(renewed.into_iter().filter(|(_, stop)| *stop).map(|(id, _)| id).collect())
    }

    /// The runs whose lease ran out before `now`; as many as can be ended in one go.
    pub(crate) async fn expired_runs(&self, now: Timestamp) -> Result<Vec<MessageId>> {
        Ok(read!(self, |connection| {
            messages::table
                .filter(messages::lease_until.lt(now))
                .order(messages::lease_until)
                .select(messages::id)
                .limit(100)
                .load(connection)
                .await?
        }))
    }

    /// Ends a run whose lease ran out before `now`, with the text that was logged; `None` when somebody was quicker. What
    /// it cost is for `estimate` to say, from the length of the path that leads to the answer, in characters, and the answer.
    pub(crate) async fn interrupt_expired(
        &self,
        id: MessageId,
        now: Timestamp,
        error: &RunError,
        estimate: impl Fn(i64, &Message) -> Usage + Send + Sync,
    ) -> Result<Option<Message>> {
        let estimate = &estimate;
        transaction!(self, "interrupt_expired", |connection| {
            // Taken before its pieces are read: a node that is late with a piece waits, and finds that the run is not its own.
            let taken: Option<(MessageRow, Option<UserId>)> =
                diesel::update(messages::table.filter(messages::id.eq(id)))
                    .filter(messages::lease_until.lt(now))
                    .set((messages::lease_owner.eq(None::<NodeId>), messages::lease_until.eq(None::<Timestamp>)))
                    .returning((MessageRow::as_returning(), messages::requested_by))
                    .get_result(connection)
                    .await
                    .optional()?;
            let Some((row, user)) = taken else { return Ok(None) };
            let mut ended = Some(Message::from(row));
            attach_tool_calls!(connection, ended);
            let Some(mut message) = ended else { return Ok(None) };
            let chunks: Vec<String> = run_chunks::table
                .filter(run_chunks::message_id.eq(id))
                .order(run_chunks::offset)
                .select(run_chunks::content)
                .load(connection)
                .await?;
            let path: Option<i64> = messages::table
                .filter(messages::conversation_id.eq(message.conversation_id))
                .filter(messages::on_path)
                .filter(messages::seq.lt(message.seq))
                .select(sum(length(messages::content)))
                .first(connection)
                .await?;
            message.content = chunks.concat();
            let usage = estimate(path.unwrap_or_default(), &message);
            message.status = MessageStatus::Interrupted;
            message.usage = Some(usage);
            message.error = Some(error.clone());
            message.updated_at = now;
            diesel::update(messages::table.filter(messages::id.eq(id)))
                .set((
                    messages::status.eq(message.status),
                    messages::content.eq(&message.content),
                    messages::input_tokens.eq(usage.input_tokens),
                    messages::output_tokens.eq(usage.output_tokens),
                    messages::error_code.eq(&error.code),
                    messages::error_message.eq(&error.message),
                    messages::error_retryable.eq(error.retryable),
                    messages::updated_at.eq(now),
                ))
                .steady()
                .execute(connection)
                .await?;
            diesel::delete(run_chunks::table.filter(run_chunks::message_id.eq(id))).execute(connection).await?;
            if let (Some(user), Some(model)) = (user, &message.model) {
                add_usage!(connection, user, model, usage, now);
            }
            Ok(Some(message))
        })
    }

    /// The time of the database's server, by which the leases of all nodes are counted; of a file, this machine's.
    pub(crate) async fn time(&self) -> Result<Timestamp> {
        let statement = match &self.pools {
            Pools::Sqlite { .. } => "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now",
            Pools::Postgres(_) => "SELECT clock_timestamp() AS now",
        };
        let time: Time = read!(self, |connection| diesel::sql_query(statement).get_result(connection).await?);
        Ok(time.now)
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
