//! Accounts.

use serde::{Deserialize, Serialize};

use super::{clock::Timestamp, ids::UserId};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// A person.
    User,
    /// An operator.
    Admin,
    /// An internal service.
    Service,
}

impl Role {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            "service" => Ok(Self::Service),
            other => Err(format!("unknown role {other:?}")),
        }
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Names the user.
    pub id: UserId,
    /// Unique without regard to case.
    pub username: String,
    /// Unique without regard to case.
    pub email: String,
    /// How the user wants to be shown; empty when not set.
    pub display_name: String,
    /// What the account may do.
    pub role: Role,
    /// False once deactivated.
    pub is_active: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An account to be made.
#[derive(Clone)]
pub struct NewUser {
    /// The name.
    pub username: String,
    /// The email.
    pub email: String,
    /// The password.
    pub password: String,
}

/// What to change of an account; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChanges {
    /// The new name.
    pub username: Option<String>,
    /// The new email.
    pub email: Option<String>,
    /// The new name to be shown; empty for none.
    pub display_name: Option<String>,
}

/// What an admin changes of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// What it may do.
    Role(Role),
    /// Whether its user can sign in.
    Activity(bool),
}

/// Which accounts; `None` lets all pass.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// How their names begin.
    pub prefix: String,
    /// What they may do.
    pub role: Option<Role>,
    /// Whether their users can sign in.
    pub is_active: Option<bool>,
}

/// What is wrong with a username.
pub fn username_fault(username: &str) -> Option<&'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let is_right = (3..=32).contains(&username.len()) && username.bytes().all(is_plain);
    (!is_right).then_some("must be 3 to 32 characters: letters, digits, `_`, `-`, `.`")
}

/// What is wrong with the beginning of a username, which somebody searches for.
pub fn name_query_fault(query: &str) -> Option<&'static str> {
    let is_right = (1..=32).contains(&query.chars().count()) && !query.contains(char::is_control);
    (!is_right).then_some("must be 1 to 32 characters, none of them a control character")
}

/// What is wrong with the shape of an email; only a message to it can tell whether it is somebody's.
pub fn email_fault(email: &str) -> Option<&'static str> {
    let is_plain =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control());
    let is_right =
        email.len() <= 254 && email.split_once('@').is_some_and(|(name, host)| is_plain(name) && is_plain(host));
    (!is_right).then_some("must be an email address of at most 254 characters")
}

/// What is wrong with a new password.
pub fn password_fault(password: &str) -> Option<&'static str> {
    let is_right = (8..=128).contains(&password.chars().count());
    (!is_right).then_some("must be 8 to 128 characters")
}

/// What is wrong with a name to be shown.
pub fn display_name_fault(display_name: &str) -> Option<&'static str> {
    let is_right = display_name.chars().count() <= 64 && !display_name.contains(char::is_control);
    (!is_right).then_some("must be at most 64 characters, none of them a control character")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_are_short_and_plain() {
        for right in ["bob", "A.b-c_9", &"x".repeat(32)] {
            assert_eq!(username_fault(right), None, "{right}");
        }
        for wrong in ["", "ab", "a b", "a@b.c", "zoë", "name\n", &"x".repeat(33)] {
            assert!(username_fault(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn emails_look_like_emails() {
        for right in ["a@b", "a.b+c@example.com", "ü@example.com", &format!("{}@b.c", "x".repeat(250))] {
            assert_eq!(email_fault(right), None, "{right}");
        }
        for wrong in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", &format!("{}@b.c", "x".repeat(251))] {
            assert!(email_fault(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn passwords_are_measured_in_characters() {
        assert_eq!(password_fault("pässwört"), None);
        assert!(password_fault("pässwör").is_some());
        assert!(password_fault(&"x".repeat(129)).is_some());
    }
}
