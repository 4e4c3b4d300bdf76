//! When people were seen, and who shares conversations with whom.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store, read,
    schema::{members, users},
    write,
};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        ids::{ConversationId, UserId},
    },
};

/// Ids that one statement takes.
const IDS: usize = 500;

impl Store {
    /// Users were seen at this time. Of an account that is gone nothing is kept.
    pub(crate) async fn see(&self, seen: &[UserId], at: Timestamp) -> Result<()> {
        for seen in seen.chunks(IDS) {
            write!(self, |connection| {
                diesel::update(users::table.filter(users::id.eq_any(seen)))
                    .set(users::last_seen_at.eq(at))
                    .execute(connection)
                    .await?
            });
        }
        Ok(())
    }

    /// When users were seen last; those who never were are not in it.
    pub(crate) async fn last_seen(&self, asked: &[UserId]) -> Result<HashMap<UserId, Timestamp>> {
        let mut found = HashMap::new();
        for asked in asked.chunks(IDS) {
            let rows: Vec<(UserId, Option<Timestamp>)> = read!(self, |connection| {
                users::table
                    .filter(users::id.eq_any(asked))
                    .select((users::id, users::last_seen_at))
                    .load(connection)
                    .await?
            });
            found.extend(rows.into_iter().filter_map(|(user, at)| Some((user, at?))));
        }
        Ok(found)
    }

    /// Those of the users who have an account.
    pub(crate) async fn users_among(&self, asked: &[UserId]) -> Result<HashSet<UserId>> {
        let mut found = HashSet::new();
        for asked in asked.chunks(IDS) {
            found.extend(read!(self, |connection| {
                users::table.filter(users::id.eq_any(asked)).select(users::id).load::<UserId>(connection).await?
            }));
        }
        Ok(found)
    }

    /// The conversations of users.
    pub(crate) async fn memberships_of(&self, asked: &[UserId]) -> Result<Vec<(ConversationId, UserId)>> {
        let mut found = Vec::new();
        for asked in asked.chunks(IDS) {
            found.extend(read!(self, |connection| {
                members::table
                    .filter(members::user_id.eq_any(asked))
                    .select((members::conversation_id, members::user_id))
                    .load::<(ConversationId, UserId)>(connection)
                    .await?
            }));
        }
        Ok(found)
    }

    /// The members of conversations.
    pub(crate) async fn members_of(&self, asked: &[ConversationId]) -> Result<Vec<(ConversationId, UserId)>> {
        let mut found = Vec::new();
        for asked in asked.chunks(IDS) {
            found.extend(read!(self, |connection| {
                members::table
                    .filter(members::conversation_id.eq_any(asked))
                    .select((members::conversation_id, members::user_id))
                    .load::<(ConversationId, UserId)>(connection)
                    .await?
            }));
        }
        Ok(found)
    }
}
