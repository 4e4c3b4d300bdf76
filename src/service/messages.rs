//! Sending: a person's message and its answer, appended together, then told and started.

use std::time::Duration;

use super::{access::Access, content, runs::Runs};
use crate::{
    config::ContentPolicy,
    error::{Error, Result},
    live::bus::Bus,
    llm::Models,
    model::{
        caller::Caller,
        clock::Clock,
        conversation::{MemberRole, Membership},
        event::{Draft, Happening},
        ids::{ConversationId, MessageId},
        message::{Message, MessageRole},
        topic::Topic,
        usage::DailyQuota,
    },
    store::{NewReply, NewTurn, Opening, Place, Store, Turn},
};

/// Characters of a sender's own id.
const MAX_CLIENT_ID: usize = 128;
/// Characters of the title that a conversation gets from its first message.
const TITLE_LENGTH: usize = 80;

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// The person's words.
    pub content: String,
    /// The sender's own id, by which a retry is known.
    pub client_message_id: Option<String>,
    /// Whether the model answers.
    pub reply: bool,
    /// The model that answers; `None`: the conversation's.
    pub model: Option<String>,
}

/// What was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// Its answer.
    pub reply: Option<Message>,
    /// Whether it was sent before, and now only found again.
    pub is_repeat: bool,
}

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub struct Messages {
    access: Access,
    store: Store,
    bus: Bus,
    models: Models,
    runs: Runs,
    clock: Clock,
    rules: Rules,
}

/// What messages and their senders must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of a text at most.
    pub max_bytes: usize,
    /// What happens to markup.
    pub policy: ContentPolicy,
    /// What each user has for a day.
    pub quota: Option<DailyQuota>,
}

impl Messages {
    /// Sends what keeps to the rules.
    pub fn new(access: Access, store: Store, bus: Bus, models: Models, runs: Runs, clock: Clock, rules: Rules) -> Self {
        Self { access, store, bus, models, runs, clock, rules }
    }

    /// Sends a message into a conversation of the caller's. Sent again with the same `client_message_id`, it returns the
    /// first result and starts nothing.
    ///
    /// # Errors
    /// Access, faults of the fields, [`Error::QuotaExceeded`], [`Error::ConversationBusy`].
    pub async fn send(&self, caller: &Caller, conversation: ConversationId, sending: Sending) -> Result<Sent> {
        let membership = self.access.conversation(caller, conversation, MemberRole::Member).await?;
        self.check(&sending)?;
        self.append(membership, Place::End, sending).await
    }

    /// Opens the conversation for a message that names none; a repeat finds the one that was opened first.
    ///
    /// # Errors
    /// Faults of the fields, [`Error::QuotaExceeded`] when there is none yet.
    pub async fn open_conversation(&self, caller: &Caller, sending: &Sending) -> Result<ConversationId> {
        self.check(sending)?;
        let title = sending.content.trim().lines().next().unwrap_or_default().chars().take(TITLE_LENGTH).collect();
        let client_message_id = sending.client_message_id.clone();
        let quota = self.rules.quota.filter(|_| sending.reply);
        let opening = Opening { title, client_message_id, quota, now: self.clock.now() };
        self.store.open_conversation(caller.user_id, &opening).await
    }

    /// Puts a new version of the caller's own message beside it.
    ///
    /// # Errors
    /// As [`Self::send`]; [`Error::PermissionDenied`] for messages of others, [`Error::FailedPrecondition`] for answers.
    pub async fn edit(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        id: MessageId,
        sending: Sending,
    ) -> Result<Sent> {
        let membership = self.access.conversation(caller, conversation, MemberRole::Member).await?;
        let original = self.find(&membership, id).await?;
        if original.role != MessageRole::User {
            return Err(Error::FailedPrecondition("only messages of people can be edited; regenerate answers"));
        }
        if original.author_id != Some(caller.user_id) {
            return Err(Error::PermissionDenied("only the author edits a message"));
        }
        self.check(&sending)?;
        self.append(membership, Place::Beside(id), sending).await
    }

    /// Starts another answer beside one.
    ///
    /// # Errors
    /// Access, [`Error::FailedPrecondition`] for messages of people, [`Error::QuotaExceeded`],
    /// [`Error::ConversationBusy`].
    pub async fn regenerate(&self, caller: &Caller, id: MessageId, model: Option<String>) -> Result<Message> {
        let membership = self.access.message(caller, id, MemberRole::Member).await?;
        if self.find(&membership, id).await?.role != MessageRole::Assistant {
            return Err(Error::FailedPrecondition("only answers can be regenerated; edit messages of people"));
        }
        self.check_model(model.as_deref())?;
        let turn = NewTurn {
            place: Place::Beside(id),
            content: None,
            client_message_id: None,
            reply: Some(self.new_reply(model)),
            now: self.clock.now(),
        };
        let turn = self.store.append_turn(&membership, &turn).await?;
        let reply = turn.reply.clone().ok_or_else(|| Error::internal(anyhow::anyhow!("no answer was appended")))?;
        self.begin(membership, turn, Place::Beside(id)).await;
        Ok(reply)
    }

