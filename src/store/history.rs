//! Histories: messages as people see them, with their versions and, while a run lasts, the text so far.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    conversation::claim,
    message::{MessageRow, find_message},
    read,
    schema::{members, messages, run_chunks, tool_calls, users},
    snapshot,
    tool_call::attach_tool_calls,
    transaction,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        conversation::{MemberRole, Membership},
        history::{History, HistoryRequest, Window},
        ids::{ConversationId, MessageId, UserId},
        message::{Message, MessageRole},
    },
};

/// A version of a message: its seq, what it is a version of, and itself.
pub(super) type Version = (i64, ConversationId, Option<MessageId>, MessageRole, MessageId);

/// A piece of a run's text.
pub(super) type Piece = (MessageId, String);

/// Fills in what a message's own row does not hold, with a query each for the versions, the tools that answers called and,
/// when runs last, their text. To be used within `snapshot!`: a run that ends in between would seem to have no text.
macro_rules! fill_in {
    ($connection:ident, $messages:expr) => {{
        let mut messages: Vec<Message> = $messages;
        let conversations: Vec<ConversationId> = messages.iter().map(|message| message.conversation_id).collect();
        let parents: Vec<MessageId> = messages.iter().filter_map(|message| message.parent_id).collect();
        let columns = (messages::seq, messages::conversation_id, messages::parent_id, messages::role, messages::id);
        let replies = messages::table.filter(messages::parent_id.eq_any(parents)).select(columns);
        let roots = messages::table
            .filter(messages::conversation_id.eq_any(conversations))
            .filter(messages::parent_id.is_null())
            .select(columns);
        // Two searches by index in one statement: as one condition they would read whole conversations.
        let versions: Vec<Version> = replies.union_all(roots).load($connection).await?;
        let running: Vec<MessageId> =
            messages.iter().filter(|message| message.status.is_running()).map(|message| message.id).collect();
        let pieces: Vec<Piece> = if running.is_empty() {
            Vec::new()
        } else {
            run_chunks::table
                .filter(run_chunks::message_id.eq_any(running))
                .order((run_chunks::message_id, run_chunks::offset))
                .select((run_chunks::message_id, run_chunks::content))
                .load($connection)
                .await?
        };
        attach_tool_calls!($connection, messages);
        set_siblings(&mut messages, versions);
        set_text_so_far(&mut messages, pieces);
        messages
    }};
}

pub(super) use fill_in;

impl Store {
    /// A page of the conversation's history.
    pub(crate) async fn history(&self, membership: &Membership, request: &HistoryRequest) -> Result<History> {
        let messages = snapshot!(self, |connection| {
            let mut query = messages::table
                .filter(messages::conversation_id.eq(membership.conversation_id))
                .limit(i64::from(request.size) + 1)
                .select(MessageRow::as_select())
                .into_boxed();
            if !request.include_siblings {
                query = query.filter(messages::on_path);
            }
            query = match request.window {
                Window::Latest => query.order(messages::seq.desc()),
                Window::Before(seq) => query.filter(messages::seq.lt(seq)).order(messages::seq.desc()),
                Window::After(seq) => query.filter(messages::seq.gt(seq)).order(messages::seq.asc()),
            };
            let rows: Vec<MessageRow> = query.load(connection).await?;
            Ok(fill_in!(connection, rows.into_iter().map(Into::into).collect()))
        })?;
        Ok(History::cut(messages, request))
    }

    /// Messages of the user's conversations as histories show them, in the order of `ids`; those that are gone or
    /// deleted are left out.
    pub(super) async fn messages_in_order(&self, user: UserId, ids: &[MessageId]) -> Result<Vec<Message>> {
        let found = snapshot!(self, |connection| {
            let rows: Vec<MessageRow> = messages::table
                .inner_join(members::table.on(members::conversation_id.eq(messages::conversation_id)))
                .filter(members::user_id.eq(user))
                .filter(messages::id.eq_any(ids))
                .filter(messages::is_deleted.eq(false))
                .select(MessageRow::as_select())
                .load(connection)
                .await?;
            Ok(fill_in!(connection, rows.into_iter().map(Into::into).collect()))
        })?;
        let mut found: HashMap<MessageId, Message> = found.into_iter().map(|message| (message.id, message)).collect();
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// One message of the conversation as its history shows it, on the chosen path or off it.
    pub(crate) async fn history_message(&self, membership: &Membership, id: MessageId) -> Result<Option<Message>> {
        let found = snapshot!(self, |connection| {
            let found = find_message!(connection, membership, id);
            Ok(fill_in!(connection, found.into_iter().collect()))
        })?;
        Ok(found.into_iter().next())
    }

    /// Empties a message, of what its tools returned too, and marks it deleted; for members who may do what `least` may.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] while its run lasts, [`Error::NotFound`] when the conversation is gone,
    /// [`Error::PermissionDenied`] for members who may do less.
    pub(crate) async fn delete_message(
        &self,
        membership: &Membership,
        least: MemberRole,
        id: MessageId,
        now: Timestamp,
    ) -> Result<()> {
        let conversation = membership.conversation_id;
        transaction!(self, "delete_message", |connection| {
            claim!(connection, membership, least, now);
            let emptied = diesel::update(messages::table.filter(messages::id.eq(id)))
                .filter(messages::conversation_id.eq(conversation))
                .filter(messages::lease_owner.is_null())
                .set((messages::content.eq(""), messages::is_deleted.eq(true), messages::updated_at.eq(now)))
                .execute(connection)
                .await?;
            if emptied == 0 {
                return Err(Error::FailedPrecondition("a message cannot be deleted while its run lasts"));
            }
            diesel::delete(tool_calls::table.filter(tool_calls::message_id.eq(id))).execute(connection).await?;
            Ok(())
        })
    }

    /// The names of all who wrote in the conversation, members still or not.
    pub(crate) async fn authors(&self, membership: &Membership) -> Result<HashMap<UserId, String>> {
        let names: Vec<(UserId, String)> = read!(self, |connection| {
            messages::table
                .inner_join(users::table.on(messages::author_id.eq(users::id.nullable())))
                .filter(messages::conversation_id.eq(membership.conversation_id))
                .select((users::id, users::username))
                .distinct()
                .load(connection)
                .await?
        });
        Ok(names.into_iter().collect())
    }
}

/// Names the versions of each message, oldest first, where there is more than one. Versions of a message answer the same
/// message and have the same role.
pub(super) fn set_siblings(messages: &mut [Message], mut versions: Vec<Version>) {
    versions.sort_unstable_by_key(|(seq, ..)| *seq);
    let mut groups: HashMap<_, Vec<MessageId>> = HashMap::new();
    for (_, conversation, parent, role, id) in versions {
        groups.entry((conversation, parent, role)).or_default().push(id);
    }
    for message in messages {
        let group = groups.get(&(message.conversation_id, message.parent_id, message.role));
        message.sibling_ids = group.filter(|ids| ids.len() > 1).cloned().unwrap_or_default();
    }
}

/// Puts the text so far into the messages whose run lasts; `pieces` are in the order of their run.
pub(super) fn set_text_so_far(messages: &mut [Message], pieces: Vec<Piece>) {
    let mut texts: HashMap<MessageId, String> = HashMap::new();
    for (id, piece) in pieces {
        texts.entry(id).or_default().push_str(&piece);
    }
    for message in messages {
        if let Some(text) = texts.remove(&message.id) {
            message.content = text;
        }
    }
}
