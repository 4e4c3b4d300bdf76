//! The tools that answers called: logged before they are shown, kept with the answer.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    schema::{messages, tool_calls},
    transaction,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        ids::{MessageId, NodeId},
        message::{Message, MessageRole, MessageStatus},
        tool::{ToolCall, ToolResult},
    },
};

/// A row: a call and, once it is there, its result.
#[derive(Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = tool_calls)]
pub(super) struct ToolCallRow {
    message_id: MessageId,
    number: i64,
    offset: i64,
    call_id: String,
    name: String,
    arguments: String,
    result_number: Option<i64>,
    content: Option<String>,
    is_error: Option<bool>,
    duration_ms: Option<i64>,
}

/// Fills in the tools that each of some messages called.
macro_rules! attach_tool_calls {
    ($connection:ident, $messages:expr) => {{
        let messages: &mut [$crate::model::message::Message] = $messages.as_mut_slice();
        let answers = $crate::store::tool_call::answers(messages);
        if !answers.is_empty() {
            let rows: Vec<$crate::store::tool_call::ToolCallRow> = $crate::store::schema::tool_calls::table
                .filter($crate::store::schema::tool_calls::message_id.eq_any(answers))
                .order(($crate::store::schema::tool_calls::message_id, $crate::store::schema::tool_calls::number))
                .select($crate::store::tool_call::ToolCallRow::as_select())
                .load($connection)
                .await?;
            $crate::store::tool_call::set_tool_calls(messages, rows)?;
        }
    }};
}

pub(super) use attach_tool_calls;

/// The messages that may have called tools.
pub(super) fn answers(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().filter(|message| message.role == MessageRole::Assistant).map(|message| message.id).collect()
}

/// Puts calls, in their order, into the answers that made them.
pub(super) fn set_tool_calls(messages: &mut [Message], rows: Vec<ToolCallRow>) -> Result<()> {
    let mut calls: HashMap<MessageId, Vec<ToolCall>> = HashMap::new();
    for row in rows {
        calls.entry(row.message_id).or_default().push(row.try_into()?);
    }
    for message in messages {
        message.tool_calls = calls.remove(&message.id).unwrap_or_default();
    }
    Ok(())
}

impl Store {
    /// Logs the calls of a round; false when this node no longer owns the run, and nothing was written.
    pub(crate) async fn log_tool_calls(
        &self,
        owner: NodeId,
        id: MessageId,
        calls: &[ToolCall],
        now: Timestamp,
    ) -> Result<bool> {
        let rows: Vec<ToolCallRow> = calls.iter().map(|call| ToolCallRow::new(id, call)).collect::<Result<_>>()?;
        transaction!(self, "log_tool_calls", |connection| {
            // An answer may begin with a tool: it is under way from then on.
            let owned = diesel::update(messages::table.filter(messages::id.eq(id)))
                .filter(messages::lease_owner.eq(owner))
                .set((messages::status.eq(MessageStatus::Streaming), messages::updated_at.eq(now)))
                .execute(connection)
                .await?;
            if owned == 0 {
                return Ok(false);
            }
            // One by one: there are few, and databases differ in what they take together. One that is there was written by
            // a try before, whose answer was lost.
            for row in &rows {
                let insert = diesel::insert_into(tool_calls::table).values(row).on_conflict_do_nothing();
                insert.execute(connection).await?;
            }
            Ok(true)
        })
    }

    /// Logs what came of a call; false when this node no longer owns the run, and nothing was written.
    pub(crate) async fn log_tool_result(
        &self,
        owner: NodeId,
        id: MessageId,
        call: u64,
        result: &ToolResult,
    ) -> Result<bool> {
        let (call, number) = (stored(call)?, stored(result.number)?);
        transaction!(self, "log_tool_result", |connection| {
            // Changed to what it is, so that a node that takes the run waits.
            let owned = diesel::update(messages::table.filter(messages::id.eq(id)))
                .filter(messages::lease_owner.eq(owner))
                .set(messages::lease_owner.eq(owner))
                .execute(connection)
                .await?;
            if owned == 0 {
                return Ok(false);
            }
            diesel::update(tool_calls::table.find((id, call)))
                .set((
                    tool_calls::result_number.eq(number),
                    tool_calls::content.eq(&result.content),
                    tool_calls::is_error.eq(result.is_error),
                    tool_calls::duration_ms.eq(result.duration_ms),
                ))
                .execute(connection)
                .await?;
            Ok(true)
        })
    }
}

impl ToolCallRow {
    fn new(message_id: MessageId, call: &ToolCall) -> Result<Self> {
        Ok(Self {
            message_id,
            number: stored(call.number)?,
            offset: stored(call.index)?,
            call_id: call.id.clone(),
            name: call.name.clone(),
            arguments: serde_json::to_string(&call.arguments).map_err(Error::internal)?,
            result_number: None,
            content: None,
            is_error: None,
            duration_ms: None,
        })
    }
}

impl TryFrom<ToolCallRow> for ToolCall {
    type Error = Error;

    fn try_from(row: ToolCallRow) -> Result<Self> {
        let result = match (row.result_number, row.content, row.is_error, row.duration_ms) {
            (Some(number), Some(content), Some(is_error), Some(duration_ms)) => {
                Some(ToolResult { number: counted(number)?, content, is_error, duration_ms })
            }
            _ => None,
        };
        Ok(Self {
            number: counted(row.number)?,
            index: counted(row.offset)?,
            id: row.call_id,
            name: row.name,
            arguments: serde_json::from_str(&row.arguments).map_err(Error::internal)?,
            result,
        })
    }
}

fn stored(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(Error::internal)
}

fn counted(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(Error::internal)
}
