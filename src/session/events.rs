//! Published events, for those who follow some types alone.

use std::collections::HashSet;

use async_stream::try_stream;
use futures_util::Stream;

use super::{mailbox::Letter, sessions::Sessions, watch::Watch};
use crate::{
    error::{Error, Result},
    model::{caller::Caller, publication::Publication, topic::Topic},
};

/// What somebody who follows events gets.
#[derive(Debug)]
pub enum Followed {
    /// The types are followed: nothing of them that happens from now on is missed.
    Begun(Vec<String>),
    /// An event.
    Event(Publication),
}

/// Follows events of these types: those for their subscribers, those for everyone, those for the caller. The stream does not
/// count as a connection of the caller's; when it must leave something out, it ends.
pub fn follow(
    sessions: Sessions,
    caller: Caller,
    types: HashSet<String>,
) -> impl Stream<Item = Result<Followed>> + Send {
    try_stream! {
        let mut watch = Watch::begin(&sessions, &caller);
        let topics = types.iter().cloned().map(Topic::Event).chain([Topic::User(caller.user_id), Topic::System]);
        for topic in topics {
            watch.seat.join(&topic, None, 0).await;
        }
        let mut begun: Vec<String> = types.iter().cloned().collect();
        begun.sort_unstable();
        yield Followed::Begun(begun);
        loop {
            match watch.next().await? {
                Letter::Event(event) => {
                    let publication = event.draft.happening.publication();
                    let wanted = publication.filter(|it| types.contains(&it.event_type) && !it.is_over(sessions.clock.now()));
                    if let Some(publication) = wanted {
                        yield Followed::Event(publication.clone());
                    }
                }
                Letter::Role(role) if types.iter().any(|name| !sessions.events.registry().may_subscribe(role, name)) => {
                    Err(Error::ROLE)?;
                }
                Letter::Missed(_) | Letter::Overflow => Err(Watch::broken())?,
                _ => {}
            }
        }
    }
}
