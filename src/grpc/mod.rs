//! The contract served: a handler reads its caller, parses, calls a rule and converts what comes back.

pub mod admin;
pub mod auth;
mod body;
pub mod chat;
pub mod conversation;
pub mod edge;
mod frame;
mod limits;
mod message;
mod methods;
mod parse;
pub mod presence;
pub(crate) mod raw;
mod service_account;
pub mod session;
mod stall;
pub(crate) mod status;
pub mod user;
