//! The bridge alone, against a core that the tests play themselves.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod compressed;
mod control;
mod core;
mod corpus;
mod deflated;
mod draining;
mod handshake;
mod harness;
mod link;
mod pages;
mod remote;
mod rest;
mod shutdown;
mod sse;
mod ws;
