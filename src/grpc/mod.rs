//! The contract served: a handler reads its caller, parses, calls a rule and converts what comes back.

pub mod admin;
pub mod auth;
mod body;
pub mod chat;
pub mod conversation;
pub mod edge;
pub mod event;
mod frame;
mod json;
mod limits;
mod message;
mod methods;
pub mod notification;
mod parse;
pub mod presence;
pub(crate) mod raw;
mod service_account;
pub mod session;
mod stall;
pub(crate) mod status;
mod trace;
pub mod user;
