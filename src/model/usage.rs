
/// Tokens, read and written, that a user has for one UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailyQuota(pub i64);
