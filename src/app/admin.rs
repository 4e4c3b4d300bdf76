//! The operator's desk, put together.

use crate::{
    config::Settings,
    grpc::admin::{AdminApi, Parts},
    live::Redis,
    service::{
        admins::Admins, identity::Identities, machine::Machine, servers::Servers, service_accounts::ServiceAccounts,
    },
    session::sessions::Sessions,
    store::Store,
};

/// Administration over these parts.
///
/// # Errors
/// When the machine does not tell of itself.
pub(super) fn api(
    settings: &Settings,
    (store, redis): (&Store, Option<&Redis>),
    identities: Identities,
    service_accounts: ServiceAccounts,
    sessions: &Sessions,
) -> anyhow::Result<AdminApi> {
    Ok(AdminApi::new(Parts {
        admins: Admins::new(store.clone(), sessions.clock, identities, sessions.limits.clone()),
        machine: Machine::watch(&settings.data_dir)?,
        servers: Servers::new(store.clone(), redis.cloned()),
        service_accounts,
        sessions: sessions.clone(),
    }))
}
