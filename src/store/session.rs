//! Signed-in sessions and their refresh tokens.

use std::{collections::HashMap, time::Duration};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    audit::note_act,
    read,
    schema::{refresh_tokens, sessions, users},
    transaction,
};
use crate::{
    error::Result,
    model::{
        audit::{Act, details},
        clock::Timestamp,
        credential::Digest,
        ids::{SessionId, UserId},
        page::{Page, PageRequest},
        session::{Identity, Session},
        user::Role,
    },
};

/// A session's row.
#[derive(Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = sessions)]
struct SessionRow {
    id: SessionId,
    user_id: UserId,
    user_agent: String,
    address: String,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            user_agent: row.user_agent,
            address: row.address,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
        }
    }
}

impl From<&Session> for SessionRow {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            user_id: session.user_id,
            user_agent: session.user_agent.clone(),
            address: session.address.clone(),
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
        }
    }
}

/// What became of a refresh token that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// It was the latest of its session; the fresh one has taken its place.
    Rotated {
        /// The session.
        session_id: SessionId,
        /// Whose it is.
        user_id: UserId,
    },
    /// It had been used before: somebody else has a copy, and the session has ended for both.
    Reused(SessionId),
    /// It belongs to no open session.
    Unknown,
}

impl Store {
    /// Opens a session with its first refresh token, and clears away those of the user that have expired; false when the
    /// password behind `password_hash`, which was checked before, is no longer the user's, or the user may not sign in.
    pub(crate) async fn open_session(
        &self,
        session: &Session,
        password_hash: &str,
        refresh_token: &Digest,
    ) -> Result<bool> {
        let row = SessionRow::from(session);
        transaction!(self, "open_session", |connection| {
            // Checking a password takes long. Who changes it meanwhile ends the sessions there are, and this is none of
            // them yet.
            let user = users::table.find(session.user_id).filter(users::is_active);
            let is_as_before = diesel::update(user.filter(users::password_hash.eq(password_hash)))
                .set(users::password_hash.eq(password_hash))
                .execute(connection)
                .await?;
            if is_as_before == 0 {
                return Ok(false);
            }
            let expired = sessions::table
                .filter(sessions::user_id.eq(session.user_id))
                .filter(sessions::expires_at.le(session.created_at));
            diesel::delete(expired).execute(connection).await?;
            diesel::insert_into(sessions::table).values(&row).execute(connection).await?;
            diesel::insert_into(refresh_tokens::table)
                .values((
                    refresh_tokens::hash.eq(refresh_token.as_bytes()),
                    refresh_tokens::session_id.eq(session.id),
                    refresh_tokens::created_at.eq(session.created_at),
                ))
                .execute(connection)
                .await?;
            Ok(true)
        })
    }

    /// Opens a session without a refresh token, by this act: it ends when it expires.
    pub(crate) async fn insert_session(&self, act: &Act, session: &Session) -> Result<()> {
        let row = SessionRow::from(session);
        transaction!(self, "insert_session", |connection| {
            diesel::insert_into(sessions::table).values(&row).execute(connection).await?;
            let known = details([("session_id", &session.id.to_string())]);
            note_act!(connection, act, None, &known, session.created_at);
            Ok(())
        })
    }

