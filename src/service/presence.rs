//! Presence: who sees who is there, and what people say about themselves.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::access::Access;
use crate::{
    error::Result,
    lifecycle::Lifecycle,
    live::{
        bus::Bus,
        presence::{Presence, Told, typing::Typing},
    },
    model::{
        caller::Caller,
        clock::Clock,
        conversation::MemberRole,
        event::{Draft, Happening},
        ids::{ConversationId, UserId},
        page::{Page, PageRequest},
        presence::{Status, StatusChange, UserPresence},
        topic::Topic,
    },
    store::Store,
};

/// Comings and goings that wait to be told at most; further ones are settled later.
const BACKLOG: usize = 256;
/// How often it is stored of whom that they were seen.
const SEEN_INTERVAL: Duration = Duration::from_secs(1);
/// How often everybody who is there counts as seen.
const SEEN_EVERY: u32 = 60;

/// Shows who is there. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Presences {
    access: Access,
    store: Store,
    bus: Bus,
    presence: Presence,
    typing: Typing,
    clock: Clock,
    /// Users who were seen since that was stored last.
    seen: Arc<Mutex<HashSet<UserId>>>,
}

impl Presences {
    /// Tells the bus who comes to a conversation and who goes.
    pub fn new(access: Access, store: Store, bus: Bus, presence: Presence, typing: Typing, clock: Clock) -> Self {
        Self { access, store, bus, presence, typing, clock, seen: Arc::default() }
    }

    /// The members of a conversation, in the order in which they joined, and whether they are there.
    ///
    /// # Errors
    /// Access, a token of another list.
    pub async fn list(&self, caller: &Caller, id: ConversationId, request: &PageRequest) -> Result<Page<UserPresence>> {
        let membership = self.access.conversation(caller, id, MemberRole::Viewer).await?;
        let Page { entries: members, next } = self.store.members(&membership, request).await?;
        let users: Vec<UserId> = members.iter().map(|member| member.user_id).collect();
        let (statuses, seen) = tokio::join!(self.presence.statuses(&users), self.store.last_seen(&users));
        let seen = seen?;
        let entries = members.into_iter().zip(statuses).map(|(member, status)| UserPresence {
            last_seen: seen.get(&member.user_id).copied(),
            user_id: member.user_id,
            username: member.username,
            status,
        });
        Ok(Page { entries: entries.collect(), next })
    }

    /// The caller chooses what to be while connected; returns what the others see.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn choose(&self, caller: &Caller, choice: Status) -> Result<UserPresence> {
        let user_id = caller.user_id;
        let status = self.presence.choose(user_id, choice).await;
        let last_seen = self.store.last_seen(&[user_id]).await?.get(&user_id).copied();
        Ok(UserPresence { user_id, username: caller.username.clone(), status, last_seen })
    }

    /// The caller writes in a conversation, or has stopped.
    ///
    /// # Errors
    /// Access: who may not write cannot be typing.
    pub async fn set_typing(&self, caller: &Caller, id: ConversationId, is_typing: bool) -> Result<()> {
        self.access.conversation(caller, id, MemberRole::Member).await?;
        if is_typing {
            self.typing.start(id, caller.user_id, &caller.username);
        } else {
            self.typing.stop(id, caller.user_id);
        }
        Ok(())
    }

    /// Whom changed statuses concern: everybody who shares a conversation with the one who changed, each once.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn concerned(&self, mut changes: Vec<StatusChange>) -> Result<HashMap<UserId, Vec<StatusChange>>> {
        let users: Vec<UserId> = changes.iter().map(|change| change.user_id).collect();
        let unknown: Vec<UserId> =
            changes.iter().filter(|change| change.last_seen.is_none()).map(|change| change.user_id).collect();
        let seen = self.store.last_seen(&unknown).await?;
        for change in &mut changes {
            change.last_seen = change.last_seen.or_else(|| seen.get(&change.user_id).copied());
        }
        // By conversation, not by user: of a large one the members are read once, however many of them change.
        let mut changed_in: HashMap<ConversationId, Vec<StatusChange>> = HashMap::new();
        let by_user: HashMap<UserId, StatusChange> =
            changes.into_iter().map(|change| (change.user_id, change)).collect();
        for (conversation, user) in self.store.memberships_of(&users).await? {
            changed_in.entry(conversation).or_default().extend(by_user.get(&user));
        }
        let conversations: Vec<ConversationId> = changed_in.keys().copied().collect();
        let mut concerned: HashMap<UserId, HashMap<UserId, StatusChange>> = HashMap::new();
        for (conversation, user) in self.store.members_of(&conversations).await? {
            let others = changed_in[&conversation].iter().filter(|change| change.user_id != user);
            concerned.entry(user).or_default().extend(others.map(|change| (change.user_id, *change)));
        }
        Ok(concerned.into_iter().map(|(user, changes)| (user, changes.into_values().collect())).collect())
    }

    /// Tells who comes and goes and keeps when people were seen, until the hard stop; then takes this node's part out.
    pub async fn keep(self, lifecycle: Lifecycle) {
        let (told, mut news) = mpsc::channel(BACKLOG);
        let tell = async {
            while let Some(told) = news.recv().await {
                self.tell(told).await;
            }
        };
        let work = async {
            let work =
                async { tokio::join!(self.presence.keep(&told), self.typing.keep(self.bus.clone()), self.keep_seen()) };
            lifecycle.stopped().run_until_cancelled(work).await;
            self.presence.close(&told).await;
            drop(told);
        };
        tokio::join!(work, tell);
        self.store_seen().await;
    }

    async fn tell(&self, told: Told) {
        let (conversation_id, happening) = match told {
            Told::Status(change) => {
                // Of somebody who went with a node it is not known when.
                if change.last_seen.is_some() {
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(change.user_id);
                }
                return;
            }
            Told::Joined { conversation_id, user_id, username } => {
                (conversation_id, Happening::Joined { user_id, username: self.name(user_id, username).await })
            }
            Told::Left { conversation_id, user_id, username } => {
                (conversation_id, Happening::Left { user_id, username: self.name(user_id, username).await })
            }
        };
        let draft = Draft::within(conversation_id, None, happening);
        self.bus.whisper(Topic::Conversation(conversation_id), draft).await;
    }

    async fn name(&self, user: UserId, known: Option<String>) -> String {
        match known {
            Some(name) => name,
            // Of an account that is gone, or while the store does not answer, the id has to do.
            None => self.store.user(user).await.ok().flatten().map(|user| user.username).unwrap_or_default(),
        }
    }

    async fn keep_seen(&self) {
        let mut ticks = interval(SEEN_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 1_u32.. {
            ticks.tick().await;
            if number % SEEN_EVERY == 0 {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(self.presence.seen());
            }
            self.store_seen().await;
        }
    }

    async fn store_seen(&self) {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        if seen.is_empty() {
            return;
        }
        let users: Vec<UserId> = seen.into_iter().collect();
        if let Err(error) = self.store.see(&users, self.clock.now()).await {
            tracing::warn!(error = format!("{error:?}"), "cannot store when people were seen");
        }
    }
}
