//! Members of conversations.

use std::collections::HashSet;

use diesel::{dsl::min, prelude::*};
use diesel_async::RunQueryDsl;

use super::{
    Store,
    conversation::{claim, no_such_user},
    page, read,
    schema::{conversations, members, messages, users},
    transaction,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        conversation::{Member, MemberRole, Membership},
        ids::{ConversationId, MessageId, UserId},
        page::{Page, PageRequest},
    },
};

/// What happens to a conversation that would be left without one.
const LAST_OWNER: Error = Error::FailedPrecondition("the last owner stays");

/// Counts a conversation's owners, within a transaction.
macro_rules! owners {
    ($connection:ident, $conversation:expr) => {{
        let owners: i64 = members::table
            .filter(members::conversation_id.eq($conversation))
            .filter(members::role.eq(MemberRole::Owner))
            .count()
            .get_result($connection)
            .await?;
        owners
    }};
}

/// A member joined with the user's name.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = members)]
struct MemberRow {
    user_id: UserId,
    #[diesel(select_expression = users::username)]
    username: String,
    role: MemberRole,
    last_read_seq: i64,
    delivered_seq: i64,
    joined_at: Timestamp,
}

/// A read marker after it was asked to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadMarker {
    /// Where it is.
    pub(crate) seq: i64,
    /// Whether it moved.
    pub(crate) has_moved: bool,
}

impl Store {
    /// A user's membership in a conversation.
    pub(crate) async fn membership(&self, user: UserId, conversation: ConversationId) -> Result<Option<Membership>> {
        let role: Option<MemberRole> = read!(self, |connection| {
            members::table.find((conversation, user)).select(members::role).first(connection).await.optional()?
        });
        Ok(role.map(|role| Membership { conversation_id: conversation, user_id: user, role }))
    }

    /// A user's membership in the conversation of a message.
    pub(crate) async fn membership_by_message(&self, user: UserId, message: MessageId) -> Result<Option<Membership>> {
        let found: Option<(ConversationId, MemberRole)> = read!(self, |connection| {
            messages::table
                .inner_join(members::table.on(members::conversation_id.eq(messages::conversation_id)))
                .filter(messages::id.eq(message))
                .filter(members::user_id.eq(user))
                .select((members::conversation_id, members::role))
                .first(connection)
                .await
                .optional()?
        });
        Ok(found.map(|(conversation_id, role)| Membership { conversation_id, user_id: user, role }))
    }

    /// The memberships that there are between some conversations and some users.
    pub(crate) async fn memberships_among(
        &self,
        conversations: &[ConversationId],
        users: &[UserId],
    ) -> Result<HashSet<(ConversationId, UserId)>> {
        let found: Vec<(ConversationId, UserId)> = read!(self, |connection| {
            members::table
                .filter(members::conversation_id.eq_any(conversations))
                .filter(members::user_id.eq_any(users))
                .select((members::conversation_id, members::user_id))
                .load(connection)
                .await?
        });
        Ok(found.into_iter().collect())
    }

    /// The members, in the order in which they joined.
    pub(crate) async fn members(&self, membership: &Membership, request: &PageRequest) -> Result<Page<Member>> {
        let after = page::after(request, page::read_moment::<UserId>)?;
        let rows: Vec<MemberRow> = read!(self, |connection| {
            let mut query = members::table
                .inner_join(users::table)
                .filter(members::conversation_id.eq(membership.conversation_id))
                .into_boxed();
            if let Some((at, id)) = after {
                let later = members::joined_at.gt(at);
                query = query.filter(later.or(members::joined_at.eq(at).and(members::user_id.gt(id))));
            }
            query
                .order((members::joined_at, members::user_id))
                .limit(request.fetch())
                .select(MemberRow::as_select())
                .load(connection)
                .await?
        });
        let entries = rows.into_iter().map(Member::from).collect();
        Ok(Page::cut(entries, request, |last| page::pair(last.joined_at.as_micros(), last.user_id)))
    }

