//! What admins see and do. Whatever they do, or try, stands in the audit log.

use super::{identity::Identities, limits::Limits, text::nul_fault, users};
use crate::{
    error::{Error, Result},
    live::signal::Signal,
    model::{
        audit::{Act, AuditEntry, AuditFilter, Details, details},
        clock::{Clock, Day},
        counts::Counts,
        ids::UserId,
        page::{Page, PageRequest},
        usage::UserUsage,
        user::{AccountChange, User, UserFilter},
    },
    store::Store,
};

/// Characters of the beginning of a name that is looked for.
const PREFIX_LENGTH: usize = 32;

/// Administers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admins {
    store: Store,
    clock: Clock,
    identities: Identities,
    limits: Limits,
}

impl Admins {
    /// Identities and limits are those by which people are let in.
    pub fn new(store: Store, clock: Clock, identities: Identities, limits: Limits) -> Self {
        Self { store, clock, identities, limits }
    }

    /// Accounts in order of their names.
    pub(crate) async fn accounts(&self, filter: &UserFilter, page: &PageRequest) -> Result<Page<User>> {
        let is_long = filter.prefix.chars().count() > PREFIX_LENGTH;
        let fault = nul_fault(&filter.prefix).or(is_long.then_some("must be at most 32 characters"));
        Error::of_faults([("query", fault)])?;
        self.store.accounts(filter, page).await
    }

    /// Changes an account. Live connections feel it at once on nodes that share a Redis server, and within 5 s everywhere.
    pub(crate) async fn change(&self, act: &Act, user: UserId, change: AccountChange) -> Result<User> {
        let changed = self.store.change_account(act, user, change, self.clock).await?;
        match change {
            AccountChange::Role(role) => self.identities.tell(Signal::RoleChanged(user, role)).await,
            AccountChange::Activity(false) => self.identities.tell(Signal::UserEnded(user)).await,
            AccountChange::Activity(true) => {}
        }
        tracing::info!(user.id = %user, act.action = act.action.as_str(), "an admin changed an account");
        Ok(changed)
    }

    /// Forgets what a user has sent.
    pub(crate) async fn reset_limits(&self, act: &Act, user: UserId) -> Result<User> {
        let found = self.store.user(user).await?.ok_or(Error::NotFound("user"));
        let found = self.note(act, found, |user| details([("username", &user.username)])).await?;
        self.limits.reset(user).await;
        Ok(found)
    }

    /// Writes down an act that changes nothing in the store, before it is done, and what is told of what it is done to; or
    /// why it is refused.
    pub(crate) async fn note<T>(&self, act: &Act, verdict: Result<T>, tell: impl FnOnce(&T) -> Details) -> Result<T> {
        let known = verdict.as_ref().map(tell).unwrap_or_default();
        self.store.note_act(act, verdict.as_ref().err(), &known, self.clock).await?;
        verdict
    }

    /// What admins did and tried, newest first.
    pub(crate) async fn audit_log(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEntry>> {
        Error::of_faults([
            ("action", filter.action.as_deref().and_then(nul_fault)),
            ("target", filter.target.as_deref().and_then(nul_fault)),
        ])?;
        self.store.audit_log(filter, page).await
    }

    /// What answers cost from the first to the last day, everybody's or one user's, newest day first, then by user and model.
    pub(crate) async fn usage(
        &self,
        user: Option<UserId>,
        (from, to): (Option<Day>, Option<Day>),
        page: &PageRequest,
    ) -> Result<Page<UserUsage>> {
        let days = users::days(self.clock, from, to)?;
        self.store.usage(user, days, page).await
    }

    /// How many there are of what is stored.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        self.store.counts(self.clock.now()).await
    }
}
