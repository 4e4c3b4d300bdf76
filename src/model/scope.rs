//! Scopes: what the API key of a service account is good for.

use std::{fmt, sync::Arc};

/// Every scope there is: one for each group of RPCs, which the contract names by its option `scope`.
pub const SCOPES: &[&str] = &[
    "users:read",
    "conversations:read",
    "conversations:write",
    "chat:read",
    "chat:write",
    "presence:read",
    "presence:write",
    "sessions:connect",
    "events:publish",
    "events:subscribe",
    "notifications:create",
];

/// What an RPC asks of an API key: one of [`SCOPES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(&'static str);

impl Scope {
    /// The scope of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        SCOPES.iter().find(|known| **known == name).copied().map(Self)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// What an API key was given: scopes, and `x:*` for all that begin with `x:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Arc<[String]>);

impl Scopes {
    /// Scopes in these words. One that is no scope, or none any more, is good for nothing.
    pub fn of(words: impl IntoIterator<Item = String>) -> Self {
        Self(words.into_iter().collect())
    }

    /// Whether this is among them.
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.iter().any(|word| covers(word, scope.0))
    }

    /// As they were given.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

/// What is wrong with a word that somebody wants to give to an API key.
pub fn fault(word: &str) -> Option<&'static str> {
    let is_known = SCOPES.iter().any(|scope| covers(word, scope));
    (!is_known).then_some("is no scope, nor the `x:*` of any")
}

fn covers(word: &str, scope: &str) -> bool {
    match word.strip_suffix('*') {
        // The colon stays: `c:*` is not `chat:*`, and `*` alone is nothing.
        Some(group) => group.ends_with(':') && scope.starts_with(group),
        None => word == scope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_covers_its_own_and_no_other() {
        let scopes = Scopes::of(["chat:*", "users:read"].map(str::to_owned));
        let allowed: Vec<&str> = SCOPES.iter().copied().filter(|name| scopes.allow(Scope(name))).collect();
        assert_eq!(allowed, ["users:read", "chat:read", "chat:write"]);
        assert!(!Scopes::default().allow(Scope("chat:read")));
    }

    #[test]
    fn only_scopes_and_their_groups_are_given() {
        for word in SCOPES.iter().copied().chain(["chat:*", "sessions:*"]) {
            assert_eq!(fault(word), None, "{word}");
        }
        for word in ["", "*", ":*", "c:*", "chat", "chat:", "chat:*:*", "chat:fly", "Chat:read", "admin:*"] {
            assert!(fault(word).is_some(), "{word}");
        }
    }
}
