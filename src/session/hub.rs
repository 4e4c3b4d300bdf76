//! The hub: which viewers of this node want which topics.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{
    health::{Condition, Health},
    lanes::Bounds,
    mailbox::{Letter, Mailbox},
};
use crate::{
    live::{bus::News, signal::Signal},
    model::{
        ids::{ConnectionId, ConversationId, SessionId, UserId},
        presence::StatusChange,
        topic::Topic,
    },
};

/// Hands events and signals to viewers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    viewers: RwLock<HashMap<ConnectionId, Viewer>>,
    topics: RwLock<HashMap<Topic, Subscribers>>,
}

/// The viewers of a topic.
type Subscribers = HashMap<ConnectionId, Arc<Mailbox>>;

#[derive(Debug)]
struct Viewer {
    user_id: UserId,
    session_id: SessionId,
    mailbox: Arc<Mailbox>,
    /// Of one that is a connection.
    health: Option<Arc<Mutex<Health>>>,
}

impl Hub {
    /// Nobody yet; for each viewer so much may wait.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner { bounds, viewers: RwLock::default(), topics: RwLock::default() }))
    }

    /// What may wait for one viewer.
    pub(super) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// Makes a viewer known, so that signals reach it.
    pub fn enter(&self, id: ConnectionId, user_id: UserId, session_id: SessionId, mailbox: Arc<Mailbox>) {
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        viewers.insert(id, Viewer { user_id, session_id, mailbox, health: None });
        metrics::gauge!("colloquy_viewers").set(viewers.len() as f64);
    }

    /// The viewer is a connection: so healthy.
    pub(super) fn attend(&self, id: ConnectionId, health: Arc<Mutex<Health>>) {
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(viewer) = viewers.get_mut(&id) {
            viewer.health = Some(health);
        }
    }

    /// What each connection is like, of everybody's or of one user's.
    pub(super) fn conditions(&self, user: Option<UserId>) -> Vec<(ConnectionId, UserId, Condition)> {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        let connections = viewers
            .iter()
            .filter(|(_, viewer)| user.is_none_or(|user| viewer.user_id == user))
            .filter_map(|(id, viewer)| Some((*id, viewer.user_id, viewer.health.as_ref()?)));
        let condition = |health: &Mutex<Health>| health.lock().unwrap_or_else(PoisonError::into_inner).condition();
        connections.map(|(id, user, health)| (id, user, condition(health))).collect()
    }

    /// How many viewers are connections.
    pub(super) fn connections(&self) -> usize {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        viewers.values().filter(|viewer| viewer.health.is_some()).count()
    }

    /// How many letters wait for all viewers in each lane, the most important first.
    pub(super) fn lengths(&self) -> [usize; 4] {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        viewers
            .values()
            .map(|viewer| viewer.mailbox.lengths())
            .fold([0; 4], |sum, lengths| std::array::from_fn(|lane| sum[lane] + lengths[lane]))
    }

    /// How many viewers have joined some of the topics.
    pub fn reach(&self, asked: &[Topic]) -> usize {
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        match asked {
            [topic] => topics.get(topic).map_or(0, Subscribers::len),
            _ => {
                let viewers = asked.iter().filter_map(|topic| topics.get(topic)).flat_map(Subscribers::keys);
                viewers.collect::<HashSet<_>>().len()
            }
        }
    }

    /// How many topics are viewed that somebody chose to view.
    pub(super) fn topics(&self) -> usize {
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.keys().filter(|topic| topic.is_chosen()).count()
    }

    /// How many viewers there are.
    pub(super) fn len(&self) -> usize {
        self.0.viewers.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Goes on with another signed-in session of the same user.
    pub fn renew(&self, id: ConnectionId, session_id: SessionId) {
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(viewer) = viewers.get_mut(&id) {
            viewer.session_id = session_id;
        }
    }

    /// Forgets a viewer. Its topics are left one by one beforehand.
    pub fn leave(&self, id: ConnectionId) {
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        viewers.remove(&id);
        metrics::gauge!("colloquy_viewers").set(viewers.len() as f64);
    }

    /// Delivers a topic's events to a viewer from now on.
    pub fn subscribe(&self, topic: Topic, id: ConnectionId, mailbox: Arc<Mailbox>) {
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic).or_default().insert(id, mailbox);
    }

    /// Delivers no more of a topic's events to a viewer.
    pub fn unsubscribe(&self, topic: &Topic, id: ConnectionId) {
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(viewers) = topics.get_mut(topic) {
            viewers.remove(&id);
            if viewers.is_empty() {
                topics.remove(topic);
            }
        }
    }

    /// Puts news of a topic into the mailboxes of its viewers.
    pub fn deliver(&self, news: News<'_>) {
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        let viewers = |topic| topics.get(topic).into_iter().flat_map(Subscribers::values);
        match news {
            News::Event(event) | News::Whisper(event) => viewers(&event.topic).for_each(|mailbox| mailbox.push(event)),
            News::Missed(topic) => {
                let topic = Arc::new(topic.clone());
                viewers(&topic).for_each(|mailbox| mailbox.miss(&topic));
            }
        }
    }

    /// Tells users what others are now, on every connection of theirs.
    pub(super) fn tell_statuses(&self, concerned: &HashMap<UserId, Vec<StatusChange>>) {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        for viewer in viewers.values() {
            let changes = concerned.get(&viewer.user_id).into_iter().flatten();
            changes.for_each(|change| viewer.mailbox.tell_status(*change));
        }
    }

    /// The signed-in sessions of the viewers, each once.
    pub(super) fn sessions(&self) -> HashSet<SessionId> {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        viewers.values().map(|viewer| viewer.session_id).collect()
    }

    /// The conversations that are viewed, each with every user who views it.
    pub(super) fn conversations(&self) -> HashSet<(ConversationId, UserId)> {
        // In the order in which a signal takes them.
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = HashSet::new();
        for (topic, subscribers) in topics.iter() {
            let Topic::Conversation(conversation) = topic else { continue };
            let users = subscribers.keys().filter_map(|viewer| viewers.get(viewer));
            found.extend(users.map(|viewer| (*conversation, viewer.user_id)));
        }
        found
    }

    /// Tells the viewers that a signal concerns.
    pub fn signal(&self, signal: Signal) {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        let tell = |letter: Letter, concerned: &dyn Fn(&Viewer) -> bool| {
            viewers.values().filter(|viewer| concerned(viewer)).for_each(|viewer| viewer.mailbox.tell(letter.clone()));
        };
        match signal {
            Signal::SessionEnded(session) => tell(Letter::SignedOut, &|viewer| viewer.session_id == session),
            Signal::UserEnded(user) => tell(Letter::SignedOut, &|viewer| viewer.user_id == user),
            Signal::MembershipEnded(conversation, user) => {
                tell(Letter::Barred(conversation), &|viewer| viewer.user_id == user);
            }
            Signal::ConversationEnded(conversation) => self.end_conversation(conversation),
            // These concern no viewer by themselves.
            Signal::RunStopping(_) | Signal::Doubtful => {}
        }
    }

    fn end_conversation(&self, conversation: ConversationId) {
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        for mailbox in topics.get(&Topic::Conversation(conversation)).into_iter().flat_map(Subscribers::values) {
            mailbox.tell(Letter::Barred(conversation));
        }
    }
}
