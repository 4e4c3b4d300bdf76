//! Users who sign in elsewhere.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store, read,
    schema::{outside_users, users},
    transaction,
    user::{key, taken},
};
use crate::{
    error::{Error, Result},
    model::{ids::UserId, user::User},
};

impl Store {
    /// Whom an issuer means by a subject.
    pub(crate) async fn outside_user(&self, issuer: &str, subject: &str) -> Result<Option<UserId>> {
        Ok(read!(self, |connection| {
            outside_users::table
                .find((issuer, subject))
                .select(outside_users::user_id)
                .first(connection)
                .await
                .optional()?
        }))
    }

    /// Makes an account for a subject: a user whom no password fits.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the username, the email or the `subject` is taken.
    pub(crate) async fn insert_outside_user(&self, user: &User, issuer: &str, subject: &str) -> Result<()> {
        // Unique, and no email of anybody's.
        let email_key = if user.email.is_empty() { user.id.to_string() } else { key(&user.email) };
        transaction!(self, "insert_outside_user", |connection| {
            let row = (
                users::id.eq(user.id),
                users::username.eq(&user.username),
                users::username_key.eq(key(&user.username)),
                users::email.eq(&user.email),
                users::email_key.eq(&email_key),
                users::display_name.eq(&user.display_name),
                users::role.eq(user.role),
                users::is_active.eq(user.is_active),
                users::password_hash.eq(""),
                users::created_at.eq(user.created_at),
                users::updated_at.eq(user.updated_at),
            );
            diesel::insert_into(users::table).values(row).execute(connection).await.map_err(taken)?;
            let known = (
                outside_users::issuer.eq(issuer),
                outside_users::subject.eq(subject),
                outside_users::user_id.eq(user.id),
                outside_users::created_at.eq(user.created_at),
            );
            let added = diesel::insert_into(outside_users::table).values(known).on_conflict_do_nothing();
            // Of two who see a user first, one makes the account.
            if added.execute(connection).await? == 0 { Err(Error::AlreadyExists("subject")) } else { Ok(()) }
        })
    }
}
