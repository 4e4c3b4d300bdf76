//! What a run wants of the store is tried again while it does not answer: an answer must not be lost to a short fault.

use std::{future::Future, time::Duration};

use crate::error::{Error, Result};

/// How often it is tried.
const TRIES: u32 = 5;
/// The pause after the first failed try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// Tries again while the store does not answer, a few times; `what` names it in the log.
pub(super) async fn insist<T, F: Future<Output = Result<T>>>(what: &str, act: impl Fn() -> F) -> Result<T> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match act().await {
            Err(error @ Error::Unavailable { .. }) => {
                tracing::warn!(what, error = format!("{error:?}"), "the store does not answer, trying again");
            }
            // The same again would fail the same.
            ended => return ended,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    act().await
}
