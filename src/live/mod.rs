//! What may be lost: events in flight, tickets, limits. In this process's memory.

pub mod bus;
pub mod signal;
pub mod throttle;
pub mod ticket;
