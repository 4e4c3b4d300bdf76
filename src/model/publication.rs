//! Publications: events that services publish, and the registry of their types.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    clock::Timestamp,
    ids::{ConversationId, EventId, UserId},
    user::Role,
};

/// How much a publication matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// Of the moment: it is not kept.
    Low,
    /// Kept with its topic.
    #[default]
    Normal,
    /// Kept, and ahead of other topics.
    High,
}

/// Whom a publication is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// These users, subscribed or not.
    Users(Vec<UserId>),
    /// Whoever views the conversation.
    Conversation(ConversationId),
    /// Whoever subscribed to its type.
    Subscribers,
    /// Every connection.
    Everyone,
}

/// A published event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// Names it, wherever it is published.
    pub id: EventId,
    /// A registered type.
    pub event_type: String,
    /// What its publisher says: one text, however many topics it is published to.
    #[serde(with = "shared")]
    pub data: Arc<Map<String, Value>>,
    /// Bytes of its data as JSON: queues count them for every viewer.
    pub size: usize,
    /// How much it matters.
    pub priority: Priority,
    /// When it need not be delivered any more.
    pub expires_at: Option<Timestamp>,
}

impl Publication {
    /// Whether nobody need get it any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// Data as it travels.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(data: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
        data.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Map<String, Value>>, D::Error> {
        Map::deserialize(deserializer).map(Arc::new)
    }
}

/// A type of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Its name.
    pub name: String,
    /// Who may publish it.
    pub publish: Vec<Role>,
    /// Who may subscribe to it.
    pub subscribe: Vec<Role>,
}

/// The types that are there from the start.
pub const BUILT_IN: [&str; 14] = [
    "analysis_update",
    "emotion_update",
    "file.processing",
    "file.ready",
    "review.created",
    "review.deleted",
    "review.updated",
    "system.maintenance",
    "system.notification",
    "upload.cancelled",
    "upload.completed",
    "upload.error",
    "upload.progress",
    "user.status_changed",
];

/// The types of events, by name.
#[derive(Clone, Debug)]
pub struct Registry(BTreeMap<String, EventType>);

impl Registry {
    /// The built-in types and these, which stand in the place of a built-in one of their name.
    pub fn new(types: Vec<EventType>) -> Self {
        let built_in = BUILT_IN.map(|name| EventType {
            name: name.to_owned(),
            publish: vec![Role::Admin, Role::Service],
            subscribe: vec![Role::User, Role::Admin, Role::Service],
        });
        Self(built_in.into_iter().chain(types).map(|it| (it.name.clone(), it)).collect())
    }

    /// The type of this name.
    pub fn get(&self, name: &str) -> Option<&EventType> {
        self.0.get(name)
    }

    /// Whether there is such a type, and the role may subscribe to it.
    pub fn may_subscribe(&self, role: Role, name: &str) -> bool {
        self.get(name).is_some_and(|event_type| event_type.subscribe.contains(&role))
    }
}

/// What the data of a type must hold, as far as the type is known: the first field at fault, and what it must be.
pub fn data_fault(event_type: &str, data: &Map<String, Value>) -> Option<(&'static str, &'static str)> {
    let rules: &[(&'static str, Rule)] = match event_type {
        "system.notification" => &[("message", Rule::Text), ("level", Rule::Level)],
        "system.maintenance" => &[("message", Rule::Text)],
        "emotion_update" => {
            &[("emotion", Rule::Text), ("confidence", Rule::Part), ("intensity", Rule::Part), ("scores", Rule::Numbers)]
        }
        "analysis_update" => &[
            ("analysis_type", Rule::Text),
            ("status", Rule::OptionalText),
            ("progress", Rule::Part),
            ("result", Rule::Object),
        ],
        _ => &[],
    };
    if data.contains_key("type") {
        return Some(("type", "is the type of the event and no field of its data"));
    }
    rules.iter().find_map(|(name, rule)| rule.fault(data.get(*name)).map(|wanted| (*name, wanted)))
}

/// What a field must be.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Text,
    OptionalText,
    Level,
    Part,
    Numbers,
    Object,
}

impl Rule {
    fn fault(self, value: Option<&Value>) -> Option<&'static str> {
        let Some(value) = value else {
            return matches!(self, Self::Text).then_some("must be a text that is not empty");
        };
        let (is_good, wanted) = match self {
            Self::Text => (value.as_str().is_some_and(|text| !text.is_empty()), "must be a text that is not empty"),
            Self::OptionalText => (value.is_string(), "must be a text"),
            Self::Level => (
                value.as_str().is_some_and(|level| ["info", "success", "warning", "error"].contains(&level)),
                "must be info, success, warning or error",
            ),
            Self::Part => (value.as_f64().is_some_and(|part| (0.0..=1.0).contains(&part)), "must be 0 to 1"),
            Self::Numbers => (
                value.as_object().is_some_and(|scores| scores.values().all(Value::is_number)),
                "must be an object of numbers",
            ),
            Self::Object => (value.is_object(), "must be an object"),
        };
        (!is_good).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_of_a_known_type_is_checked_and_may_hold_more() {
        for (name, data, fault) in [
            ("system.notification", json!({"message": "hi"}), None),
            ("system.notification", json!({"level": "info"}), Some("message")),
            ("system.notification", json!({"message": "hi", "level": "loud"}), Some("level")),
            ("emotion_update", json!({"emotion": "joy", "confidence": 0.5, "more": 1}), None),
            ("emotion_update", json!({"emotion": "joy", "confidence": 1.5}), Some("confidence")),
            ("emotion_update", json!({"emotion": "joy", "scores": {"joy": "x"}}), Some("scores")),
            ("analysis_update", json!({"analysis_type": "a", "result": []}), Some("result")),
            ("review.created", json!({"anything": []}), None),
            ("review.created", json!({"type": 1}), Some("type")),
        ] {
            let found = data_fault(name, data.as_object().unwrap()).map(|(field, _)| field);
            assert_eq!(found, fault, "{name} {data}");
        }
    }
}
