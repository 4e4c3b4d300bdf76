//! Signals as the live connections of this node feel them: what has ended elsewhere ends here.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;

use super::sessions::Sessions;
use crate::{
    error::Result,
    live::signal::{Signal, Signals},
};

/// Questions to the store at once, when everything is looked up.
const QUESTIONS: usize = 16;
/// The pause before everything is looked up once more, when the store does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// Passes signals on to the viewers of this node, until the hard stop.
pub async fn pass(signals: Signals, sessions: Sessions) {
    let mut heard = signals.listen();
    let doubts = Arc::new(Notify::new());
    sessions.lifecycle.spawn_helper(resolve(doubts.clone(), sessions.clone()));
    let stopped = sessions.lifecycle.stopped().clone();
    while let Some(signal) = stopped.run_until_cancelled(heard.recv()).await {
        let signal = signal.unwrap_or_else(|error| {
            tracing::warn!(%error, "signals were missed");
            Signal::Doubtful
        });
        sessions.accounts.forget(signal).await;
        match signal {
            Signal::Doubtful => doubts.notify_one(),
            Signal::RunStopping(id) => sessions.runs.stop_here(id),
            signal => sessions.hub.signal(signal),
        }
    }
}

/// Looks everything up whenever that is wanted, trying again while the store does not answer.
async fn resolve(doubts: Arc<Notify>, sessions: Sessions) {
    let stopped = sessions.lifecycle.stopped().clone();
    let resolve = async {
        loop {
            doubts.notified().await;
            while let Err(error) = look_up(&sessions).await {
                tracing::warn!(error = format!("{error:?}"), "cannot look up who is still signed in, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    stopped.run_until_cancelled(resolve).await;
}

/// Ends what the store says has ended, of everybody who is connected.
async fn look_up(sessions: &Sessions) -> Result<()> {
    let Sessions { hub, accounts, access, .. } = sessions;
    let answers = stream::iter(hub.sessions()).map(async |session| (session, accounts.is_signed_in(session).await));
    let mut answers = pin!(answers.buffer_unordered(QUESTIONS));
    while let Some((session, is_signed_in)) = answers.next().await {
        if !is_signed_in? {
            hub.signal(Signal::SessionEnded(session));
        }
    }
    let answers = stream::iter(hub.conversations())
        .map(async |(conversation, user)| (conversation, user, access.is_member(user, conversation).await));
    let mut answers = pin!(answers.buffer_unordered(QUESTIONS));
    while let Some((conversation, user, is_member)) = answers.next().await {
        if !is_member? {
            hub.signal(Signal::MembershipEnded(conversation, user));
        }
    }
    Ok(())
}
