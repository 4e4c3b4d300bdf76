//! Deliveries: up to where the messages of conversations have reached their members, and what still waits for them.

use std::collections::{HashMap, HashSet};

use diesel::{dsl::count_star, prelude::*, sql_types::BigInt};
use diesel_async::RunQueryDsl;

use super::{
    Store,
    history::{Piece, Version, fill_in, set_siblings, set_text_so_far},
    message::MessageRow,
    read,
    schema::{conversations, members, messages, run_chunks},
    snapshot,
    tool_call::attach_tool_calls,
    transaction,
    types::sql,
};
use crate::{
    error::Result,
    model::{
        conversation::Membership,
        ids::{ConversationId, MessageId, UserId},
        message::Message,
    },
};

/// That messages of a conversation have reached a member: those from one `seq` to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The conversation.
    pub(crate) conversation_id: ConversationId,
    /// The member.
    pub(crate) user_id: UserId,
    /// The first.
    pub(crate) first: i64,
    /// The last.
    pub(crate) last: i64,
}

/// A marker that has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryableByName)]
pub(crate) struct Delivered {
    /// The conversation.
    #[diesel(sql_type = sql::Id)]
    pub(crate) conversation_id: ConversationId,
    /// The member.
    #[diesel(sql_type = sql::Id)]
    pub(crate) user_id: UserId,
    /// Up to where all messages have reached the member.
    #[diesel(sql_type = BigInt)]
    #[diesel(column_name = delivered_seq)]
    pub(crate) seq: i64,
}

/// The markers that receipts concern.
#[derive(Clone, Debug, Default)]
pub(crate) struct Markers {
    /// Those that moved by them.
    pub(crate) moved: Vec<Delivered>,
    /// All of them, where they stand now.
    pub(crate) all: Vec<Delivered>,
}

impl Store {
    /// Moves markers forward, never back, each to right before the first message that the member does not have. Nobody waits
    /// for messages of their own, deleted ones, or those off the chosen path; an answer is waited for until its run has ended.
    pub(crate) async fn deliver(&self, receipts: &[Receipt]) -> Result<Markers> {
        if receipts.is_empty() {
            return Ok(Markers::default());
        }
        let members: HashSet<_> = receipts.iter().map(|receipt| (receipt.conversation_id, receipt.user_id)).collect();
        let (statement, question) = (deliver(receipts.len()), stand(members.len()));
        transaction!(self, "deliver", |connection| {
            let mut query = diesel::sql_query(&statement).into_boxed();
            for receipt in receipts {
                query = query
                    .bind::<sql::Id, _>(receipt.conversation_id)
                    .bind::<sql::Id, _>(receipt.user_id)
                    .bind::<BigInt, _>(receipt.first)
                    .bind::<BigInt, _>(receipt.last);
            }
            let moved: Vec<Delivered> = query.load(connection).await?;
            // Others move markers as well: on other nodes, and by reading.
            let mut query = diesel::sql_query(&question).into_boxed();
            for (conversation, user) in &members {
                query = query.bind::<sql::Id, _>(*conversation).bind::<sql::Id, _>(*user);
            }
            Ok(Markers { moved, all: query.load(connection).await? })
        })
    }

    /// The `seq` of the latest message of the member's conversation.
    pub(crate) async fn last_seq(&self, membership: &Membership) -> Result<i64> {
        let conversation = membership.conversation_id;
        let last_seq = read!(self, |connection| {
            conversations::table.find(conversation).select(conversations::last_seq).first(connection).await?
        });
        Ok(last_seq)
    }

    /// Messages after one `seq` and up to another that wait for the member, as histories show them, in ascending `seq`.
    pub(crate) async fn undelivered(
        &self,
        membership: &Membership,
        (after, up_to): (i64, i64),
        limit: usize,
    ) -> Result<Vec<Message>> {
        let Membership { conversation_id, user_id, .. } = *membership;
        snapshot!(self, |connection| {
            let rows: Vec<MessageRow> = messages::table
                .inner_join(members::table.on(members::conversation_id.eq(messages::conversation_id)))
                .filter(members::user_id.eq(user_id))
                .filter(messages::conversation_id.eq(conversation_id))
                .filter(messages::seq.gt(members::delivered_seq))
                .filter(messages::seq.gt(after))
                .filter(messages::seq.le(up_to))
                .filter(messages::on_path)
                .filter(messages::is_deleted.eq(false))
                .filter(messages::lease_owner.is_null())
                .filter(messages::author_id.is_null().or(messages::author_id.ne(user_id)))
                .order(messages::seq)
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .select(MessageRow::as_select())
                .load(connection)
                .await?;
            Ok(fill_in!(connection, rows.into_iter().map(Into::into).collect()))
        })
    }

    /// How many members conversations have.
    pub(crate) async fn member_counts(&self, asked: &[ConversationId]) -> Result<HashMap<ConversationId, i64>> {
        let counts: Vec<(ConversationId, i64)> = read!(self, |connection| {
            members::table
                .filter(members::conversation_id.eq_any(asked))
                .group_by(members::conversation_id)
                .select((members::conversation_id, count_star()))
                .load(connection)
                .await?
        });
        Ok(counts.into_iter().collect())
    }
}

/// The statement that moves the markers that so many receipts concern, four parameters each.
fn deliver(receipts: usize) -> String {
    let rows = rows(receipts, 4);
    format!(
        "WITH receipts (conversation_id, user_id, first_seq, last_seq) AS (VALUES {rows}), \
         concerned (conversation_id, user_id) AS (SELECT DISTINCT conversation_id, user_id FROM receipts), \
         reached (conversation, member, up_to) AS ( \
             SELECT members.conversation_id, members.user_id, COALESCE(( \
                 SELECT MIN(messages.seq) - 1 FROM messages \
                 WHERE messages.conversation_id = members.conversation_id \
                 AND messages.seq > members.delivered_seq AND messages.on_path AND NOT messages.is_deleted \
                 AND (messages.author_id IS NULL OR messages.author_id <> members.user_id) \
                 AND (messages.lease_owner IS NOT NULL OR NOT EXISTS ( \
                     SELECT 1 FROM receipts WHERE receipts.conversation_id = members.conversation_id \
                     AND receipts.user_id = members.user_id \
                     AND messages.seq BETWEEN receipts.first_seq AND receipts.last_seq)) \
             ), conversations.last_seq) \
             FROM concerned \
             JOIN members ON members.conversation_id = concerned.conversation_id \
             AND members.user_id = concerned.user_id \
             JOIN conversations ON conversations.id = members.conversation_id) \
         UPDATE members SET delivered_seq = reached.up_to FROM reached \
         WHERE members.conversation_id = reached.conversation AND members.user_id = reached.member \
         AND members.delivered_seq < reached.up_to \
         RETURNING conversation_id, user_id, delivered_seq"
    )
}

/// The statement that says where the markers of so many members stand, two parameters each.
fn stand(members: usize) -> String {
    let rows = rows(members, 2);
    format!(
        "WITH concerned (conversation, member) AS (VALUES {rows}) \
         SELECT members.conversation_id, members.user_id, members.delivered_seq FROM concerned \
         JOIN members ON members.conversation_id = concerned.conversation AND members.user_id = concerned.member"
    )
}

/// Rows of parameters, as `VALUES` takes them.
fn rows(count: usize, width: usize) -> String {
    let row = |at: usize| {
        let parameters: Vec<String> = (1..=width).map(|column| format!("${}", at * width + column)).collect();
        format!("({})", parameters.join(", "))
    };
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}
