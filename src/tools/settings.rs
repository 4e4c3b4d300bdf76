//! What an operator can set about tools.

use std::time::Duration;

/// All that [`Tools`](super::Tools) is built from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The built-in tools on offer.
    pub built_in: Vec<BuiltIn>,
    /// The MCP servers whose tools are on offer.
    pub servers: Vec<Server>,
    /// How long a call may take.
    pub timeout: Duration,
    /// Bytes of a result at most; of a longer one the beginning is kept.
    pub max_result_bytes: usize,
}

/// A tool that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// `time.now`.
    TimeNow,
    /// `calculator`.
    Calculator,
}

/// An MCP server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Comes before the name of each of its tools.
    pub name: String,
    /// How it is reached.
    pub door: Door,
}

/// How an MCP server is reached.
#[derive(Clone)]
pub enum Door {
    /// Over streamable HTTP.
    Http {
        /// Where.
        url: String,
        /// The bearer token that it wants.
        bearer: Option<String>,
    },
    /// As a child process, over its standard input and output.
    Process {
        /// The program.
        command: String,
        /// What it is called with.
        arguments: Vec<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
    },
}

impl std::fmt::Debug for Door {
    /// Without secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http { url, .. } => formatter.debug_struct("Http").field("url", url).finish_non_exhaustive(),
            Self::Process { command, .. } => {
                formatter.debug_struct("Process").field("command", command).finish_non_exhaustive()
            }
        }
    }
}
