//! Conversations: making, finding, changing and deleting them.

use diesel::{
    dsl::exists,
    prelude::*,
    result::{DatabaseErrorKind, Error as DieselError},
    select,
};
use diesel_async::RunQueryDsl;

use super::{
    Store, page,
    path::choose_path,
    read,
    schema::{conversations, members, messages},
    transaction,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        conversation::{Conversation, ConversationChange, MemberRole, Membership, NewConversation, OnBusy},
        ids::{ConversationId, MessageId, UserId},
        page::{Page, PageRequest},
    },
};

/// A conversation joined with the membership of the one who sees it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = conversations)]
struct ConversationRow {
    id: ConversationId,
    title: String,
    model: Option<String>,
    on_busy: OnBusy,
    #[diesel(select_expression = members::role)]
    role: MemberRole,
    last_seq: i64,
    #[diesel(select_expression = members::last_read_seq)]
    last_read_seq: i64,
    head_message_id: Option<MessageId>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Begins a transaction that decides by what a conversation holds: changes its row, so that of two at once the second waits
/// and finds all that the first has done, and only then asks whether the member may still do what `least` may.
macro_rules! claim {
    ($connection:ident, $membership:expr, $least:expr, $now:expr) => {{
        use $crate::store::schema::{conversations, members};
        let $crate::model::conversation::Membership { conversation_id, user_id, .. } = *$membership;
        diesel::update(conversations::table.find(conversation_id))
            .set(conversations::updated_at.eq($now))
            .execute($connection)
            .await?;
        let role: Option<$crate::model::conversation::MemberRole> = members::table
            .find((conversation_id, user_id))
            .select(members::role)
            .first($connection)
            .await
            .optional()?;
        // Where the conversation is gone, so are its members.
        if role.ok_or($crate::error::Error::NotFound("conversation"))? < $least {
            return Err($crate::error::Error::ROLE);
        }
    }};
}

pub(super) use claim;

impl Store {
    /// Whether there is such a conversation: for who publishes to it and sees nothing of it.
    pub(crate) async fn has_conversation(&self, id: ConversationId) -> Result<bool> {
        let found: Option<ConversationId> = read!(self, |connection| {
            conversations::table.find(id).select(conversations::id).first(connection).await.optional()?
        });
        Ok(found.is_some())
    }

    /// Makes a conversation with its owner and members.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the member who does not exist.
    pub(crate) async fn create_conversation(
        &self,
        owner: UserId,
        new: &NewConversation,
        now: Timestamp,
    ) -> Result<Conversation> {
        let id = ConversationId::generate();
        let joins = |user: UserId, role: MemberRole| {
            diesel::insert_into(members::table).values((
                members::conversation_id.eq(id),
                members::user_id.eq(user),
                members::role.eq(role),
                members::last_read_seq.eq(0),
                members::delivered_seq.eq(0),
                members::joined_at.eq(now),
            ))
        };
        transaction!(self, "create_conversation", |connection| {
            diesel::insert_into(conversations::table)
                .values((
                    conversations::id.eq(id),
                    conversations::title.eq(&new.title),
                    conversations::model.eq(&new.model),
                    conversations::on_busy.eq(new.on_busy),
                    conversations::last_seq.eq(0),
                    conversations::created_at.eq(now),
                    conversations::updated_at.eq(now),
                ))
                .execute(connection)
                .await?;
            joins(owner, MemberRole::Owner).execute(connection).await?;
            for user in &new.member_ids {
                let joined = joins(*user, MemberRole::Member).execute(connection).await;
                let stranger = || Error::invalid("member_ids", format!("there is no user {user}"));
                joined.map_err(|error| no_such_user(error, stranger))?;
            }
            Ok(())
        })?;
        Ok(Conversation {
            id,
            title: new.title.clone(),
            model: new.model.clone(),
            on_busy: new.on_busy,
            role: MemberRole::Owner,
            last_seq: 0,
            last_read_seq: 0,
            head_message_id: None,
            created_at: now,
            updated_at: now,
        })
    }