    /// Adds a user to the conversation, of whose messages so far none waits for them, or changes the role of one who is in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a user who does not exist and when the conversation is gone, [`Error::PermissionDenied`] for
    /// others than owners, [`Error::FailedPrecondition`] when no owner would be left.
    pub(crate) async fn put_member(
        &self,
        membership: &Membership,
        user: UserId,
        role: MemberRole,
        now: Timestamp,
    ) -> Result<Member> {
        let conversation = membership.conversation_id;
        transaction!(self, "put_member", |connection| {
            claim!(connection, membership, MemberRole::Owner, now);
            let last_seq: i64 =
                conversations::table.find(conversation).select(conversations::last_seq).first(connection).await?;
            diesel::insert_into(members::table)
                .values((
                    members::conversation_id.eq(conversation),
                    members::user_id.eq(user),
                    members::role.eq(role),
                    members::last_read_seq.eq(0),
                    members::delivered_seq.eq(last_seq),
                    members::joined_at.eq(now),
                ))
                .on_conflict((members::conversation_id, members::user_id))
                .do_update()
                .set(members::role.eq(role))
                .execute(connection)
                .await
                .map_err(|error| no_such_user(error, || Error::NotFound("user")))?;
            if owners!(connection, conversation) == 0 {
                return Err(LAST_OWNER);
            }
            let row: MemberRow = members::table
                .inner_join(users::table)
                .filter(members::conversation_id.eq(conversation))
                .filter(members::user_id.eq(user))
                .select(MemberRow::as_select())
                .first(connection)
                .await?;
            Ok(row.into())
        })
    }

    /// Removes a member: owners anyone, everybody themselves.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a user who is not a member and when the conversation is gone, [`Error::PermissionDenied`] for
    /// who may not, [`Error::FailedPrecondition`] for the last owner.
    pub(crate) async fn remove_member(&self, membership: &Membership, user: UserId, now: Timestamp) -> Result<()> {
        let conversation = membership.conversation_id;
        let least = if user == membership.user_id { MemberRole::Viewer } else { MemberRole::Owner };
        transaction!(self, "remove_member", |connection| {
            claim!(connection, membership, least, now);
            let removed = diesel::delete(members::table.find((conversation, user))).execute(connection).await?;
            if removed == 0 {
                return Err(Error::NotFound("member"));
            }
            if owners!(connection, conversation) == 0 {
                return Err(LAST_OWNER);
            }
            Ok(())
        })
    }

    /// Moves the member's read marker forward to `seq`, never back. What was read was delivered, but for answers whose
    /// run lasts: of these the end is still to come.
    pub(crate) async fn mark_read(&self, membership: &Membership, seq: i64) -> Result<ReadMarker> {
        let member = members::table.find((membership.conversation_id, membership.user_id));
        transaction!(self, "mark_read", |connection| {
            let moved = diesel::update(member)
                .filter(members::last_read_seq.lt(seq))
                .set(members::last_read_seq.eq(seq))
                .execute(connection)
                .await?;
            let running: Option<i64> = messages::table
                .filter(messages::conversation_id.eq(membership.conversation_id))
                .filter(messages::lease_owner.is_not_null())
                .select(min(messages::seq))
                .first(connection)
                .await?;
            let delivered = running.map_or(seq, |running| seq.min(running - 1));
            diesel::update(member)
                .filter(members::delivered_seq.lt(delivered))
                .set(members::delivered_seq.eq(delivered))
                .execute(connection)
                .await?;
            let marker: Option<i64> = member.select(members::last_read_seq).first(connection).await.optional()?;
            let seq = marker.ok_or(Error::NotFound("conversation"))?;
            Ok(ReadMarker { seq, has_moved: moved > 0 })
        })
    }
}

impl From<MemberRow> for Member {
    fn from(row: MemberRow) -> Self {
        Self {
            user_id: row.user_id,
            username: row.username,
            role: row.role,
            last_read_seq: row.last_read_seq,
            delivered_seq: row.delivered_seq,
            joined_at: row.joined_at,
        }
    }
}
