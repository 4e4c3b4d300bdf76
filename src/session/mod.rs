//! Live connections of this node: who sees what, and what waits for whom.

pub mod analytics;
mod backlog;
pub mod command;
pub mod connection;
mod connections;
pub mod credit;
pub mod events;
pub mod flight;
pub mod follow;
pub mod health;
pub mod hub;
mod joining;
pub mod lanes;
pub mod limits;
pub mod mailbox;
pub mod notices;
mod obey;
pub mod presence;
mod receipt;
mod recovery;
pub mod seat;
pub mod sessions;
pub mod signals;
mod splice;
mod subscribers;
mod subscription;
mod watch;
