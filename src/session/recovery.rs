//! Recovery: what a viewer missed of its topics, page by page from the store and then from their histories, beside what is live.

use std::{
    collections::{HashSet, VecDeque},
    ops::ControlFlow,
    sync::Arc,
};

use super::connection::Connection;
use crate::{
    error::Error,
    model::{event::Event, topic::Topic},
    service::deliveries::Waiting,
};

/// The topics that a viewer is behind in, and what it gets next of one of them.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Conversations of which more is to be handed over, before anything of their logs is shown.
    waiting: VecDeque<Waiting>,
    /// Each once, in the order of their turns.
    topics: VecDeque<Topic>,
    page: VecDeque<Arc<Event>>,
}

impl Recovery {
    /// Whether the viewer is behind in nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.topics.is_empty() && self.page.is_empty()
    }

    /// The viewer is behind in these.
    pub(super) fn add(&mut self, topics: impl IntoIterator<Item = Topic>) {
        let known: HashSet<Topic> = self.topics.iter().cloned().collect();
        self.topics.extend(topics.into_iter().filter(|topic| !known.contains(topic)));
    }

    /// More is to be handed over of a conversation.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    /// Whether more is to be handed over of a topic.
    pub(super) fn waits(&self, topic: &Topic) -> bool {
        self.waiting.iter().any(|waiting| waiting.topic() == *topic)
    }

    /// The viewer has left a topic, or comes to it anew.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.waiting.retain(|waiting| waiting.topic() != *topic);
        self.topics.retain(|other| other != topic);
        self.page.retain(|event| event.topic != *topic);
    }
}

impl Connection {
    /// Shows the next event that the viewer missed, or hands over what waits before it. A history that has moved on meanwhile
    /// ends the connection: the viewer resumes, and learns what to load.
    pub(super) async fn recover(&mut self) -> ControlFlow<Option<Error>> {
        if let Some(event) = self.recovery.page.pop_front() {
            self.show(event);
            return ControlFlow::Continue(());
        }
        self.recovery.page = VecDeque::new();
        if self.notices.is_waiting() {
            self.hand_over_notices().await;
            return ControlFlow::Continue(());
        }
        if let Some(waiting) = self.recovery.waiting.pop_front() {
            let topic = waiting.topic();
            self.make_room();
            let handed = self.hand_over(waiting, &[]).await;
            self.ready.extend(handed);
            if !self.recovery.waits(&topic) {
                self.recovery.add([topic]);
            }
            return ControlFlow::Continue(());
        }
        let Some(topic) = self.recovery.topics.pop_front() else { return ControlFlow::Continue(()) };
        let opened = self.seat.catch_up(&topic, self.sessions.rules.page_bytes).await;
        if opened.gap.is_some() {
            return self.send_away("missed_events");
        }
        // Once more even if this was all: what is live follows only after it was shown.
        if !opened.missed.is_empty() {
            self.recovery.topics.push_back(topic);
        }
        self.recovery.page.extend(opened.missed);
        ControlFlow::Continue(())
    }
}
