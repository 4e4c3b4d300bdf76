//! Published events: who may publish which, to whom, and once for each key.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{content, text::label_fault};
use crate::{
    config::ContentPolicy,
    error::{Error, Result, Violation},
    live::{bus::Bus, idempotency::Idempotency},
    model::{
        caller::Caller,
        clock::Clock,
        credential::Digest,
        event::{Draft, Happening},
        ids::EventId,
        publication::{self, Audience, Priority, Publication, Registry},
        topic::Topic,
        user::Role,
    },
    store::Store,
};

/// Bytes of an event's data, as JSON.
const MAX_DATA: usize = 32_768;
/// What everyone is told by.
const NOTICE: &str = "system.notification";
/// Users that one event may name.
const MAX_USERS: usize = 1000;
/// How long an event may be delivered that says for how long.
const MAX_TTL: Duration = Duration::from_secs(86_400);

/// Counts the viewers of topics on this node.
pub type Reach = Box<dyn Fn(&[Topic]) -> usize + Send + Sync>;

/// What events are published with.
pub struct Parts {
    /// Knows the users and the conversations.
    pub store: Store,
    /// Where they are published.
    pub bus: Bus,
    /// Tells the time.
    pub clock: Clock,
    /// Their types.
    pub registry: Registry,
    /// Remembers the keys of publishers.
    pub idempotency: Idempotency,
    /// What may be said.
    pub policy: ContentPolicy,
    /// How many see it at once.
    pub reach: Reach,
}

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Parts>);

/// An event to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Its type.
    pub event_type: String,
    /// What it says.
    pub data: serde_json::Map<String, serde_json::Value>,
    /// Whom it is for.
    pub audience: Audience,
    /// How much it matters.
    pub priority: Priority,
    /// For how long it may be delivered.
    pub ttl: Option<Duration>,
    /// By which a retry finds what the first try did.
    pub idempotency_key: Option<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The event.
    pub id: EventId,
    /// Viewers that it reached on this node at once.
    pub delivered: usize,
}

impl Events {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The types.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The types of these names.
    ///
    /// # Errors
    /// Names that are no type that the caller may subscribe to.
    pub fn subscribable(&self, caller: &Caller, names: Vec<String>) -> Result<HashSet<String>> {
        let is_known = |name: &String| self.0.registry.may_subscribe(caller.role, name);
        let (known, unknown): (HashSet<String>, HashSet<String>) = names.into_iter().partition(is_known);
        if unknown.is_empty() {
            return Ok(known);
        }
        let fault = |name| Violation { field: "events".to_owned(), description: format!("there is no type {name:?}") };
        Err(Error::Invalid(unknown.into_iter().map(fault).collect()))
    }

    /// Publishes an event, once for each key of the publisher.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] when the caller may not publish the type, faults of the fields, [`Error::NotFound`] when there
    /// is no such conversation.
    pub async fn publish(&self, caller: &Caller, new: NewEvent) -> Result<Published> {
        let unknown = || Error::invalid("type", "is no registered type of events");
        let event_type = self.0.registry.get(&new.event_type).ok_or_else(unknown)?;
        if !event_type.publish.contains(&caller.role) {
            return Err(Error::ROLE);
        }
        self.check(&new)?;
        // People speak to whoever asked to hear them, and to nobody else.
        if caller.role == Role::User && new.audience != Audience::Subscribers {
            return Err(Error::ROLE);
        }
        let topics = self.topics(&new).await?;
        let claim = new.idempotency_key.as_deref().map(|key| Digest::of(&format!("{}:{key}", caller.user_id)));
        let mut published = Published { id: EventId::generate(), delivered: 0 };
        if let Some(key) = claim {
            let word = serde_json::to_string(&published).map_err(Error::internal)?;
            if let Some(word) = self.0.idempotency.claim(key, &word).await {
                return serde_json::from_str(&word).map_err(Error::internal);
            }
        }
        published.delivered = self.send(published.id, new, topics).await;
        if let Some(key) = claim {
            self.0.idempotency.settle(key, &serde_json::to_string(&published).map_err(Error::internal)?).await;
        }
        Ok(published)
    }

