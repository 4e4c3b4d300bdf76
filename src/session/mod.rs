//! Live connections of this node: who sees what, and what waits for whom.

pub mod command;
pub mod connection;
pub mod follow;
pub mod hub;
pub mod limits;
pub mod mailbox;
pub mod presence;
pub mod seat;
pub mod sessions;
pub mod signals;
mod splice;
mod subscription;
