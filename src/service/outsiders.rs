//! Users who come with tokens of outside issuers: known again, and made when they are first seen.

use std::time::Duration;

use moka::future::Cache;

use super::{content, text::nul_fault};
use crate::{
    config::ContentPolicy,
    error::{Error, Result},
    issuer::{Issuers, Vouched},
    model::{
        clock::{Clock, Timestamp},
        ids::UserId,
        user::{self, Role, User},
    },
    store::Store,
};

/// How long it is remembered whom a subject is.
const FRESH_FOR: Duration = Duration::from_secs(3);
/// Subjects that are remembered at most.
const CAPACITY: u64 = 100_000;
/// Names that are tried for a new user.
const TRIES: usize = 4;
/// Characters of a name that the issuer told, so that there is room for what makes it unique.
const NAME_LENGTH: usize = 24;

/// Knows the users of outside issuers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outsiders {
    store: Store,
    clock: Clock,
    issuers: Issuers,
    policy: ContentPolicy,
    known: Cache<(String, String), UserId>,
}

impl Outsiders {
    /// Lets in whom these issuers vouch for.
    pub fn new(store: Store, clock: Clock, issuers: Issuers, policy: ContentPolicy) -> Self {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(FRESH_FOR).build();
        Self { store, clock, issuers, policy, known }
    }

    /// Whose token this is, and until when it is good; `None` when no outside issuer made it.
    pub(crate) async fn recognise(&self, token: &str) -> Result<Option<(UserId, Timestamp)>> {
        let Some(vouched) = self.issuers.read(token).await? else { return Ok(None) };
        let name = (vouched.issuer.clone(), vouched.subject.clone());
        if let Some(user) = self.known.get(&name).await {
            return Ok(Some((user, vouched.expires_at)));
        }
        let user = match self.store.outside_user(&vouched.issuer, &vouched.subject).await? {
            Some(user) => user,
            None => self.welcome(&vouched).await?,
        };
        self.known.insert(name, user).await;
        Ok(Some((user, vouched.expires_at)))
    }

    /// Makes an account for somebody who was never here. Who has the email already is somebody else: whoever could have an
    /// issuer write it would have their account.
    async fn welcome(&self, vouched: &Vouched) -> Result<UserId> {
        let now = self.clock.now();
        let usable = |email: &&String| user::email_fault(email).is_none() && nul_fault(email).is_none();
        let is_fit = |name: &String| {
            user::display_name_fault(name).is_none() && content::check(self.policy, "display_name", name).is_ok()
        };
        let display_name = vouched.display_name.clone().filter(is_fit);
        let name = username(vouched);
        let mut new = User {
            id: UserId::generate(),
            username: name.clone(),
            email: vouched.email.as_ref().filter(usable).cloned().unwrap_or_default(),
            display_name: display_name.unwrap_or_default(),
            role: Role::User,
            is_active: true,
            created_at: now,
            updated_at: now,
        };
        for _ in 0..TRIES {
            match self.store.insert_outside_user(&new, &vouched.issuer, &vouched.subject).await {
                Ok(()) => {
                    tracing::info!(user_id = %new.id, issuer = vouched.issuer, "account created for an outside user");
                    return Ok(new.id);
                }
                Err(Error::AlreadyExists("username")) => {
                    new.username = format!("{name}-{:06x}", rand::random::<u32>() >> 8)
                }
                Err(Error::AlreadyExists("email")) => new.email.clear(),
                Err(Error::AlreadyExists(_)) => break,
                Err(error) => return Err(error),
            }
        }
        let made = self.store.outside_user(&vouched.issuer, &vouched.subject).await?;
        made.ok_or_else(|| Error::internal(anyhow::anyhow!("no name was free for an outside user")))
    }
}

/// A username as the issuer would have it, of the characters that one may have.
fn username(vouched: &Vouched) -> String {
    let email = vouched.email.as_deref().and_then(|email| email.split('@').next());
    let told = vouched.username.as_deref().or(email).unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
    let name: String = told.split('@').next().unwrap_or_default().chars().filter(plain).take(NAME_LENGTH).collect();
    if user::username_fault(&name).is_none() { name } else { "user".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_is_made_of_what_the_issuer_tells() {
        for (username_told, email, wanted) in [
            (Some("ada.l"), Some("x@example.com"), "ada.l"),
            (Some("Ada Lovelace"), None, "AdaLovelace"),
            (Some("ada@example.com"), None, "ada"),
            (None, Some("ada@example.com"), "ada"),
            (Some("é"), None, "user"),
            (None, None, "user"),
            (Some("abcdefghijklmnopqrstuvwxyz0123456789"), None, "abcdefghijklmnopqrstuvwx"),
        ] {
            let vouched = Vouched {
                issuer: "i".to_owned(),
                subject: "s".to_owned(),
                expires_at: Timestamp::NEVER,
                username: username_told.map(str::to_owned),
                display_name: None,
                email: email.map(str::to_owned),
            };
            assert_eq!(username(&vouched), wanted);
        }
    }
}
