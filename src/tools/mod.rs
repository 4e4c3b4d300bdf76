//! What models may call: built-in tools and those of MCP servers, each under a name, each call under a deadline.

mod calculator;
mod clock;
mod mcp;
mod settings;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use self::mcp::McpServer;
pub use self::settings::{BuiltIn, Door, Server, Settings};
use crate::model::{clock::Clock, tool::Arguments};

/// The longest name that every provider takes, in characters.
const MAX_WIRE_NAME: usize = 64;

/// The tools on offer. Cheap to clone.
#[derive(Clone)]
pub struct Tools(Arc<Inner>);

struct Inner {
    built_in: Vec<BuiltIn>,
    servers: Vec<McpServer>,
    clock: Clock,
    timeout: Duration,
    max_result_bytes: usize,
}

/// A tool, as a model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its name here: `calculator`, or `server.tool`.
    pub name: String,
    /// Tells the model when to use it.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: serde_json::Value,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the tool returned, or why it failed: in words for the model, and for people.
    pub content: String,
    /// Whether it failed.
    pub is_error: bool,
}

/// The name of a tool as providers take it: letters, digits, `_` and `-` only, at least one and not too many.
pub fn wire_name(name: &str) -> String {
    if name.is_empty() {
        return "_".to_owned();
    }
    let taken = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().take(MAX_WIRE_NAME).map(taken).collect()
}

impl Tools {
    /// The tools of these settings. No server is called yet.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let Settings { built_in, servers, timeout, max_result_bytes } = settings;
        let servers = servers.into_iter().map(McpServer::new).collect();
        Self(Arc::new(Inner { built_in, servers, clock, timeout, max_result_bytes }))
    }

    /// The tools that can be called now. Those of a server that does not answer are absent. Of tools whose names are the
    /// same to a provider the first one counts.
    pub async fn definitions(&self) -> Vec<Definition> {
        let built_in = self.0.built_in.iter().map(|tool| match tool {
            BuiltIn::TimeNow => clock::definition(),
            BuiltIn::Calculator => calculator::definition(),
        });
        let mut definitions: Vec<Definition> = built_in.collect();
        definitions.extend(join_all(self.0.servers.iter().map(McpServer::definitions)).await.into_iter().flatten());
        let mut names = HashSet::new();
        definitions.retain(|definition| names.insert(wire_name(&definition.name)));
        definitions
    }

    /// Calls a tool. Whatever goes wrong is an outcome; `None` when `stop` came first.
    pub async fn call(&self, name: &str, arguments: Arguments, stop: &CancellationToken) -> Option<Outcome> {
        let offered = |tool: BuiltIn| self.0.built_in.contains(&tool);
        let outcome = match name {
            clock::NAME if offered(BuiltIn::TimeNow) => Outcome::good(clock::call(self.0.clock)),
            calculator::NAME if offered(BuiltIn::Calculator) => calculator::call(&arguments).into(),
            _ => match self.server_of(name) {
                Some((server, tool)) => server.call(tool, arguments, self.0.timeout, stop).await?,
                None => Outcome::bad(format!("there is no tool {name:?}")),
            },
        };
        Some(outcome.cut(self.0.max_result_bytes).storable())
    }

    /// Ends the connections to all servers, and their processes.
    pub async fn close(&self) {
        join_all(self.0.servers.iter().map(McpServer::close)).await;
    }

    fn server_of<'a>(&self, name: &'a str) -> Option<(&McpServer, &'a str)> {
        let (server, tool) = name.split_once('.')?;
        Some((self.0.servers.iter().find(|known| known.name() == server)?, tool))
    }
}

impl fmt::Debug for Tools {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<&str> = self.0.servers.iter().map(McpServer::name).collect();
        formatter.debug_struct("Tools").field("built_in", &self.0.built_in).field("servers", &servers).finish()
    }
}

impl Outcome {
    /// A result.
    pub fn good(content: impl Into<String>) -> Self {
        Self { content: content.into(), is_error: false }
    }

    /// A failure, in words.
    pub fn bad(content: impl Into<String>) -> Self {
        Self { content: content.into(), is_error: true }
    }

    /// Keeps the beginning of what is too long, and says so.
    fn cut(mut self, max_bytes: usize) -> Self {
        let whole = self.content.len();
        if whole > max_bytes {
            self.content.truncate(self.content.floor_char_boundary(max_bytes));
            self.content.push_str(&format!("\n[cut here: the whole result has {whole} bytes]"));
        }
        self
    }

    /// Without the one character that not every database keeps.
    fn storable(mut self) -> Self {
        if self.content.contains('\0') {
            self.content = self.content.replace('\0', "\u{fffd}");
        }
        self
    }
}

impl From<Result<String, String>> for Outcome {
    fn from(result: Result<String, String>) -> Self {
        result.map_or_else(Self::bad, Self::good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(built_in: &[BuiltIn], max_result_bytes: usize) -> Tools {
        let timeout = Duration::from_secs(1);
        Tools::new(
            Settings { built_in: built_in.to_vec(), servers: Vec::new(), timeout, max_result_bytes },
            Clock::default(),
        )
    }

    #[test]
    fn every_name_becomes_one_that_providers_take() {
        assert_eq!(wire_name("time.now"), "time_now");
        assert_eq!(wire_name("files.read-file"), "files_read-file");
        assert_eq!(wire_name(&"ü".repeat(100)), "_".repeat(64));
        assert_eq!(wire_name(""), "_");
    }

    #[tokio::test]
    async fn only_what_is_offered_can_be_called() {
        let tools = tools(&[BuiltIn::TimeNow], 100);
        let names: Vec<String> = tools.definitions().await.into_iter().map(|definition| definition.name).collect();
        assert_eq!(names, ["time.now"]);
        let stop = CancellationToken::new();
        assert!(!tools.call("time.now", Arguments::new(), &stop).await.unwrap().is_error);
        for unknown in ["calculator", "files.read", ""] {
            assert!(tools.call(unknown, Arguments::new(), &stop).await.unwrap().is_error, "{unknown}");
        }
    }

    #[test]
    fn a_long_result_is_cut_between_characters_and_says_so() {
        let outcome = Outcome::good("äöü".repeat(10)).cut(5);
        assert_eq!(outcome.content, "äö\n[cut here: the whole result has 60 bytes]");
        assert_eq!(Outcome::good("äöü").cut(6).content, "äöü");
    }
}
