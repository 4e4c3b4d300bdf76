//! Accounts and their credentials: sign-up, sign-in, sessions, and what a credential is worth.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::{identity::Identities, outsiders::Outsiders, passwords::Passwords, text::nul_fault, tokens::Tokens};
use crate::{
    config::Registration,
    error::{Error, Result},
    live::{
        signal::Signal,
        throttle::Throttle,
        ticket::{Grant, Tickets},
    },
    model::{
        audit::{Act, Action},
        caller::{Caller, Origin},
        clock::{Clock, Timestamp},
        credential::{self, Digest},
        ids::{SessionId, UserId},
        key::PublicKey,
        page::{Page, PageRequest},
        session::{Identity, Session},
        user::{self, NewUser, Role, User},
    },
    store::{Rotation, Store},
};

/// Characters that are kept of what a client says about itself.
const USER_AGENT_LENGTH: usize = 256;
/// Expired sessions that one transaction clears away at most.
const CLEARED_AT_ONCE: i64 = 500;
/// What everybody hears whose session is gone.
const SIGNED_OUT: Error = Error::Unauthenticated("the session has ended");
/// What everybody hears whose API key is none, or not any more.
const NO_KEY: Error = Error::Unauthenticated("the API key is not valid");
/// What everybody hears who cannot sign in, whatever the cause.
const NOT_SIGNED_IN: Error = Error::Unauthenticated("the username or the password is wrong");
/// What everybody hears who shows a refresh token that is not good, or not any more.
const NOT_REFRESHED: Error = Error::Unauthenticated("the refresh token is not valid");

/// What accounts are made from.
#[derive(Debug)]
pub struct Parts {
    /// Where accounts and sessions are kept.
    pub store: Store,
    /// Tells the time.
    pub clock: Clock,
    /// Signs access tokens.
    pub tokens: Tokens,
    /// Checks passwords.
    pub passwords: Passwords,
    /// Issues tickets.
    pub tickets: Tickets,
    /// Holds sign-in back.
    pub throttle: Throttle,
    /// Knows who is signed in.
    pub identities: Identities,
    /// Knows who signs in elsewhere.
    pub outsiders: Outsiders,
    /// Who may register.
    pub registration: Registration,
    /// How long a session lasts without a refresh.
    pub session_ttl: Duration,
}

/// Signs people in and tells who they are. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Parts>);

/// The tokens of a session.
pub(crate) struct TokenPair {
    /// A JWT.
    pub(crate) access_token: String,
    /// Opaque, good once.
    pub(crate) refresh_token: String,
    /// The access token's life.
    pub(crate) expires_in: Duration,
}

impl Accounts {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Makes an account for whoever asks.
    pub(crate) async fn register(&self, new: NewUser) -> Result<User> {
        match self.0.registration {
            Registration::Open => self.create(new, Role::User).await,
            Registration::Closed => Err(Error::PermissionDenied("registration is closed")),
        }
    }

    /// Makes an account. Only the operator makes an admin's, which then stands in the audit log.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every fault, [`Error::AlreadyExists`] when the name or the email is taken.
    pub async fn create(&self, new: NewUser, role: Role) -> Result<User> {
        Error::of_faults([
            ("username", user::username_fault(&new.username)),
            ("email", user::email_fault(&new.email)),
            ("password", user::password_fault(&new.password)),
        ])?;
        let password_hash = self.0.passwords.hash(new.password).await?;
        let now = self.0.clock.now();
        let user = User {
            id: UserId::generate(),
            username: new.username,
            email: new.email,
            display_name: String::new(),
            role,
            is_active: true,
            created_at: now,
            updated_at: now,
        };
        let act = (role == Role::Admin).then(|| Act::of_operator(Action::CreateAdmin, user.id));
        self.0.store.insert_user(&user, &password_hash, act.as_ref()).await?;
        tracing::info!(user_id = %user.id, user.role = role.as_str(), "account created");
        Ok(user)
    }

