//! A seat: one viewer's place on this node, with its mailbox and its topics; given up when it is dropped.

use std::{collections::HashMap, sync::Arc};

use super::{
    hub::Hub,
    lanes::Lane,
    mailbox::{Letter, Mailbox},
};
use crate::{
    live::bus::{Bus, Opened, Since},
    model::{
        caller::Caller,
        event::Event,
        ids::ConnectionId,
        topic::{Epoch, Topic},
    },
};

/// A viewer's place.
#[derive(Debug)]
pub struct Seat {
    id: ConnectionId,
    mailbox: Arc<Mailbox>,
    hub: Hub,
    bus: Bus,
    places: HashMap<Topic, Place>,
    /// Nothing is taken: whatever is joined meanwhile is caught up with afterwards.
    is_held: bool,
}

/// How far a viewer is in a topic.
#[derive(Clone, Copy, Debug)]
struct Place {
    epoch: Epoch,
    /// The offset up to which the viewer has everything, but for what is in the mailbox.
    offset: u64,
    /// Whether what follows is in the mailbox. Otherwise it is in the topic's history, and what is in the mailbox of it is
    /// there too.
    is_live: bool,
}

impl Seat {
    /// Takes a place for the caller.
    pub fn take(hub: Hub, bus: Bus, caller: &Caller) -> Self {
        let id = ConnectionId::generate();
        let mailbox = Arc::new(Mailbox::new(hub.bounds()));
        hub.enter(id, caller, mailbox.clone());
        Self { id, mailbox, hub, bus, places: HashMap::new(), is_held: false }
    }

    /// Names the viewer.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether the viewer's credential is no longer good; the word of it is the next letter.
    pub fn is_signed_out(&self) -> bool {
        self.mailbox.is_signed_out()
    }

