//! Writes of a run are tried again while the store does not answer: what a model said must not be lost to a short fault.

use std::{future::Future, time::Duration};

use crate::error::{Error, Result};

/// How often a write is tried.
const TRIES: u32 = 5;
/// The pause after the first failed try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// Tries a write again while the store does not answer, a few times; `what` names it in the log.
pub(super) async fn insist<T, F: Future<Output = Result<T>>>(what: &str, write: impl Fn() -> F) -> Result<T> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match write().await {
            Err(error @ Error::Unavailable { .. }) => {
                tracing::warn!(what, error = format!("{error:?}"), "cannot write, trying again");
            }
            // The same again would fail the same.
            ended => return ended,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    write().await
}