    /// Stops a run and returns its message once it is settled; an ended one is returned as it is.
    ///
    /// # Errors
    /// Access, [`Error::DeadlineExceeded`] when the run does not settle in time.
    pub async fn stop(&self, caller: &Caller, conversation: ConversationId, id: MessageId) -> Result<Message> {
        let membership = self.access.conversation(caller, conversation, MemberRole::Member).await?;
        self.find(&membership, id).await?;
        self.runs.stop(&membership, id).await
    }

    /// Leaves word that a run shall stop and returns its conversation.
    ///
    /// # Errors
    /// Access.
    pub async fn ask_to_stop(&self, caller: &Caller, id: MessageId) -> Result<ConversationId> {
        let membership = self.access.message(caller, id, MemberRole::Member).await?;
        self.runs.ask_to_stop(&membership, id).await?;
        Ok(membership.conversation_id)
    }

    /// The answer once its run has ended, or as it is after `within`.
    ///
    /// # Errors
    /// Access.
    pub async fn ended(&self, caller: &Caller, id: MessageId, within: Duration) -> Result<Message> {
        let membership = self.access.message(caller, id, MemberRole::Viewer).await?;
        self.runs.ended(&membership, id, within).await
    }

    async fn append(&self, membership: Membership, place: Place, sending: Sending) -> Result<Sent> {
        let turn = NewTurn {
            place,
            content: Some(sending.content),
            client_message_id: sending.client_message_id,
            reply: sending.reply.then(|| self.new_reply(sending.model)),
            now: self.clock.now(),
        };
        let turn = self.store.append_turn(&membership, &turn).await?;
        let message =
            turn.message.clone().ok_or_else(|| Error::internal(anyhow::anyhow!("no message was appended")))?;
        let sent = Sent { message, reply: turn.reply.clone(), is_repeat: turn.is_repeat };
        if !turn.is_repeat {
            self.begin(membership, turn, place).await;
        }
        Ok(sent)
    }

    /// Tells the members what was appended and starts the answer.
    async fn begin(&self, membership: Membership, turn: Turn, place: Place) {
        let conversation_id = membership.conversation_id;
        let topic = Topic::Conversation(conversation_id);
        // Words that were there: an answer stands beside one already.
        let is_another = turn.message.is_none();
        if let Some(message) = turn.message {
            let message_id = Some(message.id);
            let message = Box::new(message);
            let happening = match place {
                Place::End => Happening::Message(message),
                Place::Beside(_) => Happening::MessageUpdated(message),
            };
            self.bus.publish(topic.clone(), Draft::within(conversation_id, message_id, happening)).await;
        }
        if let Some(reply) = turn.reply {
            let happening = Happening::start_of(&reply);
            self.bus.publish(topic, Draft::within(conversation_id, Some(reply.id), happening)).await;
            self.runs.launch(membership, reply, is_another);
        }
        for replaced in turn.replaced {
            self.runs.hurry(replaced);
        }
    }

    async fn find(&self, membership: &Membership, id: MessageId) -> Result<Message> {
        self.store.message(membership, id).await?.ok_or(Error::NotFound("message"))
    }

    fn new_reply(&self, model: Option<String>) -> NewReply {
        let (lease_owner, lease_until) = self.runs.new_lease();
        let default_model = self.models.default_model().to_owned();
        NewReply { model, default_model, quota: self.rules.quota, lease_owner, lease_until }
    }

    fn check(&self, sending: &Sending) -> Result<()> {
        if sending.content.trim().is_empty() {
            return Err(Error::invalid("content", "must not be empty"));
        }
        if sending.content.len() > self.rules.max_bytes {
            return Err(Error::invalid("content", format!("must have at most {} bytes", self.rules.max_bytes)));
        }
        if sending.content.contains('\0') {
            return Err(Error::invalid("content", "must not contain the character U+0000"));
        }
        if let Some(id) = &sending.client_message_id
            && (id.is_empty() || id.chars().count() > MAX_CLIENT_ID || id.contains('\0'))
        {
            return Err(Error::invalid("client_message_id", format!("must have 1 to {MAX_CLIENT_ID} characters")));
        }
        content::check(self.rules.policy, "content", &sending.content)?;
        let client_message_id = sending.client_message_id.as_deref().unwrap_or_default();
        content::check(self.rules.policy, "client_message_id", client_message_id)?;
        self.check_model(sending.model.as_deref())
    }

    fn check_model(&self, model: Option<&str>) -> Result<()> {
        match model {
            Some(model) if !self.models.knows(model) => {
                Err(Error::invalid("model", "is not offered here; see ListModels"))
            }
            _ => Ok(()),
        }
    }
}
