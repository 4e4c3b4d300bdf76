//! Service accounts as the contract writes them.

use crate::{model::service_account::ServiceAccount, proto};

impl From<ServiceAccount> for proto::ServiceAccount {
    fn from(account: ServiceAccount) -> Self {
        Self {
            id: account.id.to_string(),
            name: account.name,
            scopes: account.scopes.words().to_vec(),
            is_active: account.is_active,
            created_at: Some(account.created_at.into()),
        }
    }
}
