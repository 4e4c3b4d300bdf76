//! The rules, by noun. A rule checks access first, then what it was given, then acts.

pub mod access;
pub mod accounts;
pub(crate) mod content;
pub mod contexts;
pub mod conversations;
pub mod export;
pub mod history;
pub mod members;
mod text;
