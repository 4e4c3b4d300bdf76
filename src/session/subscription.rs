//! Subscriptions of a connection: from now on, or from a place that the viewer knows.

use std::sync::Arc;

use super::{
    command::{Answer, Outgoing, Subscribed, Wanted},
    connection::Connection,
    splice,
};
use crate::{
    error::{Error, Result, Violation},
    model::{
        conversation::{MemberRole, Membership},
        cursor::Cursor,
        event::{Draft, Event, Happening},
        ids::ConversationId,
        topic::{Epoch, EpochTag, Position, Topic},
        user::Role,
    },
    service::deliveries::Waiting,
};

/// Topics that one connection may have chosen to join.
const MAX_TOPICS: usize = 1000;

/// The place to which a viewer comes back.
#[derive(Clone, Copy, Debug)]
struct Known {
    since: (Option<Epoch>, u64),
    /// Whether it was owed something there that it may not have got.
    is_owed: bool,
}

impl Connection {
    /// Joins topics: first the word that they are joined, then what waited, answers under way and what was missed of each. Names
    /// that are not topics of this viewer's are refused together and leave the others in force.
    pub(super) async fn subscribe(&mut self, reply_to: Option<String>, wanted: Vec<Wanted>) -> Vec<Outgoing> {
        let mut joined = Vec::new();
        let mut missed = Vec::new();
        let mut refused = Vec::new();
        // What was missed of all of them shares one page; the rest is recovered beside what is live.
        let bytes = self.sessions.rules.page_bytes / wanted.len().max(1);
        self.make_room();
        for Wanted { name, topic, since, is_owed } in wanted {
            let is_joined = topic.as_ref().is_some_and(|topic| self.seat.has_joined(topic));
            if !is_joined && self.seat.topics().filter(|topic| topic.is_chosen()).count() >= MAX_TOPICS {
                refused.push(Violation { field: name, description: format!("{MAX_TOPICS} topics are joined already") });
                continue;
            }
            let membership = match self.may_see(topic.as_ref()).await {
                Ok(membership) => membership,
                Err(Error::NotFound(_)) => {
                    refused.push(Violation { field: name, description: "no such topic".to_owned() });
                    continue;
                }
                Err(error) => {
                    missed.push(Outgoing::Answer(reply_to.clone(), Answer::Refused(error)));
                    continue;
                }
            };
            let Some(topic) = topic else { continue };
            let known = since.map(|since| Known { since, is_owed });
            let (subscribed, outgoing) = self.enter(topic, known, membership, bytes).await;
            joined.push(subscribed);
            missed.extend(outgoing);
        }
        let mut outgoing = Vec::with_capacity(missed.len() + 2);
        if !joined.is_empty() || refused.is_empty() {
            outgoing.push(Outgoing::Answer(reply_to.clone(), Answer::Subscribed(joined)));
        }
        if !refused.is_empty() {
            outgoing.push(Outgoing::Answer(reply_to, Answer::Refused(Error::Invalid(refused))));
        }
        outgoing.extend(missed);
        outgoing
    }

    /// Joins one conversation from now on, or says that there is none.
    pub(super) async fn join(&mut self, reply_to: Option<String>, id: ConversationId) -> Vec<Outgoing> {
        let topic = Topic::Conversation(id);
        self.make_room();
        match self.may_see(Some(&topic)).await {
            Ok(membership) => {
                let (joined, missed) = self.enter(topic, None, membership, 0).await;
                let confirmed = Outgoing::Answer(reply_to, Answer::Subscribed(vec![joined]));
                [confirmed].into_iter().chain(missed).collect()
            }
            Err(error) => vec![Outgoing::Answer(reply_to, Answer::Refused(error))],
        }
    }

