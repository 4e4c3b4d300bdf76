//! The transcoder against prost-reflect, on generated messages of every type of the contract and of `kinds.proto`, and its
//! rules one by one.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that panics has failed")]

mod contract;
mod generate;
mod input;
mod output;
mod parameter;
mod properties;
