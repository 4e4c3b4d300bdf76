//! Events as they travel between nodes: `epoch offset body`, the body being JSON, or empty where a new epoch begins; or
//! `~ node body` for what has no place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{
    clock::Timestamp,
    event::{Draft, Event},
    ids::NodeId,
    topic::{Position, Topic},
};

/// What stands before an event that has no place.
const WHISPER: &str = "~ ";

#[derive(Serialize)]
struct Written<'a> {
    id: Uuid,
    at: Timestamp,
    draft: &'a Draft,
}

#[derive(Deserialize)]
struct Read {
    id: Uuid,
    at: Timestamp,
    draft: Draft,
}

/// The body of an event that has no place yet.
pub(super) fn body(id: Uuid, at: Timestamp, draft: &Draft) -> serde_json::Result<String> {
    serde_json::to_string(&Written { id, at, draft })
}

/// What a node says that has no place.
pub(super) fn whisper(node: NodeId, id: Uuid, at: Timestamp, draft: &Draft) -> serde_json::Result<String> {
    Ok(format!("{WHISPER}{node} {}", body(id, at, draft)?))
}

/// Who said it, and the body, when it is something that has no place.
pub(super) fn whispered(payload: &str) -> Option<(NodeId, &str)> {
    let (node, body) = payload.strip_prefix(WHISPER)?.split_once(' ')?;
    Some((node.parse().ok()?, body))
}

/// The event of a body; `None` when this node cannot read it: a newer one may have written it.
pub(super) fn event(topic: &Topic, offset: u64, body: &str) -> Option<Arc<Event>> {
    match serde_json::from_str(body) {
        Ok(Read { id, at, draft }) => Some(Event::named(id, topic.clone(), offset, at, draft)),
        Err(error) => {
            tracing::warn!(topic.name = %topic, offset, %error, "an event of another node cannot be read");
            None
        }
    }
}

/// A message of a topic's channel: where its log stands now, and the body of the event that brought it there.
pub(super) fn message(payload: &str) -> Option<(Position, &str)> {
    let mut parts = payload.splitn(3, ' ');
    let epoch = parts.next()?.parse().ok()?;
    let offset = parts.next()?.parse().ok()?;
    Some((Position { epoch, offset }, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        clock::Clock,
        event::Happening,
        ids::{ConversationId, MessageId, UserId},
        topic::Epoch,
    };

    #[test]
    fn an_event_arrives_as_it_was_sent() {
        let (topic, at, id) = (Topic::System, Clock::default().now(), Uuid::now_v7());
        let happening = Happening::Token { content: "é 🦀 \"\n".into(), index: 7 };
        let draft = Draft::within(ConversationId::generate(), Some(MessageId::generate()), happening);
        let payload = format!("{} 42 {}", Epoch(11), body(id, at, &draft).unwrap());
        let (position, body) = message(&payload).unwrap();
        assert_eq!(position, Position { epoch: Epoch(11), offset: 42 });
        let event = event(&topic, position.offset, body).unwrap();
        assert_eq!((event.id, event.at, event.offset, &event.draft), (id, at, 42, &draft));
    }

    #[test]
    fn a_whisper_arrives_with_the_name_of_its_node() {
        let (node, at, id) = (NodeId::generate(), Clock::default().now(), Uuid::now_v7());
        let happening = Happening::Joined { user_id: UserId::generate(), username: "alice b".into() };
        let draft = Draft::within(ConversationId::generate(), None, happening);
        let payload = whisper(node, id, at, &draft).unwrap();
        assert_eq!(message(&payload), None);
        let (from, body) = whispered(&payload).unwrap();
        let event = event(&Topic::System, 0, body).unwrap();
        assert_eq!((from, event.is_kept(), &event.draft), (node, false, &draft));
        assert_eq!(whispered("000000000000000b 1 {}"), None);
    }

    #[test]
    fn what_is_not_of_ours_is_nothing() {
        assert_eq!(message("hello"), None);
        assert_eq!(message("000000000000000b 1 "), Some((Position { epoch: Epoch(11), offset: 1 }, "")));
        assert!(event(&Topic::System, 1, "{}").is_none());
    }
}
