//! Live connections of this node: who sees what, and what waits for whom.

pub mod hub;
pub mod mailbox;
pub mod seat;
