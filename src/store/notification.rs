//! Notifications.

use diesel::{dsl::count_star, prelude::*};
use diesel_async::RunQueryDsl;

use super::{
    Store, page, read,
    schema::{notifications, users},
    snapshot, transaction, write,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        ids::{NotificationId, UserId},
        notification::{NewNotification, Notification, NotificationFilter, Related},
        page::{NumberedRequest, Page},
    },
};

/// Ids that one statement takes.
const IDS: usize = 500;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = notifications)]
struct NotificationRow {
    id: NotificationId,
    user_id: UserId,
    title: String,
    content: String,
    notification_type: String,
    action: Option<String>,
    related_entity_type: Option<String>,
    related_entity_id: Option<String>,
    idempotency_key: Option<String>,
    read_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A page of a user's notifications, and how many there are.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The page.
    pub(crate) page: Page<Notification>,
    /// Those that the filter lets pass.
    pub(crate) total: i64,
    /// All that are unread.
    pub(crate) unread: i64,
}

/// A user's notifications that a filter lets pass.
macro_rules! listed {
    ($user:expr, $filter:expr) => {{
        let mut query = notifications::table.filter(notifications::user_id.eq($user)).into_boxed();
        if $filter.is_unread {
            query = query.filter(notifications::read_at.is_null());
        }
        if let Some(name) = &$filter.notification_type {
            query = query.filter(notifications::notification_type.eq(name));
        }
        query
    }};
}

impl Store {
    /// Stores a notification, unless one with its key was stored for the user before; returns the one that is stored, and whether
    /// it is new.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such user.
    pub(crate) async fn insert_notification(
        &self,
        new: NewNotification,
        now: Timestamp,
    ) -> Result<(Notification, bool)> {
        let row = NotificationRow {
            id: NotificationId::generate(),
            user_id: new.user_id,
            title: new.title,
            content: new.content,
            notification_type: new.notification_type,
            action: new.action.map(|action| action.to_string()),
            related_entity_type: new.related.entity_type,
            related_entity_id: new.related.entity_id,
            idempotency_key: new.idempotency_key,
            read_at: None,
            created_at: now,
            updated_at: now,
        };
        let (row, is_new): (NotificationRow, bool) = transaction!(self, "insert_notification", |connection| {
            let user: Option<UserId> =
                users::table.find(row.user_id).select(users::id).first(connection).await.optional()?;
            user.ok_or(Error::NotFound("user"))?;
            let inserted = diesel::insert_into(notifications::table)
                .values(&row)
                .on_conflict((notifications::user_id, notifications::idempotency_key))
                .do_nothing()
                .execute(connection)
                .await?;
            let stored = notifications::table.filter(notifications::user_id.eq(row.user_id));
            let stored = if inserted > 0 {
                stored.filter(notifications::id.eq(row.id)).select(NotificationRow::as_select()).first(connection).await
            } else {
                let first = stored.filter(notifications::idempotency_key.eq(&row.idempotency_key));
                first.select(NotificationRow::as_select()).first(connection).await
            };
            Ok((stored?, inserted > 0))
        })?;
        Ok((row.try_into()?, is_new))
    }

    /// A page of the user's notifications, newest first.
    pub(crate) async fn notifications(
        &self,
        user: UserId,
        filter: &NotificationFilter,
        request: &NumberedRequest,
    ) -> Result<Listed> {
        let after: Option<NotificationId> = page::after(&request.request, |key| key.parse().ok())?;
        let (rows, total, unread): (Vec<NotificationRow>, i64, i64) = snapshot!(self, |connection| {
            let mut query = listed!(user, filter);
            if let Some(after) = after {
                query = query.filter(notifications::id.lt(after));
            }
            let rows = query
                .order(notifications::id.desc())
                .offset(request.skipped())
                .limit(request.request.fetch())
                .select(NotificationRow::as_select())
                .load(connection)
                .await?;
            let total = listed!(user, filter).select(count_star()).first(connection).await?;
            let unread = notifications::table
                .filter(notifications::user_id.eq(user))
                .filter(notifications::read_at.is_null())
                .select(count_star())
                .first(connection)
                .await?;
            Ok((rows, total, unread))
        })?;
        let found = rows.into_iter().map(TryInto::try_into).collect::<Result<Vec<Notification>>>()?;
        Ok(Listed { page: Page::cut(found, &request.request, |last| last.id.to_string()), total, unread })
    }

