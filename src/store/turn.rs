//! Turns: a person's message and its answer, appended together.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    message::MessageRow,
    path::lead_to,
    schema::{conversations, messages},
    steady::Steadily as _,
    tool_call::attach_tool_calls,
    transaction,
    usage::hold_to_quota,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        conversation::{Membership, OnBusy},
        ids::{ConversationId, MessageId, NodeId, UserId},
        message::{Message, MessageRole, MessageStatus},
        usage::DailyQuota,
    },
};

/// Answers of one conversation that may be under way and wait for each other.
const MAX_QUEUED: usize = 20;

/// Where a turn is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// After the end of the chosen path.
    End,
    /// Beside this message, which leaves the chosen path with all that follows it.
    Beside(MessageId),
}

/// What to append: a message of a person's, its answer to be made, or both.
#[derive(Clone, Debug)]
pub(crate) struct NewTurn {
    /// Where.
    pub(crate) place: Place,
    /// The person's words; `None` for another answer to words that are there.
    pub(crate) content: Option<String>,
    /// The sender's own id, by which a retry is known.
    pub(crate) client_message_id: Option<String>,
    /// The answer to be made.
    pub(crate) reply: Option<NewReply>,
    /// When.
    pub(crate) now: Timestamp,
}

/// An answer to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewReply {
    /// The model that was asked for; `None`: the conversation's, or `default_model`.
    pub(crate) model: Option<String>,
    /// The server's default.
    pub(crate) default_model: String,
    /// What its sender has for the day.
    pub(crate) quota: Option<DailyQuota>,
    /// The node that will make it.
    pub(crate) lease_owner: NodeId,
    /// Until when no other node may end it.
    pub(crate) lease_until: Timestamp,
}

/// What was appended.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The person's message; absent for another answer.
    pub(crate) message: Option<Message>,
    /// The answer, pending.
    pub(crate) reply: Option<Message>,
    /// Runs that the conversation's `on_busy` wants stopped: word of it is left for their nodes.
    pub(crate) replaced: Vec<MessageId>,
    /// Whether this was appended before, and now only found again.
    pub(crate) is_repeat: bool,
}