    /// A `system.notification` for everyone, which an admin may publish whatever its type says of roles.
    ///
    /// # Errors
    /// Faults of the fields.
    pub(crate) fn notice(&self, message: String, level: String) -> Result<NewEvent> {
        let level = if level.is_empty() { "info".to_owned() } else { level };
        let data = [("message".to_owned(), message.into()), ("level".to_owned(), level.into())];
        let new = NewEvent {
            event_type: NOTICE.to_owned(),
            data: data.into_iter().collect(),
            audience: Audience::Everyone,
            priority: Priority::Normal,
            ttl: None,
            idempotency_key: None,
        };
        self.check(&new)
            .map_err(|error| error.with_field("data.message", "message").with_field("data.level", "level"))?;
        Ok(new)
    }

    /// Publishes what [`Events::notice`] made.
    pub(crate) async fn broadcast(&self, id: EventId, notice: NewEvent) -> Published {
        Published { id, delivered: self.send(id, notice, vec![Topic::System]).await }
    }

    /// Sends it to its topics; how many viewers it reached on this node.
    async fn send(&self, id: EventId, new: NewEvent, topics: Vec<Topic>) -> usize {
        let expires_at = new.ttl.map(|ttl| self.0.clock.now() + ttl);
        let NewEvent { event_type, data, priority, .. } = new;
        let delivered = (self.0.reach)(&topics);
        metrics::counter!("colloquy_events_published_total", "type" => event_type.clone()).increment(1);
        let size = serde_json::to_vec(&data).map_or(0, |json| json.len());
        let data = Arc::new(data);
        let publication = Publication { id, event_type, data, size, priority, expires_at };
        for topic in topics {
            let conversation_id = if let Topic::Conversation(id) = topic { Some(id) } else { None };
            let happening = Happening::Published(Box::new(publication.clone()));
            let draft = Draft { conversation_id, message_id: None, happening };
            match priority {
                Priority::Low => self.0.bus.whisper(topic, draft).await,
                Priority::Normal | Priority::High => _ = self.0.bus.publish(topic, draft).await,
            }
        }
        delivered
    }

    fn check(&self, new: &NewEvent) -> Result<()> {
        let data = serde_json::to_string(&new.data).map_err(Error::internal)?;
        let key = new.idempotency_key.as_deref().unwrap_or_default();
        let is_in_time = new.ttl.is_none_or(|ttl| (Duration::from_secs(1)..=MAX_TTL).contains(&ttl));
        Error::of_faults([
            ("data", (data.len() > MAX_DATA).then_some("must have at most 32768 bytes")),
            ("ttl_seconds", (!is_in_time).then_some("must be 1 to 86400")),
            ("idempotency_key", label_fault(key, 0..=128, "must have at most 128 characters")),
        ])?;
        if let Some((field, wanted)) = publication::data_fault(&new.event_type, &new.data) {
            return Err(Error::invalid(format!("data.{field}"), wanted));
        }
        content::check(self.0.policy, "data", &data)
    }

    /// Where it is published.
    async fn topics(&self, new: &NewEvent) -> Result<Vec<Topic>> {
        match &new.audience {
            Audience::Users(users) if users.is_empty() || users.len() > MAX_USERS => {
                Err(Error::invalid("user_ids", format!("must be 1 to {MAX_USERS}")))
            }
            Audience::Users(users) => {
                let known = self.0.store.users_among(users).await?;
                match users.iter().position(|user| !known.contains(user)) {
                    Some(at) => Err(Error::invalid(format!("user_ids[{at}]"), "is no user's")),
                    None => Ok(known.into_iter().map(Topic::User).collect()),
                }
            }
            Audience::Conversation(id) if self.0.store.has_conversation(*id).await? => {
                Ok(vec![Topic::Conversation(*id)])
            }
            Audience::Conversation(_) => Err(Error::NotFound("conversation")),
            Audience::Subscribers => Ok(vec![Topic::Event(new.event_type.clone())]),
            Audience::Everyone => Ok(vec![Topic::System]),
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Events").finish_non_exhaustive()
    }
}
