//! Accounts as people see them: their own, and each other's public part.

use super::{content, identity::Identities, passwords::Passwords, runs::Runs};
use crate::{
    config::ContentPolicy,
    error::{Error, Result},
    live::{
        signal::{Signal, Signals},
        throttle::Throttle,
    },
    model::{
        caller::Caller,
        clock::{Clock, Day},
        conversation::{MemberRole, Membership},
        ids::UserId,
        page::{Page, PageRequest},
        usage::DailyUsage,
        user::{self, User, UserChanges},
    },
    store::{Departure, Store},
};

/// Days of usage when the first is not named.
const USAGE_DAYS: u16 = 30;
/// Days of usage that one call reads at most.
const MAX_USAGE_DAYS: u16 = 366;

/// What somebody hears who does not know the password that is to be changed.
const WRONG_PASSWORD: Error = Error::Unauthenticated("the current password is wrong");

/// What accounts are changed with.
#[derive(Clone)]
pub struct Parts {
    /// Where accounts are kept.
    pub store: Store,
    /// Tells the time.
    pub clock: Clock,
    /// Checks passwords.
    pub passwords: Passwords,
    /// Holds sign-in back.
    pub throttle: Throttle,
    /// Knows who is signed in.
    pub identities: Identities,
    /// Tells which sessions end with an account.
    pub signals: Signals,
    /// Ends the runs that an account leaves behind.
    pub runs: Runs,
    /// What happens to markup.
    pub policy: ContentPolicy,
}

/// Reads and changes accounts. Cheap to clone.
#[derive(Clone)]
pub struct Users(Parts);

impl Users {
    /// Throttle and identities are those that sign people in.
    pub fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// An account; its email is for the user alone.
    pub(crate) async fn user(&self, id: UserId) -> Result<User> {
        self.0.store.user(id).await?.ok_or(Error::NotFound("user"))
    }

    /// Active users whose name begins with the query.
    pub(crate) async fn search(&self, query: &str, page: &PageRequest) -> Result<Page<User>> {
        Error::of_faults([("query", user::name_query_fault(query))])?;
        self.0.store.search_users(query, page).await
    }

    /// What the caller's messages cost from the first to the last day, by day and model.
    pub(crate) async fn usage(&self, caller: &Caller, from: Option<Day>, to: Option<Day>) -> Result<Vec<DailyUsage>> {
        let (first, last) = days(self.0.clock, from, to)?;
        self.0.store.daily_usage(caller.user_id, first, last).await
    }

    /// Changes the caller's account.
    pub(crate) async fn update(&self, caller: &Caller, changes: &UserChanges) -> Result<User> {
        Error::of_faults([
            ("username", changes.username.as_deref().and_then(user::username_fault)),
            ("email", changes.email.as_deref().and_then(user::email_fault)),
            ("display_name", changes.display_name.as_deref().and_then(user::display_name_fault)),
        ])?;
        content::check(self.0.policy, "display_name", changes.display_name.as_deref().unwrap_or_default())?;
        let changed = self.0.store.update_user(caller.user_id, changes, self.0.clock.now()).await?;
        changed.ok_or(Error::NotFound("user"))
    }

    /// Changes the caller's password and ends every session but the caller's own. Wrong ones count as failures to sign
    /// in: a stolen session must not be a way to guess the password.
    pub(crate) async fn change_password(&self, caller: &Caller, current: String, new: String) -> Result<()> {
        Error::of_faults([("new_password", user::password_fault(&new))])?;
        self.0.throttle.admit(&caller.username, "").await?;
        let old_hash = self.0.store.password_hash(caller.user_id).await?;
        let matches = self.0.passwords.verify(current, old_hash.clone()).await?;
        let old_hash = old_hash.filter(|_| matches).ok_or(WRONG_PASSWORD)?;
        self.0.throttle.forgive(&caller.username, "").await;
        let new_hash = self.0.passwords.hash(new).await?;
        let now = self.0.clock.now();
        let hashes = (old_hash.as_str(), new_hash.as_str());
        let ended = self.0.store.change_password(caller.user_id, caller.session_id, hashes, now).await?;
        self.0.identities.end(&ended.ok_or(WRONG_PASSWORD)?).await;
        Ok(())
    }

    /// Deletes the caller's account, with the conversations that nobody else owns. Who sees these live is told, and their
    /// runs are to end.
    pub(crate) async fn delete(&self, caller: &Caller) -> Result<()> {
        // Asked before anything is stopped; decided when the account is deleted.
        self.0.store.spare_last_admin(caller.user_id).await?;
        // Most are stopped before: what is deleted keeps the log waiting.
        for (conversation_id, run) in self.0.store.runs_of_owner(caller.user_id).await? {
            let membership = Membership { conversation_id, user_id: caller.user_id, role: MemberRole::Owner };
            self.0.runs.ask_to_stop(&membership, run).await?;
        }
        let Departure { sessions, conversations, runs } = self.0.store.delete_user(caller.user_id).await?;
        for run in runs {
            // The word that the store would keep is gone with the message.
            self.0.runs.hurry(run);
        }
        for conversation in conversations {
            self.0.signals.send(Signal::ConversationEnded(conversation));
        }
        self.0.identities.end(&sessions).await;
        // Whoever calls without a session is known by the account alone.
        self.0.identities.tell(Signal::UserEnded(caller.user_id)).await;
        tracing::info!(user_id = %caller.user_id, "account deleted");
        Ok(())
    }
}

/// The first and the last day of usage that is asked for.
pub(super) fn days(clock: Clock, from: Option<Day>, to: Option<Day>) -> Result<(Day, Day)> {
    let last = to.unwrap_or_else(|| clock.now().into());
    let first = from.unwrap_or_else(|| last.minus(USAGE_DAYS));
    if first > last || first < last.minus(MAX_USAGE_DAYS) {
        return Err(Error::invalid("from", format!("must be at most {MAX_USAGE_DAYS} days before `to`, not after")));
    }
    Ok((first, last))
}
