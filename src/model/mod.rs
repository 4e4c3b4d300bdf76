//! Plain data and its invariants: what the rooms above pass to each other. Nothing here knows a database or a wire.

pub mod audit;
pub mod caller;
pub mod clock;
pub mod connection;
pub mod conversation;
pub mod counts;
pub mod credential;
pub mod cursor;
pub mod event;
pub mod history;
pub mod ids;
pub mod key;
pub mod limit;
pub mod message;
pub mod notification;
pub mod page;
pub mod presence;
pub mod publication;
pub mod push;
pub mod scope;
pub mod service_account;
pub mod session;
pub mod tool;
pub mod topic;
pub mod usage;
pub mod user;
