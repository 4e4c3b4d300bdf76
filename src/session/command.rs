//! What a viewer asks of its connection, and what it gets back.

use std::sync::Arc;

use super::receipt::HandedOver;
use crate::{
    error::Error,
    model::{
        clock::Timestamp,
        event::{Draft, Event, Happening},
        history::Window,
        ids::{ConnectionId, ConversationId, MessageId, UserId},
        message::Message,
        presence::{Status, StatusChange},
        topic::{Epoch, EpochTag, Topic},
    },
    service::messages::Sending,
};

/// A viewer's frame, read.
#[derive(Clone, Debug)]
pub enum Command {
    /// Asks whether the server is there.
    Ping {
        /// Returned as it is.
        ping_id: Option<String>,
    },
    /// Says that the viewer is there.
    Heartbeat {
        /// Returned as it is.
        client_timestamp: Option<String>,
    },
    /// Asks for topics, each from a place on.
    Subscribe(Vec<Wanted>),
    /// Asks for one conversation, from now on.
    Join(ConversationId),
    /// Asks for one conversation no longer.
    Leave(ConversationId),
    /// Ends subscriptions.
    Unsubscribe(Vec<Wanted>),
    /// Sends a message.
    Send {
        /// Where; `None`: the conversation that is joined, or a new one.
        conversation_id: Option<ConversationId>,
        /// What.
        sending: Sending,
    },
    /// Stops a run.
    Stop(MessageId),
    /// Starts another answer.
    Regenerate {
        /// The answer beside which to put it.
        message_id: MessageId,
        /// The model that answers.
        model: Option<String>,
    },
    /// Moves the read marker.
    Read {
        /// Where.
        conversation_id: ConversationId,
        /// Up to where.
        seq: i64,
    },
    /// Asks for messages.
    History {
        /// Of which conversation.
        conversation_id: ConversationId,
        /// From where, in which direction.
        window: Window,
        /// How many.
        limit: u16,
    },
    /// Goes on with a new access token.
    RefreshAuth {
        /// The token.
        token: String,
    },
    /// Writes, or has stopped.
    Type {
        /// Where.
        conversation_id: ConversationId,
        /// Whether it goes on.
        is_typing: bool,
    },
    /// Chooses what to be.
    Choose(Status),
}

impl Command {
    /// The type of the frame.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ping { .. } => "ping",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Subscribe(_) => "subscribe",
            Self::Join(_) => "join_session",
            Self::Leave(_) => "leave_session",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Send { .. } => "message",
            Self::Stop(_) => "stop",
            Self::Regenerate { .. } => "regenerate",
            Self::Read { .. } => "read",
            Self::History { .. } => "history",
            Self::RefreshAuth { .. } => "auth.refresh",
            Self::Type { .. } => "typing",
            Self::Choose(_) => "presence",
        }
    }

    /// Whether a person is behind it, not a client that keeps its connection alive.
    pub(super) fn is_act(&self) -> bool {
        !matches!(self, Self::Ping { .. } | Self::Heartbeat { .. } | Self::RefreshAuth { .. })
    }
}

/// A topic that a viewer names, as it names it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name.
    pub name: String,
    /// The topic of this name; `None` when there is none.
    pub topic: Option<Topic>,
    /// The place that the viewer knows.
    pub since: Option<(Option<Epoch>, u64)>,
    /// Whether the viewer was owed something there that it may not have got.
    pub is_owed: bool,
}

impl Wanted {
    /// A conversation from now on.
    pub fn conversation(id: ConversationId) -> Self {
        let topic = Topic::Conversation(id);
        Self { name: topic.to_string(), topic: Some(topic), since: None, is_owed: false }
    }
}

/// What a viewer gets.
#[derive(Debug)]
pub enum Outgoing {
    /// A published event.
    Event(Arc<Event>),
    /// Something for this viewer alone that stands in no log.
    Draft(Draft),
    /// An answer to the frame with this id, or, without one, a word of the server's own.
    Answer(Option<String>, Answer),
}

impl Outgoing {
    /// What is handed over from the store, or is there: it has reached the viewer once the link has taken it.
    pub(super) fn handed_over(&self) -> Option<HandedOver> {
        match self {
            Self::Draft(Draft { happening: Happening::Message(message), .. }) => {
                Some(HandedOver::Message(message.conversation_id, message.seq))
            }
            Self::Event(event) => event.draft.happening.notification().map(|it| HandedOver::Notification(it.id)),
            Self::Draft(draft) => draft.happening.notification().map(|it| HandedOver::Notification(it.id)),
            Self::Answer(..) => None,
        }
    }
}

/// An answer to a frame, or a word of the server's own.
#[derive(Debug)]
pub enum Answer {
    /// The connection stands.
    Established {
        /// Names the connection.
        connection_id: ConnectionId,
        /// Who is connected.
        user_id: UserId,
        /// The conversation that was named when connecting.
        conversation_id: Option<ConversationId>,
    },
    /// Answers a ping.
    Pong {
        /// As in the ping.
        ping_id: Option<String>,
    },
    /// Answers a heartbeat.
    HeartbeatAck {
        /// As in the heartbeat.
        client_timestamp: Option<String>,
    },
    /// Subscriptions are in force.
    Subscribed(Vec<Subscribed>),
    /// Subscriptions are no longer in force.
    Unsubscribed(Vec<Topic>),
    /// A message was appended.
    Sent {
        /// The conversation.
        conversation_id: ConversationId,
        /// The message.
        message_id: MessageId,
        /// Its answer.
        reply_message_id: Option<MessageId>,
        /// The message's `seq`.
        seq: i64,
    },
    /// A run is being stopped, or another answer begins.
    Accepted {
        /// The conversation.
        conversation_id: ConversationId,
        /// The answer.
        message_id: MessageId,
    },
    /// Messages.
    History {
        /// The conversation.
        conversation_id: ConversationId,
        /// In ascending `seq`.
        messages: Vec<Message>,
        /// Whether more lie beyond, in the direction that was asked for.
        has_more: bool,
    },
    /// Somebody who shares a conversation with the viewer is something else now.
    StatusChanged(StatusChange),
    /// The connection goes on until then.
    AuthRefreshed(Timestamp),
    /// The credential is about to expire.
    AuthExpiring(Timestamp),
    /// The connection ends: come back and resume.
    Reconnect {
        /// After how many milliseconds.
        after_ms: i64,
        /// Why.
        reason: &'static str,
    },
    /// The frame was refused.
    Refused(Error),
}

impl Answer {
    /// The type of the frame.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Established { .. } => "connection.established",
            Self::Pong { .. } => "pong",
            Self::HeartbeatAck { .. } => "heartbeat_ack",
            Self::Subscribed(_) => "subscription.confirmed",
            Self::Unsubscribed(_) => "subscription.removed",
            Self::Sent { .. } => "message.accepted",
            Self::Accepted { .. } => "accepted",
            Self::History { .. } => "history",
            Self::StatusChanged(_) => "user.status_changed",
            Self::AuthRefreshed(_) => "auth.refreshed",
            Self::AuthExpiring(_) => "auth.expiring",
            Self::Reconnect { .. } => "reconnect",
            Self::Refused(_) => "error",
        }
    }
}

/// A subscription in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The topic.
    pub topic: Topic,
    /// The offset of its latest event.
    pub offset: u64,
    /// Its epoch, and whether more is owed than what follows there.
    pub epoch: EpochTag,
    /// Why not everything after the viewer's place follows; `None` when it does.
    pub gap: Option<&'static str>,
}
