//! What may be lost: events in flight, signals, presence, tickets, limits, cached answers. In this process's memory, or on a
//! Redis server that nodes share; while that is away, each node goes on alone.

pub mod bus;
pub mod idempotency;
pub mod limit;
pub mod link;
pub mod node;
pub mod place;
pub mod presence;
mod redis;
pub mod report;
pub mod response_cache;
pub mod signal;
pub mod throttle;
pub mod ticket;

pub use self::redis::Redis;
