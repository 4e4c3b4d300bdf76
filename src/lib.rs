//! Colloquy, a chat backend. A call passes three rooms: the edge (`grpc`), the rules (`service`), and what lasts
//! (`store`) or may be lost (`live`).
//!
//! - `model`: plain data and its invariants
//! - `error`: the one error of the domain
//! - `config`: every setting, from file, environment and flags
//! - `store`: SQL
//! - `live`: events, signals, tickets, limits and cached answers: what may be lost
//! - `llm`: model providers
//! - `tools`: what models may call
//! - `issuer`: whose tokens are let in besides our own
//! - `push`: texts to browsers that nobody looks at
//! - `service`: the rules, by noun
//! - `session`: live connections of this node
//! - `proto`: the contract as generated code
//! - `grpc`: the contract served
//! - `app`: puts the parts together and serves them
//! - `lifecycle`: soft stop, grace, hard stop
//! - `trace`: the trace that a call belongs to
//! - `telemetry`: logs, metrics and traces
//! - `cli`: the commands

pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod grpc;
pub mod issuer;
pub mod lifecycle;
pub mod live;
pub mod llm;
pub mod model;
pub mod proto;
pub mod push;
pub mod service;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tools;
pub mod trace;
