//! The names of everything on the server, all behind one prefix. What one script touches shares a hash tag, so that it
//! lies in one slot of a cluster.

use std::fmt::Write as _;

use crate::model::{
    credential::Digest,
    ids::{ConversationId, NodeId, UserId},
    limit::Network,
    topic::Topic,
};

/// How the names of topics' channels end.
const CHANNEL: &str = ":events";

/// Makes names.
#[derive(Debug)]
pub(in crate::live) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// A hash: the topic's `epoch`, its latest `offset`, and the `weight` of its history in bytes.
    pub(in crate::live) fn place(&self, topic: &Topic) -> String {
        format!("{}{{{topic}}}:place", self.prefix)
    }

    /// A list: the topic's latest events, the newest at the end.
    pub(in crate::live) fn history(&self, topic: &Topic) -> String {
        format!("{}{{{topic}}}:history", self.prefix)
    }

    /// The channel of a topic's events.
    pub(in crate::live) fn channel(&self, topic: &Topic) -> String {
        format!("{}{{{topic}}}{CHANNEL}", self.prefix)
    }

    /// The topic whose channel this is.
    pub(in crate::live) fn topic_of(&self, channel: &str) -> Option<Topic> {
        let name = channel.strip_prefix(&self.prefix)?.strip_prefix('{')?.strip_suffix(CHANNEL)?;
        name.strip_suffix('}')?.parse().ok()
    }

    /// The channel of all signals.
    pub(in crate::live) fn signals(&self) -> String {
        format!("{}signals", self.prefix)
    }

    /// The channel of changed statuses.
    pub(in crate::live) fn statuses(&self) -> String {
        format!("{}statuses", self.prefix)
    }

    /// A sorted set: the nodes, each with the time until which it counts as alive. This and what nodes hold lie together:
    /// the part of a node that is gone is taken out at once.
    pub(in crate::live) fn nodes(&self) -> String {
        format!("{}alive", self.held_root())
    }

    /// A set: everything that a node holds, each without its root.
    pub(in crate::live) fn held(&self, node: NodeId) -> String {
        format!("{}held:{node}", self.held_root())
    }

    /// How the keys of all that nodes hold begin.
    pub(in crate::live) fn held_root(&self) -> String {
        format!("{}{{nodes}}:", self.prefix)
    }

    /// A hash, without its root: a user's part on each node, and the `choice`.
    pub(in crate::live) fn user(user: UserId) -> String {
        format!("user:{user}")
    }

    /// A set, without its root: the nodes where a user views a conversation.
    pub(in crate::live) fn view(conversation: ConversationId, user: UserId) -> String {
        format!("view:{conversation}:{user}")
    }

    /// A text: what a node told of itself last. What nodes tell shares a tag.
    pub(in crate::live) fn report(&self, node: NodeId) -> String {
        format!("{}{{reports}}:{node}", self.prefix)
    }

    /// A hash: each user's live connections on a node, as it told last.
    pub(in crate::live) fn connections(&self, node: NodeId) -> String {
        format!("{}{{reports}}:{node}:connections", self.prefix)
    }

    /// A text: what a ticket stands for.
    pub(in crate::live) fn ticket(&self, ticket: &Digest) -> String {
        format!("{}ticket:{}", self.prefix, hex(ticket.as_bytes()))
    }

    /// A text: the answer to a question.
    pub(in crate::live) fn answer(&self, question: &Digest) -> String {
        format!("{}answer:{}", self.prefix, hex(question.as_bytes()))
    }

    /// A text: what was done under a key.
    pub(in crate::live) fn idempotency(&self, key: &Digest) -> String {
        format!("{}idempotency:{}", self.prefix, hex(key.as_bytes()))
    }

    /// A sorted set: when somebody tried to sign in as an account. Counted together with the next, it shares its tag.
    pub(in crate::live) fn attempts_as(&self, account: &Digest) -> String {
        format!("{}{{attempts}}:account:{}", self.prefix, hex(account.as_bytes()))
    }

    /// A sorted set: when somebody tried to sign in from an address.
    pub(in crate::live) fn attempts_from(&self, address: Network) -> String {
        format!("{}{{attempts}}:address:{address}", self.prefix)
    }

    /// A hash: what somebody sent, by window and part of it. Counted by user and address at once, all share a tag.
    pub(in crate::live) fn counts(&self, name: &str) -> String {
        format!("{}{{limits}}:{name}:counts", self.prefix)
    }

    /// A hash: the `count` of somebody's violations, and `until` when the last of them bars.
    pub(in crate::live) fn strikes(&self, name: &str) -> String {
        format!("{}{{limits}}:{name}:strikes", self.prefix)
    }

    /// A sorted set: who has violated a limit, by when that is forgotten.
    pub(in crate::live) fn violators(&self) -> String {
        format!("{}{{limits}}:violators", self.prefix)
    }

    /// A sorted set: live connections of a user or an address, by when they are taken for dead. All share a tag.
    pub(in crate::live) fn places(&self, name: &str) -> String {
        format!("{}{{places}}:{name}", self.prefix)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ConversationId;

    #[test]
    fn a_channel_names_its_topic() {
        let keys = Keys::new("test:");
        for topic in [Topic::Conversation(ConversationId::generate()), Topic::System, Topic::Event("a:{b}".into())] {
            assert_eq!(keys.topic_of(&keys.channel(&topic)), Some(topic));
        }
        assert_eq!(keys.topic_of(&Keys::new("other:").channel(&Topic::System)), None);
        assert_eq!(keys.topic_of(&keys.signals()), None);
    }
}
