//! Outside issuers as they are set.

use anyhow::Context as _;

use crate::{
    config::Settings,
    issuer::{Issuers, Trusted},
    model::clock::Clock,
};

/// Those whose tokens are let in.
///
/// # Errors
/// When no client can be made to fetch their keys.
pub(super) fn open(settings: &Settings, clock: Clock) -> anyhow::Result<Issuers> {
    let trusted = settings.issuers.iter().map(|issuer| {
        let jwks_url = issuer.jwks_url.parse().context("setting issuers: jwks_url is no address")?;
        Ok(Trusted { issuer: issuer.issuer.clone(), audience: issuer.audience.clone(), jwks_url })
    });
    Issuers::new(trusted.collect::<anyhow::Result<_>>()?, clock)
}
