//! Accounts: stub until the accounts slice lands.

use crate::{
    error::{Error, Result},
    model::caller::Caller,
};

/// Signs people in.
#[derive(Clone, Debug)]
pub struct Accounts {}

impl Accounts {
    /// Who an access token belongs to.
    pub async fn authenticate(&self, _token: &str) -> Result<Caller> {
        Err(Error::Unauthenticated("no"))
    }
    /// Whether a credential is a ticket.
    pub fn is_ticket(&self, _credential: &str) -> bool {
        false
    }
    /// Who a ticket belongs to; it is used up.
    pub async fn redeem_ticket(&self, _ticket: &str) -> Result<Caller> {
        Err(Error::Unauthenticated("no"))
    }
}
