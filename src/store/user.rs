//! Accounts.

use diesel::{
    dsl::{exists, not},
    prelude::*,
    result::{DatabaseErrorKind, Error as DieselError},
};
use diesel_async::RunQueryDsl;

use super::{
    Store, read,
    schema::{conversations, members, sessions, users},
    transaction, write,
};
use crate::{
    error::{Error, Result},
    model::{
        clock::Timestamp,
        conversation::MemberRole,
        ids::{SessionId, UserId},
        page::{Page, PageRequest},
        user::{Role, User, UserChanges},
    },
};

/// The columns of an account that people see.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
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

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the username or the email is taken.
    pub(crate) async fn insert_user(&self, user: &User, password_hash: &str) -> Result<()> {
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
        write!(self, |connection| {
            diesel::insert_into(users::table).values(&row).execute(connection).await.map_err(taken)?
        });
        Ok(())
    }

    /// An account as everybody may see it; the email is for the rules to withhold.
    pub(crate) async fn user(&self, id: UserId) -> Result<Option<User>> {
        let row: Option<UserRow> = read!(self, |connection| {
            users::table.find(id).select(UserRow::as_select()).first(connection).await.optional()?
        });
        Ok(row.map(Into::into))
    }

    /// The account with this username or email, and the hash of its password: for who signs in.
    pub(crate) async fn account(&self, name: &str) -> Result<Option<(User, String)>> {
        let key = key(name);
        let row: Option<(UserRow, String)> = read!(self, |connection| {
            users::table
                .filter(users::username_key.eq(&key).or(users::email_key.eq(&key)))
                .select((UserRow::as_select(), users::password_hash))
                .first(connection)
                .await
                .optional()?
        });
        Ok(row.map(|(user, password_hash)| (user.into(), password_hash)))
    }

    /// The hash of the user's own password.
    pub(crate) async fn password_hash(&self, user: UserId) -> Result<Option<String>> {
        Ok(read!(self, |connection| {
            users::table.find(user).select(users::password_hash).first(connection).await.optional()?
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

    /// Changes the user's own password and ends every session but `kept`; returns those that ended.
    pub(crate) async fn change_password(
        &self,
        user: UserId,
        kept: SessionId,
        password_hash: &str,
        now: Timestamp,
    ) -> Result<Vec<SessionId>> {
        transaction!(self, "change_password", |connection| {
            diesel::update(users::table.find(user))
                .set((users::password_hash.eq(password_hash), users::updated_at.eq(now)))
                .execute(connection)
                .await?;
            let others = sessions::table.filter(sessions::user_id.eq(user)).filter(sessions::id.ne(kept));
            Ok(diesel::delete(others).returning(sessions::id).get_results(connection).await?)
        })
    }

    /// Deletes the user's own account and the conversations that nobody else owns; returns the sessions that ended.
    pub(crate) async fn delete_user(&self, user: UserId) -> Result<Vec<SessionId>> {
        transaction!(self, "delete_user", |connection| {
            let ended =
                sessions::table.filter(sessions::user_id.eq(user)).select(sessions::id).load(connection).await?;
            let owners = members::table
                .filter(members::conversation_id.eq(conversations::id))
                .filter(members::role.eq(MemberRole::Owner));
            let orphans = conversations::table
                .filter(exists(owners.filter(members::user_id.eq(user))))
                .filter(not(exists(owners.filter(members::user_id.ne(user)))));
            diesel::delete(orphans).execute(connection).await?;
            diesel::delete(users::table.find(user)).execute(connection).await?;
            Ok(ended)
        })
    }

    /// Active accounts whose username begins with `prefix`, in order of the name.
    pub(crate) async fn search_users(&self, prefix: &str, page: &PageRequest) -> Result<Page<User>> {
        let first = key(prefix);
        // No character of a username sorts after the tilde.
        let end = format!("{first}~");
        let after = page.after.clone().unwrap_or_default();
        let rows: Vec<UserRow> = read!(self, |connection| {
            users::table
                .filter(users::username_key.ge(&first))
                .filter(users::username_key.lt(&end))
                .filter(users::username_key.gt(&after))
                .filter(users::is_active)
                .order(users::username_key)
                .limit(page.fetch())
                .select(UserRow::as_select())
                .load(connection)
                .await?
        });
        let users = rows.into_iter().map(User::from).collect();
        Ok(Page::cut(users, page, |user| key(&user.username)))
    }
}

/// Names are unique, and found, without regard to case.
fn key(name: &str) -> String {
    name.to_lowercase()
}

/// Names what is taken: PostgreSQL tells the constraint, SQLite the column.
fn taken(error: DieselError) -> Error {
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
