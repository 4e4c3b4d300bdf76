//! The rules, by noun. A rule checks access first, then what it was given, then acts.

pub mod access;
pub mod accounts;
pub mod identity;
pub mod passwords;
pub mod tokens;
pub mod users;
