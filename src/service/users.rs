//! Accounts as people see them: their own, and each other's public part.

use super::{identity::Identities, passwords::Passwords};
use crate::{
    error::{Error, Result},
    live::throttle::Throttle,
    model::{
        caller::Caller,
        clock::{Clock, Day},
        ids::UserId,
        page::{Page, PageRequest},
        usage::DailyUsage,
        user::{self, User, UserChanges},
    },
    store::Store,
};

/// Days of usage when the first is not named.
const USAGE_DAYS: u16 = 30;
/// Days of usage that one call reads at most.
const MAX_USAGE_DAYS: u16 = 366;

/// Reads and changes accounts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Users {
    store: Store,
    clock: Clock,
    passwords: Passwords,
    throttle: Throttle,
    identities: Identities,
}

impl Users {
    /// Throttle and identities are those that sign people in.
    pub fn new(store: Store, clock: Clock, passwords: Passwords, throttle: Throttle, identities: Identities) -> Self {
        Self { store, clock, passwords, throttle, identities }
    }

    /// An account; its email is for the user alone.
    pub(crate) async fn user(&self, id: UserId) -> Result<User> {
        self.store.user(id).await?.ok_or(Error::NotFound("user"))
    }

    /// Active users whose name begins with the query.
    pub(crate) async fn search(&self, query: &str, page: &PageRequest) -> Result<Page<User>> {
        if query.is_empty() || query.chars().count() > 32 {
            return Err(Error::invalid("query", "must be 1 to 32 characters"));
        }
        self.store.search_users(query, page).await
    }

    /// What the caller's messages cost from the first to the last day, by day and model.
    pub(crate) async fn usage(&self, caller: &Caller, from: Option<Day>, to: Option<Day>) -> Result<Vec<DailyUsage>> {
        let last = to.unwrap_or_else(|| self.clock.now().into());
        let first = from.unwrap_or_else(|| last.minus(USAGE_DAYS));
        if first > last || first < last.minus(MAX_USAGE_DAYS) {
            return Err(Error::invalid(
                "from",
                format!("must be at most {MAX_USAGE_DAYS} days before `to`, not after"),
            ));
        }
        self.store.daily_usage(caller.user_id, first, last).await
    }

    /// Changes the caller's account.
    pub(crate) async fn update(&self, caller: &Caller, changes: &UserChanges) -> Result<User> {
        Error::of_faults([
            ("username", changes.username.as_deref().and_then(user::username_fault)),
            ("email", changes.email.as_deref().and_then(user::email_fault)),
            ("display_name", changes.display_name.as_deref().and_then(user::display_name_fault)),
        ])?;
        let changed = self.store.update_user(caller.user_id, changes, self.clock.now()).await?;
        changed.ok_or(Error::NotFound("user"))
    }

    /// Changes the caller's password and ends every session but the caller's own. Wrong ones count as failures to sign
    /// in: a stolen session must not be a way to guess the password.
    pub(crate) async fn change_password(&self, caller: &Caller, current: String, new: String) -> Result<()> {
        Error::of_faults([("new_password", user::password_fault(&new))])?;
        self.throttle.admit(&caller.username, "").await?;
        let password_hash = self.store.password_hash(caller.user_id).await?;
        if !self.passwords.verify(current, password_hash).await? {
            return Err(Error::Unauthenticated("the current password is wrong"));
        }
        self.throttle.forgive(&caller.username, "").await;
        let new_hash = self.passwords.hash(new).await?;
        let now = self.clock.now();
        let ended = self.store.change_password(caller.user_id, caller.session_id, &new_hash, now).await?;
        self.identities.end(&ended).await;
        Ok(())
    }

    /// Deletes the caller's account, with the conversations that nobody else owns.
    pub(crate) async fn delete(&self, caller: &Caller) -> Result<()> {
        let ended = self.store.delete_user(caller.user_id).await?;
        self.identities.end(&ended).await;
        tracing::info!(user_id = %caller.user_id, "account deleted");
        Ok(())
    }
}
