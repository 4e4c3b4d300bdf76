//! A seat: one viewer's place on this node, with its mailbox and its topics; given up when it is dropped.

use std::{collections::HashMap, sync::Arc};

use super::{
    hub::Hub,
    mailbox::{Letter, Mailbox},
};
use crate::{
    live::bus::{Bus, Opened, Since},
    model::{caller::Caller, ids::ConnectionId, topic::Topic},
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
                Letter::Event(event) if self.floors.get(&event.topic).is_none_or(|floor| event.offset <= *floor) => {}
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