    /// The topics joined.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.places.keys()
    }

    /// Whether a topic is joined.
    pub fn has_joined(&self, topic: &Topic) -> bool {
        self.places.contains_key(topic)
    }

    /// Joins a topic from a place on, or from now on. What was missed comes with the answer, up to about so many bytes; if
    /// that was all, what is new comes through [`Seat::next`], otherwise the rest is to be caught up first. Nothing comes
    /// twice.
    pub async fn join(&mut self, topic: &Topic, since: Since, bytes: usize) -> Opened {
        // Registered first, and known to be, should the wait be cut short: what is published in between arrives in the
        // mailbox and is below the place.
        let is_new = !self.places.contains_key(topic);
        if is_new {
            self.hub.subscribe(topic.clone(), self.id, self.mailbox.clone());
            self.bus.open(topic);
            let is_live = !self.is_held;
            self.places.insert(topic.clone(), Place { epoch: Epoch(0), offset: u64::MAX, is_live });
        }
        let opened = self.bus.catch_up(topic, since, bytes).await;
        // Joined again from now on, what waits is still to come: the place stays.
        if is_new || (since.is_some() && opened.gap.is_none()) {
            self.stand(topic, &opened, opened.reached >= opened.position.offset);
        }
        opened
    }

    /// What the viewer missed next of a topic that it is behind in, up to about so many bytes. Once there is nothing more,
    /// what is new comes through [`Seat::next`].
    pub async fn catch_up(&mut self, topic: &Topic, bytes: usize) -> Opened {
        let since = self.places.get(topic).map(|place| (Some(place.epoch), place.offset));
        let opened = self.bus.catch_up(topic, since, bytes).await;
        if opened.gap.is_none() {
            self.stand(topic, &opened, opened.missed.is_empty());
        }
        opened
    }

    /// What is new of a topic comes by [`Seat::catch_up`] from now on: after what the viewer has, or after this offset.
    pub fn fall_behind(&mut self, topic: &Topic, after: Option<u64>) {
        if let Some(place) = self.places.get_mut(topic) {
            *place = Place { offset: after.unwrap_or(place.offset), is_live: false, ..*place };
        }
    }

    /// The topics that the viewer is behind in.
    pub fn behind(&self) -> impl Iterator<Item = &Topic> {
        self.places.iter().filter(|(_, place)| !place.is_live).map(|(topic, _)| topic)
    }

    /// Drops what waits, and takes nothing more until [`Seat::go_on`]: the viewer is then behind in all its topics.
    pub fn hold(&mut self) {
        self.is_held = true;
        self.mailbox.hold();
        self.places.values_mut().for_each(|place| place.is_live = false);
    }

    /// Takes what is new again.
    pub fn go_on(&mut self) {
        self.is_held = false;
        self.mailbox.go_on();
    }

    /// Leaves a topic; false when it was not joined.
    pub fn leave(&mut self, topic: &Topic) -> bool {
        let was_joined = self.places.remove(topic).is_some();
        if was_joined {
            self.hub.unsubscribe(topic, self.id);
            self.bus.close(topic);
        }
        was_joined
    }

    /// The next letter for this viewer that matters so much at least. Cancelling the wait loses nothing.
    pub async fn next(&mut self, least: Lane) -> Letter {
        loop {
            let letter = self.mailbox.take(least).await;
            match &letter {
                Letter::Event(event) if !self.is_due(event) => {}
                Letter::Missed(topic) => {
                    // Offsets start anew.
                    if let Some(place) = self.places.get_mut(topic.as_ref()) {
                        place.offset = 0;
                        return letter;
                    }
                }
                _ => return letter,
            }
        }
    }

    /// Whether an event is for this viewer: its topic is joined, and it is the next one that the viewer gets of it.
    fn is_due(&mut self, event: &Event) -> bool {
        match self.places.get_mut(&event.topic) {
            Some(_) if !event.is_kept() => true,
            Some(place) if place.is_live && event.offset > place.offset => {
                place.offset = event.offset;
                true
            }
            _ => false,
        }
    }

    fn stand(&mut self, topic: &Topic, opened: &Opened, is_live: bool) {
        let is_live = is_live && !self.is_held;
        if let Some(place) = self.places.get_mut(topic) {
            *place = Place { epoch: opened.position.epoch, offset: opened.reached, is_live };
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let topics: Vec<Topic> = self.places.keys().cloned().collect();
        for topic in &topics {
            self.leave(topic);
        }
        self.hub.leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::live::bus::{Bounds, News};
    use crate::model::{
        clock::Clock,
        event::{Draft, Happening},
        ids::{ConversationId, SessionId, UserId},
        user::Role,
    };

    const BOUNDS: crate::session::lanes::Bounds =
        crate::session::lanes::Bounds { frames: 1000, bytes: 1 << 20, ttl: std::time::Duration::from_secs(3600) };

    /// Published events on their way to the viewers.
    type UnderWay = Arc<Mutex<Vec<Arc<Event>>>>;

    /// A viewer, and a conversation whose events arrive when they are let.
    struct Scene {
        hub: Hub,
        bus: Bus,
        under_way: UnderWay,
        seat: Seat,
        conversation: ConversationId,
    }

    impl Scene {
        fn new() -> Self {
            let (clock, hub, under_way) = (Clock::default(), Hub::new(BOUNDS), UnderWay::default());
            let sent = under_way.clone();
            let send = move |news: News<'_>| match news {
                News::Event(event) | News::Whisper(event) => {
                    sent.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone())
                }
                News::Missed(topic) => panic!("nothing is missed in memory: {topic}"),
            };
            let history = Bounds { events: 1000, bytes: 1 << 20, age: std::time::Duration::from_secs(3600) };
            let bus = Bus::new(clock, None, history, Box::new(send));
            let caller = Caller {
                user_id: UserId::generate(),
                username: "alice".to_owned(),
                role: Role::User,
                scopes: None,
                session_id: SessionId::generate(),
                expires_at: clock.now(),
            };
            let seat = Seat::take(hub.clone(), bus.clone(), &caller);
            Self { hub, bus, under_way, seat, conversation: ConversationId::generate() }
        }

        fn topic(&self) -> Topic {
            Topic::Conversation(self.conversation)
        }

        /// Publishes an event, which stays under way.
        async fn publish(&self) {
            let happening = Happening::MessageDeleted;
            let draft = Draft::within(self.conversation, None, happening);
            self.bus.publish(self.topic(), draft).await;
        }

        /// Lets all that was published arrive.
        fn arrive(&self) {
            let events = std::mem::take(&mut *self.under_way.lock().unwrap_or_else(PoisonError::into_inner));
            events.iter().for_each(|event| self.hub.deliver(News::Event(event)));
        }

        /// Joins after this offset, or from now on: the offsets of what was missed.
        async fn join(&mut self, after: Option<u64>) -> Vec<u64> {
            let (topic, since) = (self.topic(), after.map(|offset| (None, offset)));
            self.seat.join(&topic, since, usize::MAX).await.missed.iter().map(|event| event.offset).collect()
        }

        /// The offset of the next event.
        async fn next(&mut self) -> u64 {
            match self.seat.next(Lane::Low).await {
                Letter::Event(event) => event.offset,
                other => panic!("not an event: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_was_published_before_a_viewer_joined_and_arrives_after_is_not_for_it() {
        let mut scene = Scene::new();
        scene.publish().await;
        scene.publish().await;
        assert!(scene.join(None).await.is_empty());
        scene.publish().await;
        scene.arrive();
        assert_eq!(scene.next().await, 3);
    }

    #[tokio::test]
    async fn what_a_viewer_got_as_missed_does_not_come_again_when_it_arrives() {
        let mut scene = Scene::new();
        scene.publish().await;
        scene.publish().await;
        assert_eq!(scene.join(Some(1)).await, [2]);
        scene.publish().await;
        scene.arrive();
        assert_eq!(scene.next().await, 3);
    }

    #[tokio::test]
    async fn who_joins_again_from_a_place_gets_what_waits_as_missed_and_once() {
        let mut scene = Scene::new();
        scene.join(None).await;
        scene.publish().await;
        scene.publish().await;
        scene.arrive();
        assert_eq!(scene.join(Some(0)).await, [1, 2]);
        scene.publish().await;
        scene.arrive();
        assert_eq!(scene.next().await, 3);
    }

    #[tokio::test]
    async fn who_joins_again_from_now_on_still_gets_what_waits() {
        let mut scene = Scene::new();
        scene.join(None).await;
        scene.publish().await;
        scene.arrive();
        assert!(scene.join(None).await.is_empty());
        assert_eq!(scene.next().await, 1);
        // Nor does a place that cannot be recovered take anything away.
        scene.publish().await;
        scene.arrive();
        assert!(scene.join(Some(9)).await.is_empty());
        assert_eq!(scene.next().await, 2);
    }

    #[tokio::test]
    async fn who_joins_while_nothing_is_taken_catches_up_afterwards() {
        let mut scene = Scene::new();
        scene.seat.hold();
        scene.join(None).await;
        scene.publish().await;
        scene.arrive();
        scene.seat.go_on();
        let behind: Vec<Topic> = scene.seat.behind().cloned().collect();
        assert_eq!(behind, [scene.topic()]);
        let missed = scene.seat.catch_up(&scene.topic(), usize::MAX).await.missed;
        assert_eq!(missed.iter().map(|event| event.offset).collect::<Vec<_>>(), [1]);
        assert!(scene.seat.catch_up(&scene.topic(), usize::MAX).await.missed.is_empty());
        scene.publish().await;
        scene.arrive();
        assert_eq!(scene.next().await, 2);
    }

    #[tokio::test]
    async fn what_waits_of_a_topic_that_was_left_is_dropped() {
        let mut scene = Scene::new();
        scene.join(None).await;
        scene.publish().await;
        scene.arrive();
        scene.seat.leave(&scene.topic());
        scene.join(None).await;
        scene.publish().await;
        scene.arrive();
        assert_eq!(scene.next().await, 2);
    }
}
