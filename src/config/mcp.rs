//! MCP servers of the file's `[[mcp_servers]]`.

use super::{Secret, SettingError};

/// Variables that every program may need and none keeps secrets in.
const PLAIN_VARIABLES: [&str; 8] = ["PATH", "HOME", "USER", "SHELL", "LANG", "TERM", "TMPDIR", "TZ"];

/// A server whose tools models may call: over streamable HTTP when it has a `url`, else a program that is started.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// Comes before the names of its tools: letters, digits and `-`.
    pub name: String,
    /// Where it is.
    #[serde(default)]
    pub url: String,
    /// The environment variable that holds the bearer token for `url`.
    #[serde(default)]
    pub bearer_env: String,
    /// The program to start.
    #[serde(default)]
    pub command: String,
    /// What it is called with.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables that are passed on to it; of the others it sees only what says nothing, such as `PATH`.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// The bearer token.
    #[serde(skip)]
    pub bearer: Option<Secret>,
    /// The program's whole environment.
    #[serde(skip)]
    pub environment: Vec<(String, Secret)>,
}

impl McpServer {
    /// Reads what the server needs of the environment.
    pub(super) fn equip(&mut self, environment: &impl Fn(&str) -> Option<String>) {
        self.bearer = environment(&self.bearer_env).map(Secret);
        let names = PLAIN_VARIABLES.into_iter().chain(self.pass_env.iter().map(String::as_str));
        self.environment = names.filter_map(|name| Some((name.to_owned(), Secret(environment(name)?)))).collect();
    }
}

/// Checks the servers beside each other.
pub(super) fn check(servers: &[McpServer]) -> Result<(), SettingError> {
    for (at, server) in servers.iter().enumerate() {
        let wrong = |wanted: &str| {
            let value = server.name.clone();
            Err(SettingError { name: "mcp_servers".to_owned(), value, wanted: wanted.to_owned() })
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if server.name.is_empty() || !server.name.chars().all(is_plain) {
            return wrong("a name must be letters, digits and -");
        }
        if servers[..at].iter().any(|other| other.name == server.name) {
            return wrong("two servers have this name");
        }
        if server.url.is_empty() == server.command.is_empty() {
            return wrong("a server has either a url or a command");
        }
        let is_http = server.url.starts_with("http://") || server.url.starts_with("https://");
        if !server.url.is_empty() && !is_http {
            return wrong("its url must begin with http:// or https://");
        }
    }
    Ok(())
}