    /// Puts a fresh refresh token in the place of the one shown, and lets the session live `ttl` from now.
    pub(crate) async fn rotate_refresh_token(
        &self,
        shown: &Digest,
        fresh: &Digest,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Rotation> {
        transaction!(self, "rotate_refresh_token", |connection| {
            let found: Option<(SessionId, UserId)> = refresh_tokens::table
                .inner_join(sessions::table.inner_join(users::table))
                .filter(refresh_tokens::hash.eq(shown.as_bytes()))
                .filter(sessions::expires_at.gt(now))
                .filter(users::is_active)
                .select((sessions::id, sessions::user_id))
                .first(connection)
                .await
                .optional()?;
            let Some((session_id, user_id)) = found else { return Ok(Rotation::Unknown) };

            // The one statement that decides: of two who show the same token, one finds it unused.
            let unused = refresh_tokens::table.find(shown.as_bytes()).filter(refresh_tokens::used_at.is_null());
            let used = diesel::update(unused).set(refresh_tokens::used_at.eq(now)).execute(connection).await?;
            if used == 0 {
                // Not an error: the end of the session has to be committed.
                diesel::delete(sessions::table.find(session_id)).execute(connection).await?;
                return Ok(Rotation::Reused(session_id));
            }

            diesel::insert_into(refresh_tokens::table)
                .values((
                    refresh_tokens::hash.eq(fresh.as_bytes()),
                    refresh_tokens::session_id.eq(session_id),
                    refresh_tokens::created_at.eq(now),
                ))
                .execute(connection)
                .await?;
            diesel::update(sessions::table.find(session_id))
                .set((sessions::last_used_at.eq(now), sessions::expires_at.eq(now + ttl)))
                .execute(connection)
                .await?;
            let outdated = refresh_tokens::table
                .filter(refresh_tokens::session_id.eq(session_id))
                .filter(refresh_tokens::created_at.lt(now - ttl));
            diesel::delete(outdated).execute(connection).await?;
            Ok(Rotation::Rotated { session_id, user_id })
        })
    }

    /// Who the session acts as, or the account whose id stands for one; `None` when it has ended or its user may not sign in any
    /// more.
    pub(crate) async fn identity(&self, session: SessionId, now: Timestamp) -> Result<Option<Identity>> {
        let found: Option<(UserId, String, Role)> = read!(self, |connection| {
            sessions::table
                .inner_join(users::table)
                .filter(sessions::id.eq(session))
                .filter(sessions::expires_at.gt(now))
                .filter(users::is_active)
                .select((users::id, users::username, users::role))
                .first(connection)
                .await
                .optional()?
        });
        match found {
            Some((user_id, username, role)) => Ok(Some(Identity { user_id, username, role, scopes: None })),
            None => self.standing_identity(session).await,
        }
    }

    /// What those of the sessions may do, and of the accounts whose ids stand for one, that are open and whose users may sign in.
    pub(crate) async fn roles_of_open(&self, ids: &[SessionId], now: Timestamp) -> Result<HashMap<SessionId, Role>> {
        let open: Vec<(SessionId, Role)> = read!(self, |connection| {
            sessions::table
                .inner_join(users::table)
                .filter(sessions::id.eq_any(ids))
                .filter(sessions::expires_at.gt(now))
                .filter(users::is_active)
                .select((sessions::id, users::role))
                .load(connection)
                .await?
        });
        let mut open: HashMap<SessionId, Role> = open.into_iter().collect();
        let others: Vec<SessionId> = ids.iter().copied().filter(|id| !open.contains_key(id)).collect();
        if !others.is_empty() {
            open.extend(self.standing_roles(&others).await?);
        }
        Ok(open)
    }

    /// The user's open sessions, newest first.
    pub(crate) async fn sessions(
        &self,
        user: UserId,
        after: Option<SessionId>,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<Page<Session>> {
        let rows: Vec<SessionRow> = read!(self, |connection| {
            let mut query = sessions::table
                .filter(sessions::user_id.eq(user))
                .filter(sessions::expires_at.gt(now))
                .order(sessions::id.desc())
                .limit(page.fetch())
                .select(SessionRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(sessions::id.lt(after));
            }
            query.load(connection).await?
        });
        let sessions = rows.into_iter().map(Session::from).collect();
        Ok(Page::cut(sessions, page, |session| session.id.to_string()))
    }

    /// Ends one of the user's sessions; false when it is not one of them.
    pub(crate) async fn end_session(&self, user: UserId, session: SessionId) -> Result<bool> {
        transaction!(self, "end_session", |connection| {
            let own = sessions::table.find(session).filter(sessions::user_id.eq(user));
            Ok(diesel::delete(own).execute(connection).await? > 0)
        })
    }

    /// Clears away sessions that have expired, so many at most, and returns how many there were.
    pub(crate) async fn clear_sessions(&self, most: i64, now: Timestamp) -> Result<usize> {
        transaction!(self, "clear_sessions", |connection| {
            let expired = sessions::table.filter(sessions::expires_at.le(now)).select(sessions::id).limit(most);
            let expired: Vec<SessionId> = expired.load(connection).await?;
            // One that was refreshed meanwhile stays.
            let expired = sessions::table.filter(sessions::id.eq_any(expired)).filter(sessions::expires_at.le(now));
            Ok(diesel::delete(expired).execute(connection).await?)
        })
    }
}
