//! Language models: one question in, a stream of pieces out, whichever provider answers.
//!
//! [`Models`] is the door. Behind it a provider makes calls over HTTP, and the dialect that it speaks turns a [`Prompt`]
//! into a request and the events that come back into [`Piece`]s.
//!
//! - `models` picks the provider, falls back to others, and hands out the stream
//! - `provider` is one configured provider: settings, retries until the first visible piece
//! - `call` is one HTTP exchange under four clocks
//! - `span` is what a trace tells of it
//! - `sse`, `dialect`, `anthropic`, `openai` read what is on the wire
//! - `breaker`, `backoff` say whether and when to call again
//! - `echo` is the model that needs no provider
//! - `prompt`, `piece`, `failure` are the plain types that others see

mod anthropic;
mod backoff;
mod breaker;
mod call;
mod dialect;
mod echo;
mod failure;
mod models;
mod openai;
mod piece;
mod prompt;
mod provider;
mod settings;
mod span;
mod sse;

pub use failure::{Breach, Clock, Failure, Reason, Retry};
pub use models::{ModelInfo, Models, PieceStream};
pub use piece::{FinishReason, Piece, ToolCall, Usage};
pub use prompt::{Block, Prompt, Role, ToolSpec, Turn};
pub use settings::{Kind, ProviderConfig, Secret, Settings, SettingsError, Timers};