    /// The conversation, as the member sees it; `None` when it is gone.
    pub(crate) async fn conversation(&self, membership: &Membership) -> Result<Option<Conversation>> {
        let row: Option<ConversationRow> = read!(self, |connection| {
            conversations::table
                .inner_join(members::table)
                .filter(conversations::id.eq(membership.conversation_id))
                .filter(members::user_id.eq(membership.user_id))
                .select(ConversationRow::as_select())
                .first(connection)
                .await
                .optional()?
        });
        Ok(row.map(Into::into))
    }

    /// The user's conversations, the one with the latest activity first.
    pub(crate) async fn conversations(&self, user: UserId, request: &PageRequest) -> Result<Page<Conversation>> {
        let after = page::after(request, page::read_moment::<ConversationId>)?;
        let rows: Vec<ConversationRow> = read!(self, |connection| {
            let mut query =
                conversations::table.inner_join(members::table).filter(members::user_id.eq(user)).into_boxed();
            if let Some((at, id)) = after {
                let earlier = conversations::updated_at.lt(at);
                query = query.filter(earlier.or(conversations::updated_at.eq(at).and(conversations::id.lt(id))));
            }
            query
                .order((conversations::updated_at.desc(), conversations::id.desc()))
                .limit(request.fetch())
                .select(ConversationRow::as_select())
                .load(connection)
                .await?
        });
        let entries = rows.into_iter().map(Conversation::from).collect();
        Ok(Page::cut(entries, request, |last| page::pair(last.updated_at.as_micros(), last.id)))
    }

    /// Changes what is set in `change` and returns the conversation as the member sees it then.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the conversation or the message that the path shall lead through is gone,
    /// [`Error::PermissionDenied`] for viewers, [`Error::FailedPrecondition`] for another path while a run lasts.
    pub(crate) async fn update_conversation(
        &self,
        membership: &Membership,
        change: &ConversationChange,
        now: Timestamp,
    ) -> Result<Conversation> {
        let id = membership.conversation_id;
        transaction!(self, "update_conversation", |connection| {
            claim!(connection, membership, MemberRole::Member, now);
            diesel::update(conversations::table.find(id))
                .set((
                    change.title.as_ref().map(|title| conversations::title.eq(title)),
                    change.model.as_ref().map(|model| conversations::model.eq(model)),
                    change.on_busy.map(|on_busy| conversations::on_busy.eq(on_busy)),
                    conversations::updated_at.eq(now),
                ))
                .execute(connection)
                .await?;
            if let Some(message) = change.head_message_id {
                let running = messages::table
                    .filter(messages::conversation_id.eq(id))
                    .filter(messages::lease_owner.is_not_null());
                if select(exists(running)).get_result(connection).await? {
                    return Err(Error::FailedPrecondition("the path cannot change while a run lasts"));
                }
                let head = choose_path!(connection, id, message).ok_or(Error::NotFound("message"))?;
                diesel::update(conversations::table.find(id))
                    .set(conversations::head_message_id.eq(head))
                    .execute(connection)
                    .await?;
            }
            let changed: Option<ConversationRow> = conversations::table
                .inner_join(members::table)
                .filter(conversations::id.eq(id))
                .filter(members::user_id.eq(membership.user_id))
                .select(ConversationRow::as_select())
                .first(connection)
                .await
                .optional()?;
            changed.map(Into::into).ok_or(Error::NotFound("conversation"))
        })
    }

    /// Deletes the conversation with all that is in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone, [`Error::PermissionDenied`] for others than owners.
    pub(crate) async fn delete_conversation(&self, membership: &Membership, now: Timestamp) -> Result<()> {
        transaction!(self, "delete_conversation", |connection| {
            claim!(connection, membership, MemberRole::Owner, now);
            diesel::delete(conversations::table.find(membership.conversation_id)).execute(connection).await?;
            Ok(())
        })
    }
}

/// What it means that a row points to a user who is not there.
pub(super) fn no_such_user(error: DieselError, meaning: impl FnOnce() -> Error) -> Error {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => meaning(),
        other => other.into(),
    }
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        Self {
            id: row.id,
            title: row.title,
            model: row.model,
            on_busy: row.on_busy,
            role: row.role,
            last_seq: row.last_seq,
            last_read_seq: row.last_read_seq,
            head_message_id: row.head_message_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
