//! Accounts for an operator's commands: the database and the rules, and nothing that is served.

use std::fs::File;

use anyhow::{Context as _, bail};

use super::{accounts, database, issuers};
use crate::{
    config::Settings,
    live::{signal::Signals, throttle::Throttle, ticket::Tickets},
    model::clock::Clock,
    service::{
        accounts::{Accounts, Parts},
        identity::Identities,
        operator::Operator,
        outsiders::Outsiders,
        passwords::Passwords,
        tokens::Tokens,
    },
};

/// The database that the settings name, open for an operator's command.
pub struct Office {
    /// Who acts.
    pub operator: Operator,
    /// Held where no server has the data folder, so that none starts meanwhile.
    _lock: Option<File>,
}

/// Opens the database, whether a server uses it or not: what is changed here is felt there within 5 s.
///
/// # Errors
/// When the database does not answer, or a server uses its data folder with another schema than this program's.
pub async fn open(settings: &Settings) -> anyhow::Result<Office> {
    let clock = Clock::shifted(settings.clock_ahead_micros);
    let lock = match database::lock(settings) {
        Ok(lock) => lock,
        // SQLite lets processes write side by side; only the schema is the server's alone.
        Err(in_use) => check_schema(settings).await.context(in_use).map(|()| None)?,
    };
    let store = database::open(settings).await?;
    let tokens = Tokens::open(store.clone(), clock, accounts::tokens(settings)).await?;
    let signals = Signals::new(None);
    let accounts = Accounts::new(Parts {
        store: store.clone(),
        clock,
        tokens: tokens.clone(),
        passwords: Passwords::new(),
        tickets: Tickets::new(clock, None, settings.ticket_ttl),
        throttle: Throttle::new(clock, None, accounts::throttle(settings)),
        identities: Identities::new(store.clone(), clock, signals),
        outsiders: Outsiders::new(store.clone(), clock, issuers::open(settings, clock)?, settings.content_policy),
        registration: settings.registration,
        session_ttl: settings.refresh_token_ttl,
    });
    Ok(Office { operator: Operator::new(store, clock, accounts, tokens), _lock: lock })
}

/// Whether there is nothing for this program to change in the schema.
async fn check_schema(settings: &Settings) -> anyhow::Result<()> {
    let steps = database::named(settings)?.status().await?;
    if steps.iter().any(|step| !step.is_applied) {
        bail!("its database is of an older version than this program: stop the server first, or use its own program");
    }
    Ok(())
}
