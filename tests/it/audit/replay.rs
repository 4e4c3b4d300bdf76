//! What must be, when everything was done that the log tells and nothing else.

use std::collections::BTreeMap;

use colloquy::proto::AuditEntry;

use super::acts::{ACTIVATE, BROADCAST, CLOSE, CREATE, DEACTIVATE, DELETE, DEMOTE, PROMOTE, RESET};

/// What an account is, as far as admins change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_admin: bool,
    pub(super) is_active: bool,
}

impl State {
    fn can_administer(self) -> bool {
        self.is_admin && self.is_active
    }
}

/// Everything that admins change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct States {
    /// By user.
    pub(super) users: BTreeMap<String, State>,
    /// Names of services, by account.
    pub(super) services: BTreeMap<String, String>,
}

impl States {
    /// Does what an entry tells to the states as they were, if the rules let it.
    pub(super) fn replay(&mut self, entry: &AuditEntry) {
        let (kind, target) = entry.target.split_once(':').unwrap();
        let is_able = self.users.get(&entry.admin_id).is_some_and(|state| state.can_administer());
        let expected = match &*entry.action {
            PROMOTE | DEMOTE | DEACTIVATE | ACTIVATE => self.change(entry, target, is_able),
            _ if !is_able => "PERMISSION_DENIED",
            // What could not be made was not looked at any further.
            CREATE if entry.details.is_empty() => "INVALID_MESSAGE",
            CREATE => {
                let name = &entry.details["name"];
                if self.services.values().any(|taken| taken == name) {
                    "ALREADY_EXISTS"
                } else {
                    self.services.insert(target.to_owned(), name.clone());
                    "ok"
                }
            }
            DELETE if self.services.remove(target).is_none() => "NOT_FOUND",
            DELETE => "ok",
            // The level is not told: whoever asked knows.
            BROADCAST if entry.result == "INVALID_MESSAGE" => "INVALID_MESSAGE",
            RESET if !self.users.contains_key(target) => "NOT_FOUND",
            // Connections also end with their node: whether there was one is looked at by those who opened it.
            CLOSE if entry.result == "NOT_FOUND" => "NOT_FOUND",
            BROADCAST | RESET | CLOSE => "ok",
            other => panic!("nobody did this: {other}"),
        };
        assert_eq!(entry.result, expected, "{entry:?} with {self:?}");
        let expected = match &*entry.action {
            CREATE | DELETE => "service_account",
            CLOSE => "connection",
            BROADCAST => "event",
            _ => "user",
        };
        assert_eq!(kind, expected, "{entry:?}");
    }

    /// Changes an account, if the rules let it: how that ends.
    fn change(&mut self, entry: &AuditEntry, target: &str, is_able: bool) -> &'static str {
        let able: Vec<_> = self.users.iter().filter(|(_, state)| state.can_administer()).map(|(id, _)| id).collect();
        let Some(before) = self.users.get(target).copied() else { return "NOT_FOUND" };
        if !is_able {
            return "PERMISSION_DENIED";
        }
        if [DEMOTE, DEACTIVATE].contains(&&*entry.action) && able == [target] {
            return "FAILED_PRECONDITION";
        }
        assert_eq!(entry.details["role_before"] == "admin", before.is_admin, "{entry:?}");
        assert_eq!(entry.details["state_before"] == "active", before.is_active, "{entry:?}");
        let after = match &*entry.action {
            PROMOTE => State { is_admin: true, ..before },
            DEMOTE => State { is_admin: false, ..before },
            DEACTIVATE => State { is_active: false, ..before },
            _ => State { is_active: true, ..before },
        };
        self.users.insert(target.to_owned(), after);
        "ok"
    }
}
