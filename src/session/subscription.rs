//! Subscriptions of a connection: from now on, or from a place that the viewer knows.

use super::{
    command::{Answer, Outgoing, Subscribed, Wanted},
    connection::Connection,
    follow, splice,
};
use crate::{
    error::{Error, Result, Violation},
    model::{
        conversation::{MemberRole, Membership},
        cursor::Cursor,
        event::{Draft, Happening},
        ids::ConversationId,
        topic::{Epoch, Topic},
    },
};

/// Topics that one connection may have joined.
const MAX_TOPICS: usize = 1000;

/// Types of events that may be subscribed to.
const EVENT_TYPES: [&str; 14] = [
    "upload.progress",
    "upload.completed",
    "upload.error",
    "upload.cancelled",
    "review.updated",
    "review.created",
    "review.deleted",
    "system.notification",
    "system.maintenance",
    "user.status_changed",
    "file.processing",
    "file.ready",
    "emotion_update",
    "analysis_update",
];

impl Connection {
    /// Joins topics: first the word that they are joined, then what was missed of each, then answers under way. Names
    /// that are not topics of this viewer's are refused together and leave the others in force.
    pub(super) async fn subscribe(&mut self, reply_to: Option<String>, wanted: Vec<Wanted>) -> Vec<Outgoing> {
        let mut joined = Vec::new();
        let mut missed = Vec::new();
        let mut refused = Vec::new();
        // What was missed of all of them shares one page; the rest is recovered beside what is live.
        let bytes = self.sessions.rules.page_bytes / wanted.len().max(1);
        self.backlog.make_room();
        for Wanted { name, topic, since } in wanted {
            if self.seat.topics().count() >= MAX_TOPICS {
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
            let (subscribed, outgoing) = self.enter(topic, since, membership, bytes).await;
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
        self.backlog.make_room();
        match self.may_see(Some(&topic)).await {
            Ok(membership) => {
                let (joined, missed) = self.enter(topic, None, membership, 0).await;
                let confirmed = Outgoing::Answer(reply_to, Answer::Subscribed(vec![joined]));
                [confirmed].into_iter().chain(missed).collect()
            }
            Err(error) => vec![Outgoing::Answer(reply_to, Answer::Refused(error))],
        }
    }

    /// Joins a topic that the viewer may see: what was missed of it, or what waited, and answers under way.
    async fn enter(
        &mut self,
        topic: Topic,
        since: Option<(Option<Epoch>, u64)>,
        membership: Option<Membership>,
        bytes: usize,
    ) -> (Subscribed, Vec<Outgoing>) {
        let opened = self.seat.join(&topic, since, bytes).await;
        if since.is_some() && opened.gap.is_none() {
            self.recovery.forget(&topic);
        }
        if opened.gap.is_none() && opened.reached < opened.position.offset {
            self.recovery.add([topic.clone()]);
        }
        if let Topic::Conversation(id) = topic {
            self.attendance.enter(id);
        }
        let mut missed: Vec<_> = opened.missed.into_iter().map(Outgoing::Event).collect();
        if let Some(membership) = membership
            && (since.is_none() || opened.gap.is_some())
        {
            missed.extend(self.hand_over(membership).await);
            missed.extend(self.answers_under_way(membership).await);
        }
        let gap = opened.gap.map(|gap| gap.as_str());
        (Subscribed { topic, offset: opened.position.offset, epoch: opened.position.epoch, gap }, missed)
    }

    /// Leaves topics.
    pub(super) fn unsubscribe(&mut self, topics: impl IntoIterator<Item = Topic>) -> Answer {
        Answer::Unsubscribed(topics.into_iter().filter(|topic| self.leave(topic)).collect())
    }

    /// Leaves a topic; false when it was not joined.
    pub(super) fn leave(&mut self, topic: &Topic) -> bool {
        self.recovery.forget(topic);
        if let Topic::Conversation(id) = topic {
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
            Some(Topic::Event(name)) if EVENT_TYPES.contains(&name.as_str()) => Ok(None),
            Some(Topic::User(_) | Topic::Event(_)) | None => Err(Error::NotFound("topic")),
        }
    }

    /// Of each run that lasts in a conversation: its start, its text so far and the tools that it called.
    async fn answers_under_way(&mut self, membership: Membership) -> Vec<Outgoing> {
        let (runs, conversation_id) = (self.sessions.runs.clone(), membership.conversation_id);
        let running = match self.sessions.run(async move { runs.running(conversation_id).await }).await {
            Ok(running) => running,
            Err(error) => return vec![Outgoing::Answer(None, Answer::Refused(error))],
        };
        let mut outgoing = Vec::new();
        for id in running {
            let read = follow::so_far(&self.sessions.lifecycle, &self.sessions.runs, membership, id).await;
            let (text, message) = match read {
                Ok(read) => read,
                Err(error) => {
                    outgoing.push(Outgoing::Answer(None, Answer::Refused(error)));
                    continue;
                }
            };
            // Of a run that has ended in between, the end waits in the mailbox.
            let content = if message.status.is_running() { text } else { message.content.clone() };
            let tools = splice::tool_events(&message.tool_calls);
            self.shown.set(id, Cursor { bytes: content.len() as u64, tools: tools.len() as u64 });
            let text = [Happening::start_of(&message), Happening::Snapshot { content }];
            for happening in text.into_iter().chain(tools.into_iter().map(|(.., happening)| happening)) {
                outgoing.push(Outgoing::Draft(Draft { conversation_id, message_id: Some(id), happening }));
            }
        }
        outgoing
    }
}
