//! Identifiers: one type per noun, all UUIDv7, so that they sort by the time they were made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, later than all made before.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The identifier with these bytes.
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The identifier's bytes.
            pub fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// Names a user.
    UserId
    /// Names a signed-in session.
    SessionId
    /// Names a conversation.
    ConversationId
    /// Names a message; for an answer it names the run too.
    MessageId
    /// Names a context of a conversation.
    ContextId
    /// Names a notification.
    NotificationId
    /// Names a published event.
    EventId
    /// Names a live connection.
    ConnectionId
    /// Names one life of a process: a restart is a new node.
    NodeId
    /// Names a key that signs access tokens.
    KeyId
    /// Names an entry of the audit log.
    AuditId
}

impl From<UserId> for SessionId {
    /// What stands for a session where an account calls that needs none: by its API key, or an outside issuer's token.
    fn from(account: UserId) -> Self {
        Self(account.0)
    }
}

impl From<SessionId> for UserId {
    fn from(session: SessionId) -> Self {
        Self(session.0)
    }
}
