//! Passwords: argon2id, on threads of its own and never more at once than there are cores.

use std::{fmt, sync::Arc, thread, time::Duration};

use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};

/// How long a password waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hashes and checks passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Checked when there is no account, so that the time tells nothing.
    decoy: Arc<str>,
}

impl Passwords {
    /// As many at once as there are cores.
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Arc::new(Semaphore::new(cores)), decoy: decoy().into() }
    }

    /// The hash to keep of a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String> {
        self.take_turn(move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(Error::internal)
        })
        .await
    }

    /// Whether this is the password behind the hash; without a hash it is not, after the same time.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let (hash, is_real) = match hash {
            Some(hash) => (hash, true),
            None => (self.decoy.to_string(), false),
        };
        self.take_turn(move || {
            let hash = PasswordHash::new(&hash).map_err(Error::internal)?;
            let matches = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
            Ok(matches && is_real)
        })
        .await
    }

    async fn take_turn<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let busy = |source: anyhow::Error| Error::Unavailable { part: "password check", source };
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|late| busy(late.into()))?.map_err(|closed| busy(closed.into()))?;
        // The turn goes along: it is over when the work is, even if nobody waits for the result any more.
        let worker = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worker.await.map_err(Error::internal)?
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Passwords").field("turns", &self.turns.available_permits()).finish_non_exhaustive()
    }
}

/// A hash of no password, which takes as long to check as a real one.
fn decoy() -> String {
    let (memory, passes, lanes) = (Params::DEFAULT_M_COST, Params::DEFAULT_T_COST, Params::DEFAULT_P_COST);
    let (salt, hash) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("correct horsf".into(), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_has_no_password_and_the_same_cost() {
        let passwords = Passwords::new();
        assert!(!passwords.verify(String::new(), None).await.unwrap());
        let real = passwords.hash("correct horse".into()).await.unwrap();
        let cost = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cost(&real), cost(&decoy()));
        assert_eq!(real.len(), decoy().len());
    }
}