    /// Joins a topic that the viewer may see: what waited, answers under way, and what was missed of it.
    async fn enter(
        &mut self,
        topic: Topic,
        known: Option<Known>,
        membership: Option<Membership>,
        bytes: usize,
    ) -> (Subscribed, Vec<Outgoing>) {
        let (since, is_new) = (known.map(|known| known.since), !self.seat.has_joined(&topic));
        let opened = self.seat.join(&topic, since, bytes).await;
        // Of a place that can be recovered.
        let known = known.filter(|_| opened.gap.is_none());
        let is_owed = known.is_some_and(|known| known.is_owed || self.recovery.waits(&topic));
        if known.is_some() {
            self.recovery.forget(&topic);
        }
        if let Topic::Conversation(id) = topic {
            self.attendance.enter(id);
        }
        let place = known.map(|known| known.since.1);
        let mut outgoing = Vec::new();
        if let Some(membership) = membership {
            if is_owed || (known.is_none() && is_new) {
                // What the log tells of comes from there, where it has a place.
                let mut told = opened.messages;
                told.extend(self.receipts.held(membership.conversation_id));
                outgoing = self.hand_over(Waiting::new(membership, told), &opened.missed).await;
            } else if known.is_none() && !self.recovery.waits(&topic) {
                outgoing = self.answers_under_way(membership, &[]).await;
            }
        }
        let waits = self.recovery.waits(&topic);
        let owed_at = (waits || !outgoing.is_empty()).then_some(place.unwrap_or(opened.position.offset));
        if waits {
            // Nothing live comes before it.
            self.seat.fall_behind(&topic, place);
        } else {
            let clock = self.sessions.clock;
            let missed = opened.missed.into_iter().filter(|event| !event.is_over(clock) && self.notices.is_new(event));
            outgoing.extend(missed.filter_map(|event| match owed_at {
                // Of an answer under way the text is known up to some place.
                Some(_) => self.shown.pass(event),
                None => Some(Outgoing::Event(event)),
            }));
            if self.seat.behind().any(|other| *other == topic) {
                self.recovery.add([topic.clone()]);
            }
        }
        let Position { epoch, offset } = opened.position;
        let gap = opened.gap.map(|gap| gap.as_str());
        (Subscribed { topic, offset, epoch: EpochTag { epoch, owed_at }, gap }, outgoing)
    }

    /// The viewer may do more or less from now on: it leaves the topics that it may not see any more.
    pub(super) fn change_role(&mut self, role: Role) {
        self.caller.role = role;
        let registry = self.sessions.events.registry();
        let is_lost = |topic: &&Topic| topic.event_type().is_some_and(|name| !registry.may_subscribe(role, name));
        let lost: Vec<Topic> = self.seat.topics().filter(is_lost).cloned().collect();
        if !lost.is_empty() {
            let answer = self.unsubscribe(lost);
            self.ready.push_back(Outgoing::Answer(None, answer));
        }
    }

    /// Leaves topics.
    pub(super) fn unsubscribe(&mut self, topics: impl IntoIterator<Item = Topic>) -> Answer {
        Answer::Unsubscribed(topics.into_iter().filter(|topic| self.leave(topic)).collect())
    }

    /// Leaves a topic; false when it was not joined.
    pub(super) fn leave(&mut self, topic: &Topic) -> bool {
        self.recovery.forget(topic);
        if let Topic::Conversation(id) = topic {
            self.backlog.forget(*id);
            self.attendance.exit(*id);
        }
        self.seat.leave(topic)
    }

    /// The viewer's right to see a topic; of a conversation, its membership.
    async fn may_see(&self, topic: Option<&Topic>) -> Result<Option<Membership>> {
        match topic {
            Some(Topic::Conversation(id)) => {
                let (access, caller, id) = (self.sessions.access.clone(), self.caller.clone(), *id);
                let find = async move { access.conversation(&caller, id, MemberRole::Viewer).await };
                self.sessions.run(find).await.map(Some)
            }
            Some(Topic::User(id)) if *id == self.caller.user_id => Ok(None),
            Some(Topic::System) => Ok(None),
            Some(Topic::Event(name)) if self.sessions.events.registry().may_subscribe(self.caller.role, name) => {
                Ok(None)
            }
            Some(Topic::User(_) | Topic::Event(_)) | None => Err(Error::NotFound("topic")),
        }
    }

    /// Of each run that lasts in a conversation: its start, its text so far and the tools that it called, up to where `missed`
    /// goes on with it. Of a run that begins there, nothing.
    pub(super) async fn answers_under_way(&mut self, membership: Membership, missed: &[Arc<Event>]) -> Vec<Outgoing> {
        let (runs, conversation_id) = (self.sessions.runs.clone(), membership.conversation_id);
        let running = match self.sessions.run(async move { runs.all_so_far(&membership).await }).await {
            Ok(running) => running,
            Err(error) => return vec![Outgoing::Answer(None, Answer::Refused(error))],
        };
        let mut outgoing = Vec::new();
        for mut message in running {
            let mut content = std::mem::take(&mut message.content);
            let id = message.id;
            let mut tools = splice::tool_events(&message.tool_calls);
            let Some(place) = splice::before(id, missed) else { continue };
            content.truncate(content.floor_char_boundary(usize::try_from(place.bytes).unwrap_or(usize::MAX)));
            tools.retain(|(number, ..)| *number <= place.tools);
            self.shown.set(id, Cursor { bytes: content.len() as u64, tools: tools.len() as u64 });
            let text = [Happening::start_of(&message), Happening::Snapshot { content }];
            for happening in text.into_iter().chain(tools.into_iter().map(|(.., happening)| happening)) {
                outgoing.push(Outgoing::Draft(Draft::within(conversation_id, Some(id), happening)));
            }
        }
        outgoing
    }
}