    /// Makes the first admin unless there is an account of that name, which stays as it is.
    ///
    /// # Errors
    /// As [`Accounts::create`], and when the email is another account's.
    pub async fn ensure_admin(&self, admin: NewUser) -> Result<()> {
        if self.0.store.account(&admin.username).await?.is_some() {
            return Ok(());
        }
        match self.create(admin, Role::Admin).await {
            // Another node was first.
            Ok(_) | Err(Error::AlreadyExists("username")) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens a session for whoever knows the password. A wrong name, a wrong password and an account that may not sign
    /// in are told apart neither by the answer nor by the time it takes.
    pub(crate) async fn login(&self, name: &str, password: String, origin: &Origin) -> Result<(TokenPair, User)> {
        Error::of_faults([("username", nul_fault(name))])?;
        self.0.throttle.admit(name, &origin.address).await?;
        let (user, password_hash) = self.0.store.account(name).await?.unzip();
        let password_hash = password_hash.flatten();
        let matches = self.0.passwords.verify(password, password_hash.clone()).await?;
        let found = user.zip(password_hash).filter(|(user, _)| matches && user.is_active);
        let (user, password_hash) = found.ok_or(NOT_SIGNED_IN)?;
        self.0.throttle.forgive(name, &origin.address).await;

        let now = self.0.clock.now();
        let session = Session {
            id: SessionId::generate(),
            user_id: user.id,
            user_agent: origin.user_agent.chars().take(USER_AGENT_LENGTH).collect(),
            address: origin.address.clone(),
            created_at: now,
            last_used_at: now,
            expires_at: now + self.0.session_ttl,
        };
        let refresh_token = credential::generate(credential::REFRESH_TOKEN);
        if !self.0.store.open_session(&session, &password_hash, &Digest::of(&refresh_token)).await? {
            return Err(NOT_SIGNED_IN);
        }
        tracing::info!(user_id = %user.id, session.id = %session.id, "signed in");
        Ok((self.token_pair(user.id, session.id, refresh_token).await?, user))
    }

    /// Exchanges a refresh token for a new pair of tokens; one that was used before ends its session.
    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<TokenPair> {
        let fresh = credential::generate(credential::REFRESH_TOKEN);
        let (shown, kept) = (Digest::of(refresh_token), Digest::of(&fresh));
        match self.0.store.rotate_refresh_token(&shown, &kept, self.0.clock.now(), self.0.session_ttl).await? {
            Rotation::Rotated { session_id, user_id } => self.token_pair(user_id, session_id, fresh).await,
            Rotation::Reused(session_id) => {
                self.0.identities.end(&[session_id]).await;
                tracing::warn!(session.id = %session_id, "a used refresh token was shown again, session ended");
                Err(NOT_REFRESHED)
            }
            Rotation::Unknown => Err(NOT_REFRESHED),
        }
    }

    /// Ends the caller's session.
    pub(crate) async fn logout(&self, caller: &Caller) -> Result<()> {
        self.0.store.end_session(caller.user_id, caller.session_id).await?;
        self.0.identities.end(&[caller.session_id]).await;
        Ok(())
    }

    /// Clears away the sessions of people who never came back.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn clear_sessions(&self) -> Result<()> {
        let now = self.0.clock.now();
        while self.0.store.clear_sessions(CLEARED_AT_ONCE, now).await? > 0 {}
        Ok(())
    }

    /// The caller's open sessions, newest first.
    pub(crate) async fn sessions(&self, caller: &Caller, page: &PageRequest) -> Result<Page<Session>> {
        let after = page.after.as_deref().map(str::parse).transpose();
        let after = after.map_err(|_| Error::invalid("page_token", "is not a token of this list"))?;
        self.0.store.sessions(caller.user_id, after, page, self.0.clock.now()).await
    }

    /// Ends one of the caller's sessions.
    pub(crate) async fn end_session(&self, caller: &Caller, session: SessionId) -> Result<()> {
        if !self.0.store.end_session(caller.user_id, session).await? {
            return Err(Error::NotFound("session"));
        }
        self.0.identities.end(&[session]).await;
        Ok(())
    }

    /// A ticket for the caller's session, and how long it is good.
    pub(crate) async fn issue_ticket(&self, caller: &Caller) -> (String, Duration) {
        let grant = Grant { session_id: caller.session_id, expires_at: caller.expires_at };
        (self.0.tickets.issue(grant).await, self.0.tickets.ttl())
    }

    /// The public keys whose tokens may live.
    pub(crate) async fn public_keys(&self) -> Result<Vec<PublicKey>> {
        self.0.tokens.public_keys().await
    }

    /// Who a credential belongs to. What kind it is, is seen by its form and, of a JWT, by the issuer that it names.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when it is worth nothing.
    pub async fn authenticate(&self, credential: &str) -> Result<Caller> {
        if credential.starts_with(credential::TICKET) {
            return Err(Error::Unauthenticated("a ticket opens a live connection and nothing else"));
        }
        if credential.starts_with(credential::API_KEY) {
            let session = self.0.identities.session_of_key(credential).await?.ok_or(NO_KEY)?;
            return self.caller(session, Timestamp::NEVER).await?.ok_or(NO_KEY);
        }
        if let Some((user, expires_at)) = self.0.outsiders.recognise(credential).await? {
            return self.caller(SessionId::from(user), expires_at).await?.ok_or(SIGNED_OUT);
        }
        let claimed = self.0.tokens.verify(credential).await?;
        let caller = self.caller(claimed.session_id, claimed.expires_at).await?.ok_or(SIGNED_OUT)?;
        if caller.user_id == claimed.user_id { Ok(caller) } else { Err(SIGNED_OUT) }
    }

    /// Whether a credential is a ticket, by its form.
    pub fn is_ticket(&self, credential: &str) -> bool {
        credential.starts_with(credential::TICKET)
    }

    /// Who a ticket belongs to; it is used up.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when it was used up before, has expired, or its session has ended;
    /// [`Error::Unavailable`] when nobody can tell now.
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Caller> {
        let grant = self.0.tickets.redeem(ticket).await?;
        let grant = grant.ok_or(Error::Unauthenticated("the ticket is not valid"))?;
        self.caller(grant.session_id, grant.expires_at).await?.ok_or(SIGNED_OUT)
    }

    /// What those of the sessions may do that are open and whose users may sign in, as the store has it; at most 1,000 at
    /// once.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn roles(&self, sessions: &[SessionId]) -> Result<HashMap<SessionId, Role>> {
        self.0.identities.roles(sessions).await
    }

    /// Forgets what a signal of another node says is over.
    pub async fn forget(&self, signal: Signal) {
        self.0.identities.forget(signal).await;
    }

    /// Who the session acts as; `None` when it has ended.
    async fn caller(&self, session_id: SessionId, expires_at: Timestamp) -> Result<Option<Caller>> {
        let identity = self.0.identities.find(session_id).await?;
        Ok(identity.map(|Identity { user_id, username, role, scopes }| Caller {
            user_id,
            username,
            role,
            scopes,
            session_id,
            expires_at,
        }))
    }

    async fn token_pair(&self, user: UserId, session: SessionId, refresh_token: String) -> Result<TokenPair> {
        let access_token = self.0.tokens.sign(user, session).await?;
        Ok(TokenPair { access_token, refresh_token, expires_in: self.0.tokens.ttl() })
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Accounts").finish_non_exhaustive()
    }
}
