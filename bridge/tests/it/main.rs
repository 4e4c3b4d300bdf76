//! The bridge alone, against a core that the tests play themselves.

mod core;
mod harness;
mod pages;
mod rest;
mod shutdown;
mod sse;
mod ws;
