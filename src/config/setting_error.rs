//! What is said of a setting that is wrong.

use std::fmt::Display;

/// A setting that is wrong: its name, its value and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("setting {name}{}: {wanted}", with(value))]
pub struct SettingError {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) wanted: String,
}

impl SettingError {
    /// A setting whose value, which is no secret, is wrong.
    pub fn of(name: &str, value: impl Display, wanted: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.to_string(), wanted: wanted.into() }
    }

    /// A setting that is wrong beside the others; its value stays untold, for it may be a secret.
    pub fn new(name: &str, wanted: &str) -> Self {
        Self { name: name.to_owned(), value: String::new(), wanted: wanted.to_owned() }
    }
}

fn with(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" = {value:?}") }
}
