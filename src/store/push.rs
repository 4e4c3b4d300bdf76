//! Browsers that are registered for pushes, and the key that signs these.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store, read,
    schema::{push_key, push_subscriptions, users},
    transaction, write,
};
use crate::{
    error::Result,
    model::{
        clock::Timestamp,
        ids::UserId,
        push::{BrowserKeys, PushSubscription},
    },
};

/// The number of the one key.
const ONLY: i64 = 1;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = push_subscriptions, primary_key(endpoint), treat_none_as_null = true)]
struct PushSubscriptionRow {
    endpoint: String,
    user_id: UserId,
    p256dh: Vec<u8>,
    auth: Vec<u8>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Store {
    /// The private key that signs pushes: the one that is kept, which is `new` where there was none.
    pub(crate) async fn push_key(&self, new: &[u8], now: Timestamp) -> Result<Vec<u8>> {
        transaction!(self, "push_key", |connection| {
            let row = (push_key::number.eq(ONLY), push_key::private_key.eq(new), push_key::created_at.eq(now));
            // Of two nodes that begin at once, one makes the key.
            diesel::insert_into(push_key::table).values(row).on_conflict_do_nothing().execute(connection).await?;
            Ok(push_key::table.find(ONLY).select(push_key::private_key).first(connection).await?)
        })
    }

    /// Registers a browser, in place of what was registered for its endpoint; the user keeps at most `most`, the newest ones.
    pub(crate) async fn register_push_subscription(&self, new: &PushSubscription, most: i64) -> Result<()> {
        let row = PushSubscriptionRow {
            endpoint: new.endpoint.clone(),
            user_id: new.user_id,
            p256dh: new.keys.p256dh.clone(),
            auth: new.keys.auth.clone(),
            created_at: new.created_at,
            expires_at: new.expires_at,
        };
        transaction!(self, "register_push_subscription", |connection| {
            diesel::insert_into(push_subscriptions::table)
                .values(&row)
                .on_conflict(push_subscriptions::endpoint)
                .do_update()
                .set(&row)
                .execute(connection)
                .await?;
            let old: Vec<String> = push_subscriptions::table
                .filter(push_subscriptions::user_id.eq(row.user_id))
                .order((push_subscriptions::created_at.desc(), push_subscriptions::endpoint.desc()))
                .offset(most)
                .limit(most)
                .select(push_subscriptions::endpoint)
                .load(connection)
                .await?;
            let old = push_subscriptions::table.filter(push_subscriptions::endpoint.eq_any(old));
            diesel::delete(old.filter(push_subscriptions::user_id.eq(row.user_id))).execute(connection).await?;
            Ok(())
        })
    }

    /// The browsers of a user who may still sign in, but for those whose time is over.
    pub(crate) async fn push_subscriptions(&self, user: UserId, now: Timestamp) -> Result<Vec<PushSubscription>> {
        let rows: Vec<PushSubscriptionRow> = read!(self, |connection| {
            push_subscriptions::table
                .inner_join(users::table)
                .filter(push_subscriptions::user_id.eq(user))
                .filter(users::is_active)
                .filter(push_subscriptions::expires_at.is_null().or(push_subscriptions::expires_at.gt(now)))
                .select(PushSubscriptionRow::as_select())
                .load(connection)
                .await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Ends the registration of one of the user's browsers; false when the user has no such browser.
    pub(crate) async fn delete_push_subscription(&self, user: UserId, endpoint: &str) -> Result<bool> {
        let deleted = write!(self, |connection| {
            diesel::delete(push_subscriptions::table.find(endpoint).filter(push_subscriptions::user_id.eq(user)))
                .execute(connection)
                .await?
        });
        Ok(deleted > 0)
    }
}

impl From<PushSubscriptionRow> for PushSubscription {
    fn from(row: PushSubscriptionRow) -> Self {
        Self {
            user_id: row.user_id,
            endpoint: row.endpoint,
            keys: BrowserKeys { p256dh: row.p256dh, auth: row.auth },
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}
