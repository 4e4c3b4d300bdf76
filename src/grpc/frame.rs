//! What viewers get, as the contract writes it: frames of sessions and events of runs.

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;

use super::{
    json::structure,
    message::signed,
    status::{MARKUP, log},
};
use crate::{
    error::{Error, Violation},
    model::{
        clock::{Clock, Timestamp},
        cursor::Cursor,
        event::{Draft, Event, Happening},
        topic::Topic,
    },
    proto::{self, chat_event, presence_event, server_frame::Payload},
    session::command::{Answer, Outgoing, Subscribed},
};

/// What this server can do beyond the frames themselves.
const FEATURES: [&str; 3] = ["resume", "history", "auth.refresh"];

/// A frame, ready to be sent. A published event is encoded once for all its viewers.
pub(crate) fn encode(outgoing: Outgoing, clock: Clock) -> Bytes {
    match outgoing {
        Outgoing::Event(event) => event.encoded.get_or_init(|| encode_event(&event)).clone(),
        Outgoing::Draft(draft) => encode_frame(frame(clock.now(), None, payload(draft))),
        Outgoing::Answer(reply_to, answer) => encode_frame(frame(clock.now(), reply_to, answer_payload(answer, clock))),
    }
}

fn encode_event(event: &Event) -> Bytes {
    let place = Some(event).filter(|event| event.is_kept());
    encode_frame(proto::ServerFrame {
        id: event.id.to_string(),
        timestamp: Some(event.at.into()),
        reply_to: None,
        topic: place.map(|event| event.topic.to_string()),
        offset: place.map(|event| signed(event.offset)),
        payload: Some(payload(event.draft.clone())),
    })
}

fn encode_frame(frame: proto::ServerFrame) -> Bytes {
    proto::ConnectResponse { frame: Some(frame) }.encode_to_vec().into()
}

fn frame(now: Timestamp, reply_to: Option<String>, payload: Payload) -> proto::ServerFrame {
    let id = Uuid::now_v7().to_string();
    let reply_to = reply_to.filter(|id| !id.is_empty());
    proto::ServerFrame { id, timestamp: Some(now.into()), reply_to, topic: None, offset: None, payload: Some(payload) }
}

/// A step of a run, for those who follow it alone; `None` for what is not a run's.
pub(crate) fn chat_event(place: Cursor, draft: Draft) -> Option<proto::ChatEvent> {
    use chat_event::Event;
    let event = match payload(draft) {
        Payload::Start(start) => Event::Start(start),
        Payload::Token(token) => Event::Token(token),
        Payload::Thinking(thinking) => Event::Thinking(thinking),
        Payload::ToolCall(call) => Event::ToolCall(call),
        Payload::ToolResult(result) => Event::ToolResult(result),
        Payload::Snapshot(snapshot) => Event::Snapshot(snapshot),
        Payload::End(end) => Event::End(end),
        Payload::Error(error) => Event::Error(error),
        _ => return None,
    };
    Some(proto::ChatEvent { offset: signed(place.to_offset()), event: Some(event) })
}

/// A change of presence, for those who watch it alone; `None` for anything else.
pub(crate) fn presence_event(draft: Draft) -> Option<presence_event::Event> {
    use presence_event::Event;
    match payload(draft) {
        Payload::Typing(typing) => Some(Event::Typing(typing)),
        Payload::UserJoined(joined) => Some(Event::UserJoined(joined)),
        Payload::UserLeft(left) => Some(Event::UserLeft(left)),
        _ => None,
    }
}

fn payload(draft: Draft) -> Payload {
    let conversation_id = draft.conversation_id.map(|id| id.to_string()).unwrap_or_default();
    let message_id = draft.message_id.map(|id| id.to_string()).unwrap_or_default();
    match draft.happening {
        Happening::Start { user_message_id, model } => Payload::Start(proto::RunStarted {
            session_id: conversation_id.clone(),
            conversation_id,
            message_id,
            user_message_id: user_message_id.to_string(),
            model,
        }),
        Happening::Token { content, index } => {
            Payload::Token(proto::Token { conversation_id, message_id, content, index: signed(index) })
        }
        Happening::Thinking { content } => Payload::Thinking(proto::Thinking { conversation_id, message_id, content }),
        Happening::ToolCall { number: _, index, id, name, arguments } => Payload::ToolCall(proto::ToolCall {
            conversation_id,
            message_id,
            id,
            name,
            arguments: Some(structure(arguments)),
            index: signed(index),
        }),
        Happening::ToolResult { number: _, index, id, name, content, is_error, duration_ms } => {
            Payload::ToolResult(proto::ToolResult {
                conversation_id,
                message_id,
                id,
                name,
                content,
                is_error,
                duration_ms,
                index: signed(index),
            })
        }
        Happening::Snapshot { content } => {
            Payload::Snapshot(proto::Snapshot { conversation_id, message_id, content, index: 0 })
        }
        Happening::End { finish_reason, usage, content_length, is_cached } => Payload::End(proto::RunEnded {
            conversation_id,
            message_id,
            finish_reason,
            tokens_used: usage.input_tokens + usage.output_tokens,
            usage: Some(usage.into()),
            content_length: signed(content_length),
            cached: is_cached,
        }),
        Happening::Failed { code, message, retryable, .. } => Payload::Error(proto::Error {
            code,
            message,
            retryable: Some(retryable),
            conversation_id: Some(conversation_id),
            message_id: Some(message_id),
            retry_after: None,
            details: Vec::new(),
        }),
        Happening::Message(message) => Payload::Message((*message).into()),
        Happening::MessageUpdated(message) => Payload::MessageUpdated((*message).into()),
        Happening::MessageDeleted => Payload::MessageDeleted(proto::MessageDeleted { conversation_id, message_id }),
        Happening::Read { user_id, seq } => {
            Payload::Read(proto::MessagesRead { conversation_id, user_id: user_id.to_string(), seq })
        }
        Happening::Delivered { user_id, seq } => {
            Payload::MessageDelivered(proto::MessagesDelivered { conversation_id, user_id: user_id.to_string(), seq })
        }
        Happening::Typing { user_id, username, is_typing } => {
            Payload::Typing(proto::UserTyping { conversation_id, user_id: user_id.to_string(), username, is_typing })
        }
        Happening::Joined { user_id, username } => {
            Payload::UserJoined(proto::UserJoined { conversation_id, user_id: user_id.to_string(), username })
        }
        Happening::Left { user_id, username } => {
            Payload::UserLeft(proto::UserLeft { conversation_id, user_id: user_id.to_string(), username })
        }
        Happening::Published(publication) => Payload::Published((*publication).into()),
        Happening::Notification(notification) => Payload::Notification((*notification).into()),
    }
}

