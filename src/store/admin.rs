//! Accounts as admins see and change them.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    audit::note_act,
    page, read,
    schema::{sessions, users},
    transaction,
    user::{UserRow, key, name_key, named_page},
};
use crate::{
    error::{Error, Result},
    model::{
        audit::{Act, Details, details},
        clock::Clock,
        ids::UserId,
        page::{Page, PageRequest},
        user::{AccountChange, Role, User, UserFilter},
    },
};

/// What is heard where nobody would be left who can administer.
pub(super) const LAST_ADMIN: Error = Error::FailedPrecondition("the last admin who can sign in has to stay one");
/// What is heard where somebody's role is not one of people.
const SERVICE: Error = Error::FailedPrecondition("the role of a service account does not change");

/// Begins a transaction that decides by which admins there are: changes the rows of all of them and of this account, so that
/// of two at once the second waits and finds what the first has done. Returns the admins who can sign in.
macro_rules! claim_admins {
    ($connection:ident, $user:expr) => {{
        use $crate::{model::user::Role, store::schema::users};
        diesel::update(users::table.filter(users::role.eq(Role::Admin).or(users::id.eq($user))))
            .set(users::role.eq(users::role))
            .execute($connection)
            .await?;
        let admins = users::table.filter(users::role.eq(Role::Admin)).filter(users::is_active).select(users::id);
        admins.load::<$crate::model::ids::UserId>($connection).await?
    }};
}

pub(super) use claim_admins;

impl Store {
    /// Changes an account for an admin, who must still be one. What was changed or refused stands in the audit log with it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`], and [`Error::FailedPrecondition`] for what must not be.
    pub(crate) async fn change_account(
        &self,
        act: &Act,
        user: UserId,
        change: AccountChange,
        clock: Clock,
    ) -> Result<User> {
        transaction!(self, "change_account", |connection| {
            let admins = claim_admins!(connection, user);
            // Told from here on, so that the log is in the order in which acts take effect.
            let now = clock.now();
            let account = users::table.find(user);
            let before: Option<UserRow> = account.select(UserRow::as_select()).first(connection).await.optional()?;
            let before = before.map(User::from).ok_or(Error::NotFound("user"));
            let verdict = before.and_then(|before| permit(act, &admins, before, change));
            let known = verdict.as_ref().map(was).unwrap_or_default();
            note_act!(connection, act, verdict.as_ref().err(), &known, now);
            // The word of what was refused is to be committed as well.
            let Ok(before) = verdict else { return Ok(verdict) };
            let (role, is_active) = match change {
                AccountChange::Role(role) => (role, before.is_active),
                AccountChange::Activity(is_active) => (before.role, is_active),
            };
            diesel::update(account)
                .set((users::role.eq(role), users::is_active.eq(is_active), users::updated_at.eq(now)))
                .execute(connection)
                .await?;
            if !is_active {
                diesel::delete(sessions::table.filter(sessions::user_id.eq(user))).execute(connection).await?;
            }
            Ok(Ok(User { role, is_active, updated_at: now, ..before }))
        })?
    }

    /// Refuses the last admin who can sign in what only another one could make good.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] for that one.
    pub(crate) async fn spare_last_admin(&self, user: UserId) -> Result<()> {
        let admins: Vec<UserId> = read!(self, |connection| {
            let admins = users::table.filter(users::role.eq(Role::Admin)).filter(users::is_active);
            admins.select(users::id).load(connection).await?
        });
        if admins == [user] { Err(LAST_ADMIN) } else { Ok(()) }
    }

    /// Accounts in order of their names.
    pub(crate) async fn accounts(&self, filter: &UserFilter, request: &PageRequest) -> Result<Page<User>> {
        let first = key(&filter.prefix);
        // No character of a username sorts after the tilde.
        let end = format!("{first}~");
        let after = page::after(request, name_key)?;
        let rows: Vec<(UserRow, String)> = read!(self, |connection| {
            let mut query = users::table
                .filter(users::username_key.ge(&first))
                .filter(users::username_key.lt(&end))
                .order(users::username_key)
                .limit(request.fetch())
                .select((UserRow::as_select(), users::username_key))
                .into_boxed();
            if let Some(after) = &after {
                query = query.filter(users::username_key.gt(after));
            }
            if let Some(role) = filter.role {
                query = query.filter(users::role.eq(role));
            }
            if let Some(is_active) = filter.is_active {
                query = query.filter(users::is_active.eq(is_active));
            }
            query.load(connection).await?
        });
        Ok(named_page(rows, request))
    }
}

/// Lets an account be changed that may be, given the admins who can sign in now.
fn permit(act: &Act, admins: &[UserId], before: User, change: AccountChange) -> Result<User> {
    let takes_admin_away = matches!(change, AccountChange::Role(Role::User) | AccountChange::Activity(false));
    if !admins.contains(&act.admin_id) {
        Err(Error::ROLE)
    } else if takes_admin_away && *admins == [before.id] {
        Err(LAST_ADMIN)
    } else if before.role == Role::Service && matches!(change, AccountChange::Role(_)) {
        Err(SERVICE)
    } else {
        Ok(before)
    }
}

/// What the log tells of an account as it was.
fn was(before: &User) -> Details {
    let state = if before.is_active { "active" } else { "deactivated" };
    details([("username", &before.username), ("role_before", before.role.as_str()), ("state_before", state)])
}
