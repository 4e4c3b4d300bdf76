//! Signals as the live connections of this node feel them: what has ended elsewhere ends here.

use std::{pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream};

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
    let stopped = sessions.lifecycle.stopped().clone();
    while let Some(signal) = stopped.run_until_cancelled(heard.recv()).await {
        let signal = signal.unwrap_or_else(|error| {
            tracing::warn!(%error, "signals were missed");
            Signal::Doubtful
        });
        sessions.accounts.forget(signal).await;
        match signal {
            Signal::Doubtful => drop(sessions.lifecycle.spawn_helper(look_up_all(sessions.clone()))),
            Signal::RunStopping(id) => sessions.runs.stop_here(id),
            signal => sessions.hub.signal(signal),
        }
    }
}

/// Looks up whether every viewer may still be what it is, trying again while the store does not answer.
async fn look_up_all(sessions: Sessions) {
    let stopped = sessions.lifecycle.stopped().clone();
    let look_up = async {
        while let Err(error) = look_up(&sessions).await {
            tracing::warn!(error = format!("{error:?}"), "cannot look up who is still signed in, trying again");
            tokio::time::sleep(PAUSE).await;
        }
    };
    stopped.run_until_cancelled(look_up).await;
}

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
