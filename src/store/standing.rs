//! Accounts that call without a session: services by their keys, outside users by their issuers' tokens. Their own id stands
//! where a session's does.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store, read,
    schema::{outside_users, service_accounts, users},
    service_account::scopes,
};
use crate::{
    error::Result,
    model::{
        ids::{SessionId, UserId},
        session::Identity,
        user::Role,
    },
};

/// Active accounts that need no session.
macro_rules! standing {
    () => {
        users::table
            .left_join(service_accounts::table)
            .left_join(outside_users::table)
            .filter(users::is_active)
            .filter(service_accounts::user_id.is_not_null().or(outside_users::user_id.is_not_null()))
    };
}

impl Store {
    /// Who the account acts as whose id stands for this session; `None` when there is none or it is not active.
    pub(super) async fn standing_identity(&self, session: SessionId) -> Result<Option<Identity>> {
        let found: Option<(UserId, String, Role, Option<String>)> = read!(self, |connection| {
            standing!()
                .filter(users::id.eq(UserId::from(session)))
                .select((users::id, users::username, users::role, service_accounts::scopes.nullable()))
                .first(connection)
                .await
                .optional()?
        });
        Ok(found.map(|(user_id, username, role, words)| Identity {
            user_id,
            username,
            role,
            scopes: words.as_deref().map(scopes),
        }))
    }

    /// What such accounts may do whose ids are among the sessions.
    pub(super) async fn standing_roles(&self, sessions: &[SessionId]) -> Result<Vec<(SessionId, Role)>> {
        let ids: Vec<UserId> = sessions.iter().copied().map(UserId::from).collect();
        let active: Vec<(UserId, Role)> = read!(self, |connection| {
            standing!().filter(users::id.eq_any(ids)).select((users::id, users::role)).load(connection).await?
        });
        Ok(active.into_iter().map(|(user, role)| (SessionId::from(user), role)).collect())
    }
}
