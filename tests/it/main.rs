//! Tests that speak the contract, by noun. A failing one reads as a story.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "what a test cannot do is what it reports, and its tasks end with it"
)]

mod accounts;
mod admin;
mod analytics;
mod answers;
mod audit;
mod cached;
mod churn;
mod cluster;
mod codes;
mod contract;
mod conversations;
mod dashboard;
mod database;
mod deliveries;
mod durable;
mod events;
mod flight;
mod following;
mod frames;
mod grpcweb;
#[cfg(test)]
mod harness;
mod idlers;
mod input;
mod issuers;
mod killed;
mod limits;
mod live;
mod logs;
mod metrics;
mod mocks;
mod notifications;
mod openapi;
mod operations;
mod operator;
mod outage;
mod presence;
mod processes;
mod providers;
mod proxied;
mod push;
mod quota;
mod reasons;
mod recipes;
mod redis;
mod revocation;
mod rooms;
mod scopes;
mod sending;
mod service_accounts;
mod sessions;
mod settings;
mod slow;
mod tls;
mod tokens;
mod tools;
mod traces;
mod unread;
mod users;
mod viewers;
mod wanderer;
