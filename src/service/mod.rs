//! The rules, by noun. A rule checks access first, then what it was given, then acts.

pub mod access;
pub mod accounts;
