//! How many there are of what is stored.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    schema::{conversations, messages, sessions, users},
    snapshot,
};
use crate::{
    error::Result,
    model::{clock::Timestamp, counts::Counts, user::Role},
};

impl Store {
    /// Counts everything, at one moment. Slow where there is much: it takes its turn with searches.
    pub(crate) async fn counts(&self, now: Timestamp) -> Result<Counts> {
        let _turn = self.slow_read().await?;
        snapshot!(self, |connection| {
            let active = users::table.filter(users::is_active);
            let lasting = sessions::table.filter(sessions::expires_at.gt(now));
            Ok(Counts {
                users: users::table.count().get_result(connection).await?,
                active_users: active.count().get_result(connection).await?,
                admins: active.filter(users::role.eq(Role::Admin)).count().get_result(connection).await?,
                conversations: conversations::table.count().get_result(connection).await?,
                messages: messages::table.filter(messages::is_deleted.eq(false)).count().get_result(connection).await?,
                running: messages::table
                    .filter(messages::lease_owner.is_not_null())
                    .count()
                    .get_result(connection)
                    .await?,
                sessions: lasting.count().get_result(connection).await?,
            })
        })
    }
}
