//! Tests that speak the contract, by noun. A failing one reads as a story.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "what a test cannot do is what it reports, and its tasks end with it"
)]

mod accounts;
mod conversations;
#[cfg(test)]
mod harness;
mod providers;
mod sessions;
mod tokens;
mod users;
