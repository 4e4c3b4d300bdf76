//! Accounts.

use diesel::{
    dsl::{exists, not},
    prelude::*,
    result::{DatabaseErrorKind, Error as DieselError},
};
use diesel_async::RunQueryDsl;

use super::{
    Store,
    admin::{LAST_ADMIN, claim_admins},
    audit::note_act,
    page, read,
    schema::{conversations, members, messages, push_subscriptions, sessions, users},
    transaction, write,
};
use crate::{
    error::{Error, Result},
    model::{
        audit::{Act, details},
        clock::Timestamp,
        conversation::MemberRole,
        ids::{ConversationId, MessageId, SessionId, UserId},
        page::{Page, PageRequest},
        user::{self, Role, User, UserChanges},
    },
};

/// The columns of an account that people see.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
pub(super) struct UserRow {
    id: UserId,
    username: String,
    email: String,
    display_name: String,
    role: Role,
    is_active: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            username: row.username,
            email: row.email,
            display_name: row.display_name,
            role: row.role,
            is_active: row.is_active,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A row to insert.
#[derive(Insertable)]
#[diesel(table_name = users)]
struct NewUserRow<'a> {
    id: UserId,
    username: &'a str,
    username_key: String,
    email: &'a str,
    email_key: String,
    display_name: &'a str,
    role: Role,
    is_active: bool,
    password_hash: &'a str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Columns to change; `None` leaves one as it is.
#[derive(AsChangeset)]
#[diesel(table_name = users)]
struct ChangedUserRow<'a> {
    username: Option<&'a str>,
    username_key: Option<String>,
    email: Option<&'a str>,
    email_key: Option<String>,
    display_name: Option<&'a str>,
    updated_at: Timestamp,
}

/// What ended with an account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departure {
    /// Its sessions.
    pub(crate) sessions: Vec<SessionId>,
    /// The conversations that nobody else owned.
    pub(crate) conversations: Vec<ConversationId>,
    /// The runs that lasted in them.
    pub(crate) runs: Vec<MessageId>,
}

