//! Web Push: browsers that are notified while nobody is connected.

use std::fmt;

use super::{clock::Timestamp, ids::UserId};

/// A browser that is registered for pushes.
#[derive(Clone, PartialEq, Eq)]
pub struct PushSubscription {
    /// Whose it is.
    pub user_id: UserId,
    /// Where its push service takes pushes. Nobody else knows the address, and no log shows it.
    pub endpoint: String,
    /// What pushes are encrypted with.
    pub keys: BrowserKeys,
    /// When it was registered last.
    pub created_at: Timestamp,
    /// When it ends, if the browser said so.
    pub expires_at: Option<Timestamp>,
}

/// A browser's keys (RFC 8291, §2).
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserKeys {
    /// Its public key: an uncompressed point of P-256.
    pub p256dh: Vec<u8>,
    /// The secret by which it knows that a push comes from whom it gave it to.
    pub auth: Vec<u8>,
}

impl fmt::Debug for PushSubscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PushSubscription").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for BrowserKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BrowserKeys").finish_non_exhaustive()
    }
}
