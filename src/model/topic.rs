//! Topics: the names of the ordered logs on which events are published, and places in them.

use std::{fmt, str::FromStr};

use super::ids::{ConversationId, UserId};

/// A named, ordered log of events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What happens in a conversation.
    Conversation(ConversationId),
    /// What concerns one user.
    User(UserId),
    /// What concerns everyone.
    System,
    /// Published events of one type.
    Event(String),
}

impl Topic {
    /// Whether viewers choose to join it; every connection has joined the others.
    pub fn is_chosen(&self) -> bool {
        matches!(self, Self::Conversation(_) | Self::Event(_))
    }

    /// The type of published events that the topic carries, when it carries only one.
    pub fn event_type(&self) -> Option<&str> {
        match self {
            Self::Event(name) => Some(name),
            Self::Conversation(_) | Self::User(_) | Self::System => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conversation(id) => write!(formatter, "conversation:{id}"),
            Self::User(id) => write!(formatter, "user:{id}"),
            Self::System => formatter.write_str("system"),
            Self::Event(name) => write!(formatter, "event:{name}"),
        }
    }
}

impl FromStr for Topic {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            None if text == "system" => Ok(Self::System),
            Some(("conversation", id)) => id.parse().map(Self::Conversation).map_err(|_| ()),
            Some(("user", id)) => id.parse().map(Self::User).map_err(|_| ()),
            Some(("event", name)) if !name.is_empty() => Ok(Self::Event(name.to_owned())),
            _ => Err(()),
        }
    }
}

/// The life of a topic's history: offsets of different epochs have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// An epoch as a viewer is told it, and tells it when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochTag {
    /// The epoch.
    pub epoch: Epoch,
    /// The offset at which the viewer stood when it was owed what no log brings: whoever has seen a later one has got it.
    pub owed_at: Option<u64>,
}

impl fmt::Display for EpochTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owed_at {
            None => self.epoch.fmt(formatter),
            Some(offset) => write!(formatter, "{}.{offset}", self.epoch),
        }
    }
}

impl FromStr for EpochTag {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, owed_at) = match text.split_once('.') {
            None => (text, None),
            Some((epoch, offset)) => (epoch, Some(offset.parse()?)),
        };
        Ok(Self { epoch: epoch.parse()?, owed_at })
    }
}

/// A place in a topic: after the event with this offset. The first event has offset 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the topic's history.
    pub epoch: Epoch,
    /// The offset of the latest event; 0 before the first.
    pub offset: u64,
}
