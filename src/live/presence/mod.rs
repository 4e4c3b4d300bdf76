//! Presence: who is there on any node, who views which conversation, who is typing.
//!
//! Connections change a table of this node at once and wait for nobody. One task settles what has changed with the other
//! nodes, and tells what that changes for viewers; so a user who leaves and comes back in between has never been away.

mod memory;
mod person;
mod shared;
mod table;
pub mod typing;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval, timeout},
};

use self::{
    memory::Memory,
    shared::Buried,
    table::{Key, Table},
};
use super::{
    node::Nodes,
    redis::{Away, Redis},
};
use crate::model::{
    clock::Clock,
    ids::{ConversationId, NodeId, UserId},
    presence::{Status, StatusChange},
};

/// How long a choice is kept of somebody who is not there.
const CHOICE_TTL: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked at who has become idle, at most.
const LONGEST_TICK: Duration = Duration::from_secs(5);
/// Changes that are settled at the same time.
const SETTLING: usize = 16;
/// How long somebody who chooses waits until it is settled.
const CHOICE_DEADLINE: Duration = Duration::from_secs(2);
/// How long a node that ends may take to say so.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// Users whose changed status waits for its viewers at most.
const HEARD: usize = 10_000;

/// What viewers are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A user is something else now. Every node hears of it by [`Presence::heard`].
    Status(StatusChange),
    /// A user's first connection views a conversation.
    Joined {
        /// The conversation.
        conversation_id: ConversationId,
        /// The user.
        user_id: UserId,
        /// The user's name, where this node knows it.
        username: Option<String>,
    },
    /// The last connection of a user's that viewed a conversation no longer does.
    Left {
        /// The conversation.
        conversation_id: ConversationId,
        /// The user.
        user_id: UserId,
        /// The user's name, where this node knows it.
        username: Option<String>,
    },
}

/// Knows who is there. Cheap to clone.
///
/// With Redis all nodes know together. While it is away, each goes by its own connections, and settles with the others
/// when it is back.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

struct Inner {
    clock: Clock,
    idle_after: Duration,
    nodes: Nodes,
    kind: Kind,
    table: Mutex<Table>,
    changed: Notify,
    heard: Mutex<HashMap<UserId, StatusChange>>,
    arrived: Notify,
}

enum Kind {
    Memory(Memory),
    Shared(Redis),
}

impl Presence {
    /// Nobody is there yet. Whoever does nothing for `idle_after` is away.
    pub fn new(clock: Clock, redis: Option<Redis>, nodes: Nodes, idle_after: Duration) -> Self {
        let kind = redis.map_or_else(|| Kind::Memory(Memory::default()), Kind::Shared);
        let (table, changed, heard, arrived) = Default::default();
        Self(Arc::new(Inner { clock, idle_after, nodes, kind, table, changed, heard, arrived }))
    }

    /// One more connection of a user's; it ends with one [`Presence::disconnect`].
    pub fn connect(&self, user: UserId, username: &str) {
        let now = self.0.clock.now();
        self.change(|table| table.connect(user, username, now));
    }

    /// One connection of a user's less. What it viewed was exited beforehand.
    pub fn disconnect(&self, user: UserId) {
        let now = self.0.clock.now();
        self.change(|table| table.disconnect(user, now));
    }

    /// A connected user does something.
    pub fn act(&self, user: UserId) {
        let now = self.0.clock.now();
        self.change(|table| table.act(user, now));
    }

    /// One more connection of a connected user's views a conversation; it ends with one [`Presence::exit`].
    pub fn enter(&self, conversation: ConversationId, user: UserId) {
        self.change(|table| table.enter(conversation, user));
    }

    /// One connection of a user's less views a conversation.
    pub fn exit(&self, conversation: ConversationId, user: UserId) {
        self.change(|table| table.exit(conversation, user));
    }

    /// A user chooses what to be while connected; what the user is by that.
    pub async fn choose(&self, user: UserId, choice: Status) -> Status {
        let now = self.0.clock.now();
        let settled = self.change(|table| table.choose(user, choice, now));
        match timeout(CHOICE_DEADLINE, settled).await {
            Ok(Ok(status)) => status,
            // It is settled when the task that does so comes to it.
            _ => self.table().status(user),
        }
    }

