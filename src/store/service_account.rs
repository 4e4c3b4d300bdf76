//! Service accounts and their API keys.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Store,
    admin::claim_admins,
    audit::note_act,
    page, read,
    schema::{service_accounts, users},
    transaction,
    user::key,
};
use crate::{
    error::{Error, Result},
    model::{
        audit::{Act, Details, details},
        clock::{Clock, Timestamp},
        credential::Digest,
        ids::UserId,
        page::{Page, PageRequest},
        scope::Scopes,
        service_account::ServiceAccount,
        user::Role,
    },
};

/// What people see of an account.
type AccountRow = (UserId, String, String, bool, Timestamp);

impl Store {
    /// Makes an account: a user whom no password fits and no email reaches.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the name is taken, [`Error::PermissionDenied`] when who acts is no admin any more.
    pub(crate) async fn insert_service_account(
        &self,
        act: &Act,
        account: &ServiceAccount,
        api_key: &Digest,
        clock: Clock,
    ) -> Result<()> {
        let known = details([("name", &account.name), ("scopes", &account.scopes.words().join(" "))]);
        transaction!(self, "insert_service_account", |connection| {
            let admins = claim_admins!(connection, account.id);
            // Told from here on, so that the log is in the order in which acts take effect.
            let now = clock.now();
            let user = (
                users::id.eq(account.id),
                users::username.eq(&account.name),
                users::username_key.eq(key(&account.name)),
                users::email.eq(""),
                // Unique, and no email of anybody's.
                users::email_key.eq(account.id.to_string()),
                users::display_name.eq(""),
                users::role.eq(Role::Service),
                users::is_active.eq(account.is_active),
                users::password_hash.eq(""),
                users::created_at.eq(account.created_at),
                users::updated_at.eq(account.created_at),
            );
            let verdict = if !admins.contains(&act.admin_id) {
                Err(Error::ROLE)
            } else if diesel::insert_into(users::table)
                .values(user)
                .on_conflict_do_nothing()
                .execute(connection)
                .await?
                == 0
            {
                // Of what is unique all but the name is new.
                Err(Error::AlreadyExists("username"))
            } else {
                Ok(())
            };
            note_act!(connection, act, verdict.as_ref().err(), &known, now);
            // The word of what was refused is to be committed as well.
            if verdict.is_err() {
                return Ok(verdict);
            }
            let own = (
                service_accounts::user_id.eq(account.id),
                service_accounts::key_hash.eq(api_key.as_bytes()),
                service_accounts::scopes.eq(account.scopes.words().join(" ")),
                service_accounts::created_at.eq(account.created_at),
            );
            diesel::insert_into(service_accounts::table).values(own).execute(connection).await?;
            Ok(verdict)
        })?
    }

    /// The accounts, newest first.
    pub(crate) async fn service_accounts(&self, request: &PageRequest) -> Result<Page<ServiceAccount>> {
        let after: Option<UserId> = page::after(request, |key| key.parse().ok())?;
        let rows: Vec<AccountRow> = read!(self, |connection| {
            let mut query = service_accounts::table
                .inner_join(users::table)
                .order(service_accounts::user_id.desc())
                .limit(request.fetch())
                .select((
                    users::id,
                    users::username,
                    service_accounts::scopes,
                    users::is_active,
                    service_accounts::created_at,
                ))
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(service_accounts::user_id.lt(after));
            }
            query.load(connection).await?
        });
        let accounts = rows.into_iter().map(|(id, name, words, is_active, created_at)| ServiceAccount {
            id,
            name,
            scopes: scopes(&words),
            is_active,
            created_at,
        });
        Ok(Page::cut(accounts.collect(), request, |account| account.id.to_string()))
    }

    /// Ends an account. Its user stays for what it wrote and owns, without a key and a claim to its name.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::PermissionDenied`] when who acts is no admin any more.
    pub(crate) async fn end_service_account(&self, act: &Act, id: UserId, clock: Clock) -> Result<()> {
        transaction!(self, "end_service_account", |connection| {
            let admins = claim_admins!(connection, id);
            let now = clock.now();
            let verdict = if !admins.contains(&act.admin_id) {
                Err(Error::ROLE)
            } else if diesel::delete(service_accounts::table.find(id)).execute(connection).await? == 0 {
                Err(Error::NotFound("service account"))
            } else {
                Ok(())
            };
            note_act!(connection, act, verdict.as_ref().err(), &Details::new(), now);
            // The word of what was refused is to be committed as well.
            if verdict.is_err() {
                return Ok(verdict);
            }
            diesel::update(users::table.find(id))
                .set((users::username_key.eq(id.to_string()), users::is_active.eq(false), users::updated_at.eq(now)))
                .execute(connection)
                .await?;
            Ok(verdict)
        })?
    }

    /// The account whose API key this is.
    pub(crate) async fn key_holder(&self, api_key: &Digest) -> Result<Option<UserId>> {
        Ok(read!(self, |connection| {
            service_accounts::table
                .filter(service_accounts::key_hash.eq(api_key.as_bytes()))
                .select(service_accounts::user_id)
                .first(connection)
                .await
                .optional()?
        }))
    }
}

/// Scopes as they are stored.
pub(super) fn scopes(words: &str) -> Scopes {
    Scopes::of(words.split_whitespace().map(str::to_owned))
}
