//! The hub: which viewers of this node want which topics.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{
    flight::Recorder,
    health::{Condition, Health},
    lanes::Bounds,
    mailbox::{Letter, Mailbox},
    subscribers::Subscribers,
};
use crate::{
    live::{bus::News, signal::Signal},
    model::{
        caller::Caller,
        clock::Timestamp,
        connection::Transport,
        ids::{ConnectionId, ConversationId, SessionId, UserId},
        presence::StatusChange,
        topic::Topic,
        user::Role,
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

#[derive(Debug)]
struct Viewer {
    user_id: UserId,
    session_id: SessionId,
    role: Role,
    mailbox: Arc<Mailbox>,
    /// Of one that is a connection.
    live: Option<Live>,
}

/// What is known of a viewer that is a connection.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// So healthy.
    pub(super) health: Arc<Mutex<Health>>,
    /// Has seen what passed.
    pub(super) recorder: Arc<Mutex<Recorder>>,
    /// What carries it.
    pub(super) transport: Transport,
    /// When it began.
    pub(super) since: Timestamp,
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
    pub fn enter(&self, id: ConnectionId, caller: &Caller, mailbox: Arc<Mailbox>) {
        let Caller { user_id, session_id, role, .. } = *caller;
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        viewers.insert(id, Viewer { user_id, session_id, role, mailbox, live: None });
        metrics::gauge!("colloquy_viewers").set(viewers.len() as f64);
    }

    /// The viewer is a connection.
    pub(super) fn attend(&self, id: ConnectionId, live: Live) {
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(viewer) = viewers.get_mut(&id) {
            viewer.live = Some(live);
        }
    }

    /// The connections, everybody's or one user's, each as `show` makes it of what is known.
    pub(super) fn connections_of<T>(
        &self,
        user: Option<UserId>,
        show: impl Fn(ConnectionId, UserId, &Live, Condition) -> T,
    ) -> Vec<T> {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        let meant = viewers.iter().filter(|(_, viewer)| user.is_none_or(|user| viewer.user_id == user));
        let connections = meant.filter_map(|(id, viewer)| {
            let live = viewer.live.as_ref()?;
            let condition = live.health.lock().unwrap_or_else(PoisonError::into_inner).condition();
            Some(show(*id, viewer.user_id, live, condition))
        });
        connections.collect()
    }

    /// A connection: whose it is, and what is known of it.
    pub(super) fn live(&self, id: ConnectionId) -> Option<(UserId, Live)> {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        viewers.get(&id).and_then(|viewer| Some((viewer.user_id, viewer.live.clone()?)))
    }

    /// How many viewers are connections.
    pub(super) fn connections(&self) -> usize {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        viewers.values().filter(|viewer| viewer.live.is_some()).count()
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
                let viewers = asked.iter().filter_map(|topic| topics.get(topic)).flat_map(Subscribers::ids);
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
    pub fn renew(&self, id: ConnectionId, caller: &Caller) {
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(viewer) = viewers.get_mut(&id) {
            (viewer.session_id, viewer.role) = (caller.session_id, caller.role);
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
            viewers.remove(id);
            if viewers.len() == 0 {
                topics.remove(topic);
            }
        }
    }

    /// Puts news of a topic into the mailboxes of its viewers.
    pub fn deliver(&self, news: News<'_>) {
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        let viewers = |topic| topics.get(topic).into_iter().flat_map(Subscribers::mailboxes);
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

    /// The signed-in sessions of the viewers, each once: whose it is, and as what a viewer goes on.
    pub(super) fn sessions(&self) -> HashMap<SessionId, (UserId, Role)> {
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        viewers.values().map(|viewer| (viewer.session_id, (viewer.user_id, viewer.role))).collect()
    }

    /// The conversations that are viewed, each with every user who views it.
    pub(super) fn conversations(&self) -> HashSet<(ConversationId, UserId)> {
        // In the order in which a signal takes them.
        let viewers = self.0.viewers.read().unwrap_or_else(PoisonError::into_inner);
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = HashSet::new();
        for (topic, subscribers) in topics.iter() {
            let Topic::Conversation(conversation) = topic else { continue };
            let users = subscribers.ids().filter_map(|viewer| viewers.get(&viewer));
            found.extend(users.map(|viewer| (*conversation, viewer.user_id)));
        }
        found
    }

    /// Tells the viewers that a signal concerns.
    pub fn signal(&self, signal: Signal) {
        if let Signal::RoleChanged(user, role) = signal {
            return self.change_role(user, role);
        }
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
            Signal::ConnectionClosed(id) => viewers.get(&id).into_iter().for_each(|it| it.mailbox.tell(Letter::Closed)),
            // These concern no viewer by themselves.
            Signal::RoleChanged(..) | Signal::RunStopping(_) | Signal::Doubtful => {}
        }
    }

    fn change_role(&self, user: UserId, role: Role) {
        let mut viewers = self.0.viewers.write().unwrap_or_else(PoisonError::into_inner);
        for viewer in viewers.values_mut().filter(|viewer| viewer.user_id == user && viewer.role != role) {
            viewer.role = role;
            viewer.mailbox.tell(Letter::Role(role));
        }
    }

    fn end_conversation(&self, conversation: ConversationId) {
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        for mailbox in topics.get(&Topic::Conversation(conversation)).into_iter().flat_map(Subscribers::mailboxes) {
            mailbox.tell(Letter::Barred(conversation));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::lanes::Lane;

    #[tokio::test]
    async fn a_viewer_is_told_once_what_it_may_do_from_now_on() {
        let bounds = Bounds { frames: 10, bytes: 1 << 10, ttl: Duration::from_secs(60) };
        let (hub, mailbox) = (Hub::new(bounds), Arc::new(Mailbox::new(bounds)));
        let caller = Caller {
            user_id: UserId::generate(),
            username: "alice".to_owned(),
            role: Role::User,
            session_id: SessionId::generate(),
            expires_at: Timestamp::from_micros(0),
            scopes: None,
        };
        hub.enter(ConnectionId::generate(), &caller, mailbox.clone());
        for user in [UserId::generate(), caller.user_id, caller.user_id] {
            hub.signal(Signal::RoleChanged(user, Role::Admin));
        }
        assert_eq!(hub.sessions().get(&caller.session_id), Some(&(caller.user_id, Role::Admin)));
        assert_eq!(mailbox.lengths().iter().sum::<usize>(), 1);
        assert!(matches!(mailbox.take(Lane::Critical).await, Letter::Role(Role::Admin)));
    }
}
