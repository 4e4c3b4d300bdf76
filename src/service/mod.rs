//! The rules, by noun. A rule checks access first, then what it was given, then acts.

pub mod access;
pub mod accounts;
mod answer;
pub(crate) mod content;
pub mod contexts;
pub mod conversations;
pub mod deliveries;
mod delivery_notes;
pub mod export;
pub mod history;
pub mod identity;
mod insist;
pub mod limits;
pub mod members;
pub mod messages;
pub mod passwords;
pub mod presence;
mod prompt;
mod rounds;
mod run;
mod run_log;
pub mod runs;
mod text;
pub mod tokens;
mod tool_calls;
pub mod users;
