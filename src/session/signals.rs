//! Signals as the live connections of this node feel them: what has ended elsewhere ends here.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::sessions::Sessions;
use crate::{
    error::Result,
    live::signal::{Signal, Signals},
};

/// How often everybody who is connected is looked up in the store, which has the last word: a signal may be lost, and where
/// nodes share nothing but the database there is none. What ends elsewhere is to be felt here within 5 s.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(2);
/// The pause before everybody is looked up once more, when the store does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// How long looking everybody up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(30);
/// Sessions, or members, in one question to the store.
const CHUNK: usize = 1000;

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

/// Looks everybody up again and again, and at once when there is a doubt.
async fn resolve(doubts: Arc<Notify>, sessions: Sessions) {
    let stopped = sessions.lifecycle.stopped().clone();
    let resolve = async {
        let mut next = Instant::now() + LOOK_UP_INTERVAL;
        loop {
            tokio::select! {
                () = doubts.notified() => {}
                () = sleep_until(next) => {}
            }
            let begun = Instant::now();
            next = match timeout(LOOK_UP_TIMEOUT, look_up(&sessions)).await {
                Ok(Ok(())) => begun + LOOK_UP_INTERVAL,
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:?}"), "cannot look up who is still signed in, trying again");
                    Instant::now() + PAUSE
                }
                Err(_) => {
                    tracing::warn!("looking up who is still signed in takes too long, trying again");
                    Instant::now() + PAUSE
                }
            };
        }
    };
    stopped.run_until_cancelled(resolve).await;
}

/// Ends what the store says has ended, of everybody who is connected, and tells who may do something else; asks it nothing
/// when nobody is.
async fn look_up(sessions: &Sessions) -> Result<()> {
    let Sessions { hub, accounts, access, .. } = sessions;
    let signed_in: Vec<_> = hub.sessions().into_iter().collect();
    for chunk in signed_in.chunks(CHUNK) {
        let sessions: Vec<_> = chunk.iter().map(|(session, ..)| *session).collect();
        let roles = accounts.roles(&sessions).await?;
        for (session, (user, role)) in chunk {
            match roles.get(session) {
                None => hub.signal(Signal::SessionEnded(*session)),
                Some(now) if now != role => hub.signal(Signal::RoleChanged(*user, *now)),
                Some(_) => {}
            }
        }
    }
    let mut viewed: Vec<_> = hub.conversations().into_iter().collect();
    // Those of one conversation stand together, so that few are asked for in each question.
    viewed.sort_unstable_by_key(|(conversation, _)| *conversation);
    for chunk in viewed.chunks(CHUNK) {
        for (conversation, user) in access.strangers(chunk).await? {
            hub.signal(Signal::MembershipEnded(conversation, user));
        }
    }
    Ok(())
}