fn answer_payload(answer: Answer, clock: Clock) -> Payload {
    let now = || Some(clock.now().into());
    match answer {
        Answer::Established { connection_id, user_id, conversation_id } => {
            Payload::ConnectionEstablished(proto::ConnectionEstablished {
                connection_id: connection_id.to_string(),
                user_id: user_id.to_string(),
                session_id: conversation_id.map(|id| id.to_string()),
                connected_at: now(),
                server_time: now(),
                features: FEATURES.map(str::to_owned).to_vec(),
            })
        }
        Answer::Pong { ping_id } => Payload::Pong(proto::Pong { timestamp: now(), ping_id }),
        Answer::HeartbeatAck { client_timestamp } => {
            Payload::HeartbeatAck(proto::HeartbeatAck { client_timestamp, server_timestamp: now() })
        }
        Answer::Subscribed(topics) => Payload::SubscriptionConfirmed(proto::SubscriptionConfirmed {
            events: event_types(topics.iter().map(|subscribed| &subscribed.topic)),
            topics: topics.into_iter().map(topic_state).collect(),
        }),
        Answer::Unsubscribed(topics) => Payload::SubscriptionRemoved(proto::SubscriptionRemoved {
            events: event_types(topics.iter()),
            topics: topics.iter().map(ToString::to_string).collect(),
        }),
        Answer::Sent { conversation_id, message_id, reply_message_id, seq } => {
            Payload::MessageAccepted(proto::MessageAccepted {
                message_id: message_id.to_string(),
                reply_message_id: reply_message_id.map(|id| id.to_string()),
                seq,
                conversation_id: conversation_id.to_string(),
            })
        }
        Answer::Accepted { conversation_id, message_id } => Payload::Accepted(proto::Accepted {
            message_id: message_id.to_string(),
            conversation_id: conversation_id.to_string(),
        }),
        Answer::History { conversation_id, messages, has_more } => Payload::History(proto::History {
            messages: messages.into_iter().map(Into::into).collect(),
            has_more,
            conversation_id: conversation_id.to_string(),
        }),
        Answer::StatusChanged(change) => Payload::UserStatusChanged(change.into()),
        Answer::AuthRefreshed(at) => Payload::AuthRefreshed(proto::AuthRefreshed { expires_at: Some(at.into()) }),
        Answer::AuthExpiring(at) => Payload::AuthExpiring(proto::AuthExpiring { expires_at: Some(at.into()) }),
        Answer::Reconnect { after_ms, reason } => {
            Payload::Reconnect(proto::Reconnect { after_ms, reason: reason.to_owned() })
        }
        Answer::Refused(error) => Payload::Error(refusal(&error)),
    }
}

fn topic_state(subscribed: Subscribed) -> proto::TopicState {
    proto::TopicState {
        topic: subscribed.topic.to_string(),
        offset: signed(subscribed.offset),
        epoch: subscribed.epoch.to_string(),
        recovered: subscribed.gap.is_none(),
        load: subscribed.gap.and_then(|_| load(&subscribed.topic)).map(str::to_owned),
        reason: subscribed.gap.map(str::to_owned),
    }
}

/// What whoever missed events of a topic that are not kept any more is to load.
fn load(topic: &Topic) -> Option<&'static str> {
    match topic {
        Topic::Conversation(_) => Some("history"),
        Topic::User(_) => Some("notifications"),
        Topic::System | Topic::Event(_) => None,
    }
}

fn event_types<'a>(topics: impl Iterator<Item = &'a Topic>) -> Vec<String> {
    topics.filter_map(Topic::event_type).map(str::to_owned).collect()
}

fn refusal(error: &Error) -> proto::Error {
    log(error);
    let details = match error {
        Error::Invalid(violations) => violations.iter().cloned().map(detail).collect(),
        Error::ContentRejected(field) => {
            vec![proto::ErrorDetail { field: (*field).to_owned(), description: MARKUP.to_owned() }]
        }
        _ => Vec::new(),
    };
    let retry_after = match error {
        Error::RateLimited { retry_after, .. }
        | Error::Flooded { retry_after }
        | Error::QuotaExceeded { retry_after, .. } => Some(retry_after.as_secs_f64()),
        _ => None,
    };
    let code = error.reason().to_owned();
    proto::Error { code, message: error.to_string(), retry_after, details, ..proto::Error::default() }
}

fn detail(violation: Violation) -> proto::ErrorDetail {
    proto::ErrorDetail { field: violation.field, description: violation.description }
}
