//! Types of published events of the file's `[[event_types]]`.

use serde::Deserialize;

use super::SettingError;
use crate::model::{publication, user::Role};

/// Characters of a name.
const MAX_NAME: usize = 64;

/// A type of events, beside the built-in ones or in the place of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventType {
    /// Lower-case letters, digits, `.`, `_` and `-`, at most 64.
    pub name: String,
    /// The roles that may publish it: `user`, `admin`, `service`.
    #[serde(default = "publishers")]
    pub publish: Vec<String>,
    /// The roles that may subscribe to it.
    #[serde(default = "subscribers")]
    pub subscribe: Vec<String>,
}

fn publishers() -> Vec<String> {
    ["admin", "service"].map(str::to_owned).into()
}

fn subscribers() -> Vec<String> {
    ["user", "admin", "service"].map(str::to_owned).into()
}

impl EventType {
    /// The type, checked.
    pub(super) fn check(&self) -> Result<publication::EventType, SettingError> {
        let wrong = |wanted: String| SettingError { name: "event_types".to_owned(), value: self.name.clone(), wanted };
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(is_plain) {
            return Err(wrong(format!("a name must be at most {MAX_NAME} lower-case letters, digits, . _ and -")));
        }
        let roles = |names: &[String]| {
            let role =
                |name: &String| name.parse::<Role>().map_err(|_| wrong("roles are user, admin and service".into()));
            names.iter().map(role).collect::<Result<Vec<Role>, SettingError>>()
        };
        let (publish, subscribe) = (roles(&self.publish)?, roles(&self.subscribe)?);
        Ok(publication::EventType { name: self.name.clone(), publish, subscribe })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<publication::EventType, SettingError> {
        toml::from_str::<EventType>(lines).unwrap().check()
    }

    #[test]
    fn a_wrong_type_is_named_with_what_would_be_right() {
        for (lines, wanted) in [
            ("name = \"Loud\"", "lower-case letters"),
            ("name = \"\"", "lower-case letters"),
            ("name = \"order.paid\"\npublish = [\"root\"]", "user, admin and service"),
        ] {
            let fault = read(lines).unwrap_err().to_string();
            assert!(fault.starts_with("setting event_types") && fault.contains(wanted), "{fault}");
        }
        let paid = read("name = \"order.paid\"\nsubscribe = [\"admin\"]").unwrap();
        assert_eq!((paid.publish, paid.subscribe), (vec![Role::Admin, Role::Service], vec![Role::Admin]));
    }
}
