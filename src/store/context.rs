//! Contexts of conversations.

use diesel::{dsl::max, prelude::*};
use diesel_async::RunQueryDsl;

use super::{Store, conversation::claim, page, read, schema::contexts, transaction};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        conversation::{Context, MemberRole, Membership},
        ids::{ContextId, ConversationId},
        page::{Page, PageRequest},
    },
};

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = contexts)]
struct ContextRow {
    id: ContextId,
    conversation_id: ConversationId,
    title: String,
    content: String,
    position: i64,
    created_at: Timestamp,
}

impl Store {
    /// Attaches a text to the conversation, last in the order.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the conversation is gone, [`Error::PermissionDenied`] for viewers.
    pub(crate) async fn add_context(
        &self,
        membership: &Membership,
        title: String,
        content: String,
        now: Timestamp,
    ) -> Result<Context> {
        let conversation_id = membership.conversation_id;
        let mut row =
            ContextRow { id: ContextId::generate(), conversation_id, title, content, position: 0, created_at: now };
        transaction!(self, "add_context", |connection| {
            claim!(connection, membership, MemberRole::Member, now);
            let last: Option<i64> = contexts::table
                .filter(contexts::conversation_id.eq(conversation_id))
                .select(max(contexts::position))
                .first(connection)
                .await?;
            row.position = last.unwrap_or(0) + 1;
            diesel::insert_into(contexts::table).values(&row).execute(connection).await?;
            Ok(())
        })?;
        Ok(row.into())
    }

    /// The contexts, in the order in which they are put before the model.
    pub(crate) async fn contexts(&self, membership: &Membership, request: &PageRequest) -> Result<Page<Context>> {
        let after: Option<i64> = page::after(request, |key| key.parse().ok())?;
        let rows: Vec<ContextRow> = read!(self, |connection| {
            contexts::table
                .filter(contexts::conversation_id.eq(membership.conversation_id))
                .filter(contexts::position.gt(after.unwrap_or(0)))
                .order(contexts::position)
                .limit(request.fetch())
                .select(ContextRow::as_select())
                .load(connection)
                .await?
        });
        let entries = rows.into_iter().map(Context::from).collect();
        Ok(Page::cut(entries, request, |last| last.position.to_string()))
    }

    /// Detaches a context.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the conversation has no such context or is gone, [`Error::PermissionDenied`] for viewers.
    pub(crate) async fn delete_context(&self, membership: &Membership, id: ContextId, now: Timestamp) -> Result<()> {
        let conversation = membership.conversation_id;
        transaction!(self, "delete_context", |connection| {
            claim!(connection, membership, MemberRole::Member, now);
            let detached = diesel::delete(contexts::table.find(id))
                .filter(contexts::conversation_id.eq(conversation))
                .execute(connection)
                .await?;
            if detached == 0 {
                return Err(Error::NotFound("context"));
            }
            Ok(())
        })
    }
}

impl From<ContextRow> for Context {
    fn from(row: ContextRow) -> Self {
        Self {
            id: row.id,
            conversation_id: row.conversation_id,
            title: row.title,
            content: row.content,
            position: row.position,
            created_at: row.created_at,
        }
    }
}
