//! The contract served: a handler reads its caller, parses, calls a rule and converts what comes back.

pub mod conversation;
pub mod edge;
mod message;
mod parse;
pub(crate) mod raw;
pub(crate) mod status;
