//! A seat: one viewer's place on this node, with its mailbox and its topics; given up when it is dropped.

use std::{collections::HashMap, sync::Arc};

use super::{
    hub::Hub,
    mailbox::{Letter, Mailbox},
};
use crate::{
    live::bus::{Bus, Opened, Since},
    model::{caller::Caller, event::Event, ids::ConnectionId, topic::Topic},
};

/// A viewer's place.
#[derive(Debug)]
pub struct Seat {
    id: ConnectionId,
    mailbox: Arc<Mailbox>,
    hub: Hub,
    bus: Bus,
    /// The topics joined, each with the offset up to which events were handed out when joining.
    floors: HashMap<Topic, u64>,
}

impl Seat {
    /// Takes a place for the caller.
    pub fn take(hub: Hub, bus: Bus, caller: &Caller) -> Self {
        let id = ConnectionId::generate();
        let mailbox = Arc::new(Mailbox::default());
        hub.enter(id, caller.user_id, caller.session_id, mailbox.clone());
        Self { id, mailbox, hub, bus, floors: HashMap::new() }
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
        self.floors.keys()
    }

    /// Whether a topic is joined.
    pub fn has_joined(&self, topic: &Topic) -> bool {
        self.floors.contains_key(topic)
    }

    /// Joins a topic from a place on, or from now on. What was missed comes with the answer, what is new through
    /// [`Seat::next`], nothing in both.
    pub async fn join(&mut self, topic: &Topic, since: Since) -> Opened {
        // Registered first, and known to be, should the wait be cut short: what is published in between arrives in the
        // mailbox and is below the floor.
        let is_new = !self.floors.contains_key(topic);
        if is_new {
            self.hub.subscribe(topic.clone(), self.id, self.mailbox.clone());
            self.bus.open(topic);
            self.floors.insert(topic.clone(), u64::MAX);
        }
        let opened = self.bus.catch_up(topic, since).await;
        // Joined again from now on, what waits in the mailbox is still to come: the floor stays.
        if is_new || (since.is_some() && opened.gap.is_none()) {
            self.floors.insert(topic.clone(), opened.position.offset);
        }
        opened
    }

    /// Leaves a topic; false when it was not joined.
    pub fn leave(&mut self, topic: &Topic) -> bool {
        let was_joined = self.floors.remove(topic).is_some();
        if was_joined {
            self.hub.unsubscribe(topic, self.id);
            self.bus.close(topic);
        }
        was_joined
    }

    /// The next letter for this viewer. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Letter {
        loop {
            let letter = self.mailbox.take().await;
            match &letter {
                Letter::Event(event) if !self.is_due(event) => {}
                Letter::Missed(topic) => {
                    // Offsets start anew.
                    if let Some(floor) = self.floors.get_mut(topic.as_ref()) {
                        *floor = 0;
                        return letter;
                    }
                }
                _ => return letter,
            }
        }
    }

    /// Whether an event is for this viewer: its topic is joined, and it came after the viewer did.
    fn is_due(&self, event: &Event) -> bool {
        self.floors.get(&event.topic).is_some_and(|floor| !event.is_kept() || event.offset > *floor)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let topics: Vec<Topic> = self.floors.keys().cloned().collect();
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
            let (clock, hub, under_way) = (Clock::default(), Hub::default(), UnderWay::default());
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
            let draft = Draft { conversation_id: self.conversation, message_id: None, happening };
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
            self.seat.join(&topic, since).await.missed.iter().map(|event| event.offset).collect()
        }

        /// The offset of the next event.
        async fn next(&mut self) -> u64 {
            match self.seat.next().await {
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