/// A row to insert.
#[derive(Debug, Insertable)]
#[diesel(table_name = messages)]
struct NewMessage {
    id: MessageId,
    conversation_id: ConversationId,
    seq: i64,
    parent_id: Option<MessageId>,
    on_path: bool,
    role: MessageRole,
    author_id: Option<UserId>,
    content: String,
    status: MessageStatus,
    model: Option<String>,
    client_message_id: Option<String>,
    is_deleted: bool,
    requested_by: Option<UserId>,
    lease_owner: Option<NodeId>,
    lease_until: Option<Timestamp>,
    stop_requested: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// The conversation's columns that decide about a turn.
type Head = (i64, Option<MessageId>, Option<String>, OnBusy);

/// Inserts a message, within a transaction.
macro_rules! insert {
    ($connection:ident, $new:expr) => {{
        let row: MessageRow = diesel::insert_into(messages::table)
            .values(&$new)
            .returning(MessageRow::as_returning())
            .steady()
            .get_result($connection)
            .await?;
        row
    }};
}

impl Store {
    /// Appends a turn whole or not at all; a repeat returns what was appended first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the conversation or the message beside which to put it is gone,
    /// [`Error::QuotaExceeded`] when an answer is wanted and the author has used up the day's tokens,
    /// [`Error::ConversationBusy`] when a run lasts and `on_busy` says reject, or too many wait.
    pub(crate) async fn append_turn(&self, membership: &Membership, turn: &NewTurn) -> Result<Turn> {
        let conversation = membership.conversation_id;
        let author = membership.user_id;
        transaction!(self, "append_turn", |connection| {
            // Comes first: of two turns at once, the second waits and finds all that the first has done.
            let head: Option<Head> = diesel::update(conversations::table.find(conversation))
                .set(conversations::last_seq.eq(conversations::last_seq))
                .returning((
                    conversations::last_seq,
                    conversations::head_message_id,
                    conversations::model,
                    conversations::on_busy,
                ))
                .steady()
                .get_result(connection)
                .await
                .optional()?;
            let (mut seq, end, model, on_busy) = head.ok_or(Error::NotFound("conversation"))?;

            if let Some(client_message_id) = &turn.client_message_id {
                let found: Option<MessageRow> = messages::table
                    .filter(messages::conversation_id.eq(conversation))
                    .filter(messages::author_id.eq(author))
                    .filter(messages::client_message_id.eq(client_message_id))
                    .select(MessageRow::as_select())
                    .first(connection)
                    .await
                    .optional()?;
                if let Some(found) = found {
                    let reply: Option<MessageRow> = messages::table
                        .filter(messages::parent_id.eq(found.id))
                        .filter(messages::role.eq(MessageRole::Assistant))
                        .order(messages::seq)
                        .select(MessageRow::as_select())
                        .first(connection)
                        .await
                        .optional()?;
                    let mut reply = reply.map(Message::from);
                    attach_tool_calls!(connection, reply);
                    return Ok(Turn { message: Some(found.into()), reply, replaced: Vec::new(), is_repeat: true });
                }
            }

            let mut replaced: Vec<MessageId> = Vec::new();
            if let Some(reply) = &turn.reply {
                hold_to_quota!(connection, author, reply.quota, turn.now);
                let running: Vec<MessageId> = messages::table
                    .filter(messages::conversation_id.eq(conversation))
                    .filter(messages::lease_owner.is_not_null())
                    .select(messages::id)
                    .load(connection)
                    .await?;
                match on_busy {
                    OnBusy::Reject if !running.is_empty() => return Err(Error::ConversationBusy),
                    OnBusy::Queue if running.len() >= MAX_QUEUED => return Err(Error::ConversationBusy),
                    OnBusy::Replace if !running.is_empty() => {
                        diesel::update(messages::table.filter(messages::id.eq_any(&running)))
                            .set(messages::stop_requested.eq(true))
                            .execute(connection)
                            .await?;
                        replaced = running;
                    }
                    OnBusy::Queue | OnBusy::Replace | OnBusy::Reject => {}
                }
            }

            let mut parent_id = end;
            if let Place::Beside(sibling) = turn.place {
                let found: Option<Option<MessageId>> = messages::table
                    .filter(messages::id.eq(sibling))
                    .filter(messages::conversation_id.eq(conversation))
                    .select(messages::parent_id)
                    .first(connection)
                    .await
                    .optional()?;
                parent_id = found.ok_or(Error::NotFound("message"))?;
                lead_to!(connection, conversation, parent_id);
            }

            let mut message: Option<Message> = None;
            if let Some(content) = &turn.content {
                seq += 1;
                let new = NewMessage::of_person(membership, seq, parent_id, content, turn);
                let row = insert!(connection, new);
                parent_id = Some(row.id);
                message = Some(row.into());
            }

            let mut reply: Option<Message> = None;
            if let Some(new) = &turn.reply {
                seq += 1;
                let model = new.model.clone().or(model).unwrap_or_else(|| new.default_model.clone());
                let row = insert!(connection, NewMessage::answer(membership, seq, parent_id, model, new, turn.now));
                parent_id = Some(row.id);
                reply = Some(row.into());
            }

            diesel::update(conversations::table.find(conversation))
                .set((
                    conversations::last_seq.eq(seq),
                    conversations::head_message_id.eq(parent_id),
                    conversations::updated_at.eq(turn.now),
                ))
                .steady()
                .execute(connection)
                .await?;
            Ok(Turn { message, reply, replaced, is_repeat: false })
        })
    }
}

impl NewMessage {
    /// A message at the end of a conversation's log, without words.
    fn at(membership: &Membership, seq: i64, parent_id: Option<MessageId>, role: MessageRole, now: Timestamp) -> Self {
        Self {
            id: MessageId::generate(),
            conversation_id: membership.conversation_id,
            seq,
            parent_id,
            on_path: true,
            role,
            author_id: None,
            content: String::new(),
            status: MessageStatus::Complete,
            model: None,
            client_message_id: None,
            is_deleted: false,
            requested_by: None,
            lease_owner: None,
            lease_until: None,
            stop_requested: false,
            created_at: now,
            updated_at: now,
        }
    }

    /// A person's message, whole from the start.
    fn of_person(
        membership: &Membership,
        seq: i64,
        parent_id: Option<MessageId>,
        content: &str,
        turn: &NewTurn,
    ) -> Self {
        Self {
            author_id: Some(membership.user_id),
            content: content.to_owned(),
            client_message_id: turn.client_message_id.clone(),
            ..Self::at(membership, seq, parent_id, MessageRole::User, turn.now)
        }
    }

    /// An answer to be made, with its lease.
    fn answer(
        membership: &Membership,
        seq: i64,
        parent_id: Option<MessageId>,
        model: String,
        new: &NewReply,
        now: Timestamp,
    ) -> Self {
        Self {
            status: MessageStatus::Pending,
            model: Some(model),
            requested_by: Some(membership.user_id),
            lease_owner: Some(new.lease_owner),
            lease_until: Some(new.lease_until),
            ..Self::at(membership, seq, parent_id, MessageRole::Assistant, now)
        }
    }
}
