//! What may be lost: events in flight, signals, tickets, limits, cached answers. In this process's memory.

pub mod bus;
pub mod response_cache;
pub mod signal;
pub mod throttle;
pub mod ticket;
