//! How many there are of what is stored.

/// Numbers of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub users: i64,
    /// Accounts that can sign in.
    pub active_users: i64,
    /// Admins who can sign in.
    pub admins: i64,
    /// Conversations.
    pub conversations: i64,
    /// Messages that are not deleted.
    pub messages: i64,
    /// Answers that are being made.
    pub running: i64,
    /// Sessions that have not expired.
    pub sessions: i64,
}