    /// What users are, in their order; at most as many as a page holds.
    pub async fn statuses(&self, users: &[UserId]) -> Vec<Status> {
        if let Kind::Shared(redis) = &self.0.kind
            && !users.is_empty()
            && let Ok(statuses) = shared::statuses(redis, users).await
        {
            return statuses;
        }
        let table = self.table();
        users.iter().map(|user| table.status(*user)).collect()
    }

    /// Whether a user has a connection on any node, seen or not. While the server is away a node knows its own.
    pub async fn is_connected(&self, user: UserId) -> bool {
        if self.table().is_connected(user) {
            return true;
        }
        match &self.0.kind {
            Kind::Memory(_) => false,
            Kind::Shared(redis) => shared::is_elsewhere(redis, user).await.unwrap_or(false),
        }
    }

    /// Whoever is here, active, and may be seen.
    pub fn seen(&self) -> Vec<UserId> {
        self.table().seen()
    }

    /// Whether this node knows nothing of anybody.
    pub fn is_empty(&self) -> bool {
        self.table().len() == (0, 0)
    }

    /// Statuses that have changed, of each user the latest, as soon as there are any.
    pub async fn heard(&self) -> Vec<StatusChange> {
        loop {
            let heard = std::mem::take(&mut *lock(&self.0.heard));
            if !heard.is_empty() {
                return heard.into_values().collect();
            }
            self.0.arrived.notified().await;
        }
    }

