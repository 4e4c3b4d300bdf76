//! Service accounts: made and ended by admins, who see an API key once.

use super::identity::Identities;
use crate::{
    error::{Error, Result, Violation},
    model::{
        audit::{Act, Details},
        clock::Clock,
        credential::{self, Digest},
        ids::{SessionId, UserId},
        page::{Page, PageRequest},
        scope::{self, Scopes},
        service_account::ServiceAccount,
        user,
    },
    store::Store,
};

/// Scopes of one account at most.
const MAX_SCOPES: usize = 50;

/// Makes, lists and ends service accounts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServiceAccounts {
    store: Store,
    clock: Clock,
    identities: Identities,
}

impl ServiceAccounts {
    /// The identities are those that let callers in.
    pub fn new(store: Store, clock: Clock, identities: Identities) -> Self {
        Self { store, clock, identities }
    }

    /// Makes an account and its API key, which nobody can read again.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every fault, [`Error::AlreadyExists`] when the name is taken.
    pub(crate) async fn create(
        &self,
        act: &Act,
        id: UserId,
        name: String,
        scopes: Vec<String>,
    ) -> Result<(ServiceAccount, String)> {
        let made = self.make(act, id, name, scopes).await;
        if let Err(error @ Error::Invalid(_)) = &made {
            self.store.note_act(act, Some(error), &Details::new(), self.clock).await?;
        }
        made
    }

    async fn make(&self, act: &Act, id: UserId, name: String, scopes: Vec<String>) -> Result<(ServiceAccount, String)> {
        check(&name, &scopes)?;
        let api_key = credential::generate(credential::API_KEY);
        let account =
            ServiceAccount { id, name, scopes: Scopes::of(scopes), is_active: true, created_at: self.clock.now() };
        self.store.insert_service_account(act, &account, &Digest::of(&api_key), self.clock).await?;
        tracing::info!(service_account.id = %account.id, scopes = ?account.scopes.words(), "service account created");
        Ok((account, api_key))
    }

    /// The accounts, newest first.
    pub(crate) async fn list(&self, page: &PageRequest) -> Result<Page<ServiceAccount>> {
        self.store.service_accounts(page).await
    }

    /// Ends an account, its API key and its live connections.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub(crate) async fn end(&self, act: &Act, id: UserId) -> Result<()> {
        self.store.end_service_account(act, id, self.clock).await?;
        self.identities.end(&[SessionId::from(id)]).await;
        tracing::info!(service_account.id = %id, "service account ended");
        Ok(())
    }
}

fn check(name: &str, scopes: &[String]) -> Result<()> {
    let fault = |field: String, description: &str| Violation { field, description: description.to_owned() };
    let name = user::username_fault(name).map(|wrong| fault("name".to_owned(), wrong));
    let many = (scopes.len() > MAX_SCOPES).then(|| fault("scopes".to_owned(), "must be at most 50"));
    let words = scopes.iter().take(MAX_SCOPES).enumerate();
    let words = words.filter_map(|(at, word)| Some(fault(format!("scopes[{at}]"), scope::fault(word)?)));
    let violations: Vec<_> = name.into_iter().chain(many).chain(words).collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
