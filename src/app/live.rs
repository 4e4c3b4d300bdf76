//! The Redis that nodes share.

use crate::{
    config::{SettingError, Settings},
    error::Error,
    live::Redis,
};

/// Connects to the Redis that is set, if one is.
///
/// # Errors
/// When it does not answer, or the settings are wrong.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Option<Redis>> {
    let Some(url) = &settings.redis_url else { return Ok(None) };
    match Redis::open(url.reveal(), &settings.redis_prefix, settings.redis_timeout).await {
        Ok(redis) => Ok(Some(redis)),
        Err(Error::Unavailable { source, .. }) => {
            Err(source.context(format!("cannot use {url:?} of setting redis_url")))
        }
        Err(Error::Invalid(faults)) => {
            let wanted: Vec<_> = faults.into_iter().map(|fault| fault.description).collect();
            Err(SettingError::new("redis_url", &wanted.join("; ")).into())
        }
        Err(error) => Err(error.into()),
    }
}