    /// Settles what changes, for as long as it is polled; `news` get what viewers are to be told.
    pub async fn keep(&self, news: &mpsc::Sender<Told>) {
        let mut census = self.0.nodes.changes();
        let mut lapses = census.borrow().lapses;
        let mut ticks = interval(LONGEST_TICK.min(self.0.idle_after / 4).max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.changed.notified() => {}
                _ = ticks.tick() => self.tick(),
                _ = census.changed() => {
                    let now = census.borrow_and_update().clone();
                    if std::mem::replace(&mut lapses, now.lapses) == now.lapses {
                        self.table().recall();
                    } else {
                        self.table().lapse();
                    }
                    self.bury(&now.gone, news).await;
                }
            }
            self.settle(news).await;
        }
    }

    /// Takes this node's part out: it ends. What viewers elsewhere are to be told goes to `news`.
    pub async fn close(&self, news: &mpsc::Sender<Told>) {
        self.table().close();
        if timeout(CLOSE_DEADLINE, self.settle(news)).await.is_err() {
            tracing::warn!("cannot tell in time who leaves with this node, the others will notice");
        }
        self.0.nodes.leave().await;
    }

    /// Takes what a node says; what this node says itself was heard already.
    pub(super) fn hear(&self, this: NodeId, text: &str) {
        match serde_json::from_str::<(NodeId, StatusChange)>(text) {
            Ok((node, change)) if node != this => {
                self.change(|table| table.reconsider(change.user_id));
                self.pass_on(change);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a status that another node tells cannot be read"),
        }
    }

    fn tick(&self) {
        let now = self.0.clock.now();
        let mut table = self.table();
        table.idle_since(now - self.0.idle_after);
        let is_up = match &self.0.kind {
            Kind::Memory(memory) => {
                memory.sweep(now, |user| table.status(user) != Status::Offline);
                true
            }
            Kind::Shared(redis) => redis.is_up(),
        };
        if is_up {
            table.recall();
        }
        let (users, views) = table.len();
        metrics::gauge!("colloquy_presence_users").set(users as f64);
        metrics::gauge!("colloquy_presence_views").set(views as f64);
    }

    /// Settles all that has changed until now.
    async fn settle(&self, news: &mpsc::Sender<Told>) {
        let users = self.table().take_users();
        for users in users.chunks(SETTLING) {
            let mut acts = Vec::with_capacity(users.len());
            for user in users {
                acts.push(self.settle_user(*user));
            }
            self.announce(join_all(acts).await, news).await;
        }
        let views = self.table().take_views();
        for views in views.chunks(SETTLING) {
            let mut acts = Vec::with_capacity(views.len());
            for (conversation, user) in views {
                acts.push(self.settle_view(*conversation, *user));
            }
            self.announce(join_all(acts).await, news).await;
        }
        // What has changed by settling, such as views of somebody who can be seen now.
        if self.table().has_changed() {
            self.0.changed.notify_one();
        }
    }

    async fn settle_user(&self, user: UserId) -> Option<Told> {
        let wish = self.table().wish(user)?;
        let kept = match &self.0.kind {
            Kind::Memory(memory) => Ok(Some(memory.settle(user, wish.choice, self.0.clock.now()))),
            Kind::Shared(redis) => shared::settle(redis, user, wish).await,
        };
        let now = self.0.clock.now();
        match kept {
            Ok(Some(kept)) => self.table().settle(user, wish, kept, now),
            Ok(None) => {
                self.table().put_back(Key::User(user));
                self.0.nodes.hurry();
                None
            }
            Err(Away) => self.table().settle_apart(user, wish, now),
        }
    }

    async fn settle_view(&self, conversation: ConversationId, user: UserId) -> Option<Told> {
        let wish = self.table().wish_of_view(conversation, user)?;
        let elsewhere = match &self.0.kind {
            Kind::Memory(_) => Ok(Some(false)),
            Kind::Shared(redis) => shared::settle_view(redis, conversation, user, wish).await,
        };
        match elsewhere {
            Ok(Some(is_elsewhere)) => self.table().settle_view(conversation, user, wish, is_elsewhere),
            Ok(None) => {
                self.table().put_back(Key::View(conversation, user));
                self.0.nodes.hurry();
                None
            }
            Err(Away) => self.table().settle_view_apart(conversation, user, wish),
        }
    }

    async fn announce(&self, told: Vec<Option<Told>>, news: &mpsc::Sender<Told>) {
        for told in told.into_iter().flatten() {
            if let Told::Status(change) = told {
                self.pass_on(change);
                if let Kind::Shared(redis) = &self.0.kind {
                    // When the server is away, others learn of it when it is back.
                    let _ = shared::tell(redis, change).await;
                }
            }
            // Nobody takes it: the node has ended.
            let _ = news.send(told).await;
        }
    }

    /// Takes out what nodes had that are gone.
    async fn bury(&self, gone: &BTreeSet<NodeId>, news: &mpsc::Sender<Told>) {
        let Kind::Shared(redis) = &self.0.kind else { return };
        for node in gone {
            // The next census names the node again when the server is away now.
            while let Ok((buried, is_more)) = shared::bury(redis, *node).await {
                let told = buried.into_iter().map(|buried| Some(Told::from(buried)));
                self.announce(told.collect(), news).await;
                if !is_more {
                    tracing::info!(node.id = %node, "a node is gone, and its part in presence with it");
                    break;
                }
            }
        }
    }

    fn pass_on(&self, change: StatusChange) {
        let mut heard = lock(&self.0.heard);
        if heard.len() < HEARD || heard.contains_key(&change.user_id) {
            heard.insert(change.user_id, change);
        } else {
            metrics::counter!("colloquy_statuses_dropped_total").increment(1);
        }
        drop(heard);
        self.0.arrived.notify_one();
    }

    fn change<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table();
        let done = act(&mut table);
        let has_changed = table.has_changed();
        drop(table);
        if has_changed {
            self.0.changed.notify_one();
        }
        done
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0.table)
    }
}

impl From<Buried> for Told {
    fn from(buried: Buried) -> Self {
        match buried {
            Buried::User(user_id, status) => Self::Status(StatusChange { user_id, status, last_seen: None }),
            Buried::View(conversation_id, user_id) => Self::Left { conversation_id, user_id, username: None },
        }
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Presence").field("nodes", &self.0.nodes).finish_non_exhaustive()
    }
}

/// A panic elsewhere leaves these locks consistent: each is held for moves that cannot fail in between.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
