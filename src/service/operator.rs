//! What an operator does to accounts at the machine itself, with the database and without a server. What was done stands in the
//! audit log.

use super::{accounts::Accounts, tokens::Tokens};
use crate::{
    error::{Error, Result},
    model::{
        audit::{Act, Action},
        clock::Clock,
        ids::SessionId,
        session::Session,
        user::{NewUser, Role, User},
    },
    store::Store,
};

/// What a session that an operator opened says about itself.
const USER_AGENT: &str = "colloquy token";

/// Acts on accounts by the right of whoever can read the database.
#[derive(Clone, Debug)]
pub struct Operator {
    store: Store,
    clock: Clock,
    accounts: Accounts,
    tokens: Tokens,
}

impl Operator {
    /// The tokens are those of the accounts.
    pub fn new(store: Store, clock: Clock, accounts: Accounts, tokens: Tokens) -> Self {
        Self { store, clock, accounts, tokens }
    }

    /// Makes an admin's account.
    ///
    /// # Errors
    /// As [`Accounts::create`].
    pub async fn create_admin(&self, new: NewUser) -> Result<User> {
        self.accounts.create(new, Role::Admin).await
    }

    /// Makes the account with this username or email an admin's.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::FailedPrecondition`] when it is a service's.
    pub async fn promote(&self, name: &str) -> Result<User> {
        let user = self.person(name).await?;
        if user.role == Role::User {
            let act = Act::of_operator(Action::PromoteUser, user.id);
            if !self.store.promote_user(&act, &user, self.clock.now()).await? {
                return Err(Error::NotFound("user"));
            }
            tracing::info!(user_id = %user.id, "account promoted");
        }
        Ok(User { role: Role::Admin, ..user })
    }

    /// An access token for the account with this username or email, of a session of its own, which ends with the token.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::FailedPrecondition`] when it is a service's or may not sign in.
    pub async fn token(&self, name: &str) -> Result<String> {
        let user = self.person(name).await?;
        if !user.is_active {
            return Err(Error::FailedPrecondition("the account is deactivated"));
        }
        let now = self.clock.now();
        let session = Session {
            id: SessionId::generate(),
            user_id: user.id,
            user_agent: USER_AGENT.to_owned(),
            address: String::new(),
            created_at: now,
            last_used_at: now,
            expires_at: now + self.tokens.ttl(),
        };
        self.store.insert_session(&Act::of_operator(Action::IssueToken, user.id), &session).await?;
        tracing::info!(user_id = %user.id, session.id = %session.id, "token issued");
        self.tokens.sign(user.id, session.id).await
    }

    async fn person(&self, name: &str) -> Result<User> {
        let (user, _) = self.store.account(name).await?.ok_or(Error::NotFound("user"))?;
        match user.role {
            Role::User | Role::Admin => Ok(user),
            Role::Service => Err(Error::FailedPrecondition("a service account has an API key instead")),
        }
    }
}