/// The conversations that a user owns and nobody else does.
macro_rules! owned_alone {
    ($user:expr) => {{
        let owners = members::table
            .filter(members::conversation_id.eq(conversations::id))
            .filter(members::role.eq(MemberRole::Owner));
        conversations::table
            .filter(exists(owners.filter(members::user_id.eq($user))))
            .filter(not(exists(owners.filter(members::user_id.ne($user)))))
    }};
}

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the username or the email is taken.
    pub(crate) async fn insert_user(&self, user: &User, password_hash: &str, act: Option<&Act>) -> Result<()> {
        let row = NewUserRow {
            id: user.id,
            username: &user.username,
            username_key: key(&user.username),
            email: &user.email,
            email_key: key(&user.email),
            display_name: &user.display_name,
            role: user.role,
            is_active: user.is_active,
            password_hash,
            created_at: user.created_at,
            updated_at: user.updated_at,
        };
        transaction!(self, "insert_user", |connection| {
            diesel::insert_into(users::table).values(&row).execute(connection).await.map_err(taken)?;
            if let Some(act) = act {
                note_act!(connection, act, None, &details([("username", &user.username)]), user.created_at);
            }
            Ok(())
        })
    }

    /// An account as everybody may see it; the email is for the rules to withhold.
    pub(crate) async fn user(&self, id: UserId) -> Result<Option<User>> {
        let row: Option<UserRow> = read!(self, |connection| {
            users::table.find(id).select(UserRow::as_select()).first(connection).await.optional()?
        });
        Ok(row.map(Into::into))
    }

    /// The account with this username or email, and the hash of its password if it has one: for who signs in.
    pub(crate) async fn account(&self, name: &str) -> Result<Option<(User, Option<String>)>> {
        let key = key(name);
        let row: Option<(UserRow, String)> = read!(self, |connection| {
            users::table
                .filter(users::username_key.eq(&key).or(users::email_key.eq(&key)))
                .select((UserRow::as_select(), users::password_hash))
                .first(connection)
                .await
                .optional()?
        });
        Ok(row.map(|(user, password_hash)| (user.into(), Some(password_hash).filter(|hash| !hash.is_empty()))))
    }

    /// Makes a person's account an admin's, by this act; false when it is no person's any more.
    pub(crate) async fn promote_user(&self, act: &Act, user: &User, now: Timestamp) -> Result<bool> {
        transaction!(self, "promote_user", |connection| {
            let person = users::table.find(user.id).filter(users::role.eq(Role::User));
            let promoted = diesel::update(person).set((users::role.eq(Role::Admin), users::updated_at.eq(now)));
            let is_promoted = promoted.execute(connection).await? > 0;
            if is_promoted {
                note_act!(connection, act, None, &details([("username", &user.username)]), now);
            }
            Ok(is_promoted)
        })
    }

    /// The hash of the user's own password, if there is one.
    pub(crate) async fn password_hash(&self, user: UserId) -> Result<Option<String>> {
        Ok(read!(self, |connection| {
            let own = users::table.find(user).filter(users::password_hash.ne(""));
            own.select(users::password_hash).first(connection).await.optional()?
        }))
    }

    /// Changes the user's own account; `None` when it is gone.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the new username or email is taken.
    pub(crate) async fn update_user(
        &self,
        user: UserId,
        changes: &UserChanges,
        now: Timestamp,
    ) -> Result<Option<User>> {
        let row = ChangedUserRow {
            username: changes.username.as_deref(),
            username_key: changes.username.as_deref().map(key),
            email: changes.email.as_deref(),
            email_key: changes.email.as_deref().map(key),
            display_name: changes.display_name.as_deref(),
            updated_at: now,
        };
        let row: Option<UserRow> = write!(self, |connection| {
            diesel::update(users::table.find(user))
                .set(&row)
                .returning(UserRow::as_returning())
                .get_result(connection)
                .await
                .optional()
                .map_err(taken)?
        });
        Ok(row.map(Into::into))
    }

    /// Changes the user's own password from the one behind the hash `old`, which was checked before, forgets the browsers that
    /// are registered for pushes, and ends every session but `kept`; returns those that ended, `None` when the password was changed meanwhile.
    pub(crate) async fn change_password(
        &self,
        user: UserId,
        kept: SessionId,
        (old, new): (&str, &str),
        now: Timestamp,
    ) -> Result<Option<Vec<SessionId>>> {
        transaction!(self, "change_password", |connection| {
            let changed = diesel::update(users::table.find(user).filter(users::password_hash.eq(old)))
                .set((users::password_hash.eq(new), users::updated_at.eq(now)))
                .execute(connection)
                .await?;
            if changed == 0 {
                return Ok(None);
            }
            let browsers = push_subscriptions::table.filter(push_subscriptions::user_id.eq(user));
            diesel::delete(browsers).execute(connection).await?;
            let others = sessions::table.filter(sessions::user_id.eq(user)).filter(sessions::id.ne(kept));
            Ok(Some(diesel::delete(others).returning(sessions::id).get_results(connection).await?))
        })
    }

    /// The runs that last in conversations which nobody but the user owns.
    pub(crate) async fn runs_of_owner(&self, user: UserId) -> Result<Vec<(ConversationId, MessageId)>> {
        Ok(read!(self, |connection| {
            owned_alone!(user)
                .inner_join(messages::table)
                .filter(messages::lease_owner.is_not_null())
                .select((conversations::id, messages::id))
                .load(connection)
                .await?
        }))
    }

    /// Deletes the user's own account and the conversations that nobody else owns.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] for the last admin who can sign in.
    pub(crate) async fn delete_user(&self, user: UserId) -> Result<Departure> {
        transaction!(self, "delete_user", |connection| {
            if claim_admins!(connection, user) == [user] {
                return Err(LAST_ADMIN);
            }
            // Comes first: of two owners who leave a conversation at once, the second finds that it is alone with it.
            let owned = members::table
                .filter(members::user_id.eq(user))
                .filter(members::role.eq(MemberRole::Owner))
                .select(members::conversation_id);
            diesel::update(conversations::table.filter(conversations::id.eq_any(owned)))
                .set(conversations::last_seq.eq(conversations::last_seq))
                .execute(connection)
                .await?;
            let sessions =
                sessions::table.filter(sessions::user_id.eq(user)).select(sessions::id).load(connection).await?;
            let runs = owned_alone!(user)
                .inner_join(messages::table)
                .filter(messages::lease_owner.is_not_null())
                .select(messages::id)
                .load(connection)
                .await?;
            let orphans = diesel::delete(owned_alone!(user)).returning(conversations::id);
            let conversations = orphans.get_results(connection).await?;
            diesel::delete(users::table.find(user)).execute(connection).await?;
            Ok(Departure { sessions, conversations, runs })
        })
    }

    /// Active accounts whose username begins with `prefix`, in order of the name.
    pub(crate) async fn search_users(&self, prefix: &str, request: &PageRequest) -> Result<Page<User>> {
        let first = key(prefix);
        // No character of a username sorts after the tilde.
        let end = format!("{first}~");
        let after = page::after(request, name_key)?.unwrap_or_default();
        let rows: Vec<(UserRow, String)> = read!(self, |connection| {
            users::table
                .filter(users::username_key.ge(&first))
                .filter(users::username_key.lt(&end))
                .filter(users::username_key.gt(&after))
                .filter(users::is_active)
                .order(users::username_key)
                .limit(request.fetch())
                .select((UserRow::as_select(), users::username_key))
                .load(connection)
                .await?
        });
        Ok(named_page(rows, request))
    }
}

/// Names are unique, and found, without regard to case.
pub(super) fn key(name: &str) -> String {
    name.to_lowercase()
}

/// Reads the key that [`named_page`] wrote: a name, or what an ended service account has in its place.
pub(super) fn name_key(key: &str) -> Option<String> {
    let is_key = user::username_fault(key).is_none() || key.parse::<UserId>().is_ok();
    is_key.then(|| key.to_owned())
}

/// A page of accounts in order of the keys by which their names are found.
pub(super) fn named_page(rows: Vec<(UserRow, String)>, request: &PageRequest) -> Page<User> {
    let Page { entries, next } = Page::cut(rows, request, |(_, key)| key.clone());
    Page { entries: entries.into_iter().map(|(row, _)| row.into()).collect(), next }
}

/// Names what is taken: PostgreSQL tells the constraint, SQLite the column.
pub(super) fn taken(error: DieselError) -> Error {
    if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, details) = &error {
        let constraint = details.constraint_name().unwrap_or_else(|| details.message());
        for (what, names) in
            [("username", ["users_username", "users.username_key"]), ("email", ["users_email", "users.email_key"])]
        {
            if names.iter().any(|name| constraint.ends_with(name)) {
                return Error::AlreadyExists(what);
            }
        }
    }
    error.into()
}
