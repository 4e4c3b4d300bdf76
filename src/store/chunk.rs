//! The log of runs: the pieces of answers in the making, in groups, each written only while its run is still owned.

use std::collections::HashSet;

use diesel::{
    prelude::*,
    sql_types::{BigInt, Text},
};
use diesel_async::RunQueryDsl;

use super::{
    Pools, Store,
    history::{Piece, set_text_so_far},
    message::MessageRow,
    schema::{messages, run_chunks},
    snapshot,
    tool_call::attach_tool_calls,
    types::sql,
    write,
};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        conversation::Membership,
        ids::{MessageId, NodeId},
        message::{Message, MessageStatus},
    },
};

/// A piece of an answer for the log.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// The answer.
    pub(crate) message_id: MessageId,
    /// Where the piece begins, in UTF-8 bytes.
    pub(crate) offset: i64,
    /// The text.
    pub(crate) content: String,
}

/// An answer of which a piece was written.
#[derive(Debug, QueryableByName)]
struct Written {
    #[diesel(sql_type = sql::Id)]
    message_id: MessageId,
}

impl Store {
    /// Writes pieces of several answers to the log, all at once, and returns the answers that this node no longer owns:
    /// their pieces were not written. Writing a piece again changes nothing.
    pub(crate) async fn append_chunks(
        &self,
        owner: NodeId,
        chunks: &[Chunk],
        now: Timestamp,
    ) -> Result<HashSet<MessageId>> {
        let begun: Vec<MessageId> =
            chunks.iter().filter(|chunk| chunk.offset == 0).map(|chunk| chunk.message_id).collect();
        if !begun.is_empty() {
            write!(self, |connection| {
                diesel::update(messages::table)
                    .filter(messages::id.eq_any(begun))
                    .filter(messages::lease_owner.eq(owner))
                    .set((messages::status.eq(MessageStatus::Streaming), messages::updated_at.eq(now)))
                    .execute(connection)
                    .await?
            });
        }
        // On PostgreSQL the reaper of another node works at the same time: it waits for the pieces, or they for it.
        let lock = match &self.pools {
            Pools::Sqlite { .. } => "",
            Pools::Postgres(_) => " FOR SHARE OF messages",
        };
        let statement = append(chunks.len(), lock);
        let written: Vec<Written> = write!(self, |connection| {
            let mut query = diesel::sql_query(statement).into_boxed();
            for chunk in chunks {
                query = query
                    .bind::<sql::Id, _>(chunk.message_id)
                    .bind::<BigInt, _>(chunk.offset)
                    .bind::<Text, _>(&chunk.content);
            }
            query.bind::<sql::Id, _>(owner).load(connection).await?
        });
        let kept: HashSet<MessageId> = written.into_iter().map(|piece| piece.message_id).collect();
        Ok(chunks.iter().map(|chunk| chunk.message_id).filter(|id| !kept.contains(id)).collect())
    }

    /// Messages of a conversation, oldest first, with the tools that they have called; one whose run lasts has the text that is
    /// logged so far. All of the same moment.
    pub(crate) async fn messages_so_far(&self, membership: &Membership, ids: &[MessageId]) -> Result<Vec<Message>> {
        snapshot!(self, |connection| {
            let rows: Vec<MessageRow> = messages::table
                .filter(messages::id.eq_any(ids))
                .filter(messages::conversation_id.eq(membership.conversation_id))
                .order(messages::seq)
                .select(MessageRow::as_select())
                .load(connection)
                .await?;
            let mut found: Vec<Message> = rows.into_iter().map(Message::from).collect();
            attach_tool_calls!(connection, found);
            let running = found.iter().filter(|message| message.status.is_running()).map(|message| message.id);
            let pieces: Vec<Piece> = run_chunks::table
                .filter(run_chunks::message_id.eq_any(running.collect::<Vec<_>>()))
                .order((run_chunks::message_id, run_chunks::offset))
                .select((run_chunks::message_id, run_chunks::content))
                .load(connection)
                .await?;
            set_text_so_far(&mut found, pieces);
            Ok(found)
        })
    }
}

/// The statement that appends so many pieces, three parameters each, for the owner, which is the last. One statement is
/// one transaction and one visit to the database: a group costs a single wait, however many answers it serves.
fn append(pieces: usize, lock: &str) -> String {
    let rows: Vec<String> =
        (0..pieces).map(|piece| format!("(${}, ${}, ${})", 3 * piece + 1, 3 * piece + 2, 3 * piece + 3)).collect();
    let (rows, owner) = (rows.join(", "), 3 * pieces + 1);
    format!(
        "WITH pieces (message_id, \"offset\", content) AS (VALUES {rows}) \
         INSERT INTO run_chunks (message_id, \"offset\", content) \
         SELECT pieces.message_id, pieces.\"offset\", pieces.content \
         FROM pieces JOIN messages ON messages.id = pieces.message_id WHERE messages.lease_owner = ${owner}{lock} \
         ON CONFLICT (message_id, \"offset\") DO UPDATE SET content = excluded.content \
         RETURNING message_id"
    )
}