    /// How many of the user's notifications are unread.
    pub(crate) async fn unread_notifications(&self, user: UserId) -> Result<i64> {
        Ok(read!(self, |connection| {
            notifications::table
                .filter(notifications::user_id.eq(user))
                .filter(notifications::read_at.is_null())
                .select(count_star())
                .first(connection)
                .await?
        }))
    }

    /// Marks one of the user's notifications as read, and delivered with that; `None` when the user has no such notification.
    pub(crate) async fn read_notification(
        &self,
        user: UserId,
        id: NotificationId,
        now: Timestamp,
    ) -> Result<Option<Notification>> {
        let row: Option<NotificationRow> = transaction!(self, "read_notification", |connection| {
            let own = notifications::table.find(id).filter(notifications::user_id.eq(user));
            diesel::update(own.filter(notifications::read_at.is_null()))
                .set((notifications::read_at.eq(now), notifications::updated_at.eq(now)))
                .execute(connection)
                .await?;
            diesel::update(own.filter(notifications::delivered_at.is_null()))
                .set(notifications::delivered_at.eq(now))
                .execute(connection)
                .await?;
            Ok(own.select(NotificationRow::as_select()).first(connection).await.optional()?)
        })?;
        row.map(TryInto::try_into).transpose()
    }

    /// Marks all the user's notifications as read; returns how many were unread.
    pub(crate) async fn read_notifications(&self, user: UserId, now: Timestamp) -> Result<usize> {
        transaction!(self, "read_notifications", |connection| {
            let own = notifications::table.filter(notifications::user_id.eq(user));
            diesel::update(own.filter(notifications::delivered_at.is_null()))
                .set(notifications::delivered_at.eq(now))
                .execute(connection)
                .await?;
            Ok(diesel::update(own.filter(notifications::read_at.is_null()))
                .set((notifications::read_at.eq(now), notifications::updated_at.eq(now)))
                .execute(connection)
                .await?)
        })
    }

    /// Deletes one of the user's notifications; false when the user has no such notification.
    pub(crate) async fn delete_notification(&self, user: UserId, id: NotificationId) -> Result<bool> {
        let deleted = write!(self, |connection| {
            diesel::delete(notifications::table.find(id).filter(notifications::user_id.eq(user)))
                .execute(connection)
                .await?
        });
        Ok(deleted > 0)
    }

    /// The user's notifications that have not reached the user, oldest first, after this one; at most so many.
    pub(crate) async fn undelivered_notifications(
        &self,
        user: UserId,
        after: Option<NotificationId>,
        limit: i64,
    ) -> Result<Vec<Notification>> {
        let rows: Vec<NotificationRow> = read!(self, |connection| {
            let mut query = notifications::table
                .filter(notifications::user_id.eq(user))
                .filter(notifications::delivered_at.is_null())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(notifications::id.gt(after));
            }
            query.order(notifications::id).limit(limit).select(NotificationRow::as_select()).load(connection).await?
        });
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Notifications have reached their users.
    pub(crate) async fn deliver_notifications(&self, delivered: &[NotificationId], now: Timestamp) -> Result<()> {
        for ids in delivered.chunks(IDS) {
            write!(self, |connection| {
                let pending = notifications::table
                    .filter(notifications::id.eq_any(ids))
                    .filter(notifications::delivered_at.is_null());
                diesel::update(pending).set(notifications::delivered_at.eq(now)).execute(connection).await?
            });
        }
        Ok(())
    }
}

impl TryFrom<NotificationRow> for Notification {
    type Error = Error;

    fn try_from(row: NotificationRow) -> Result<Self> {
        let action = row.action.map(|action| serde_json::from_str(&action)).transpose().map_err(Error::internal)?;
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            title: row.title,
            content: row.content,
            notification_type: row.notification_type,
            action,
            related: Related { entity_type: row.related_entity_type, entity_id: row.related_entity_id },
            read_at: row.read_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
