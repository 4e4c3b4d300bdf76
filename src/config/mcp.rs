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

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of this name, with these lines.
    fn named(name: &str, lines: &str) -> String {
        format!("[[mcp_servers]]\nname = \"{name}\"\n{lines}\n")
    }

    fn read(file: &str) -> Vec<McpServer> {
        let mut table: toml::Table = file.parse().unwrap();
        table.remove("mcp_servers").unwrap().try_into().unwrap()
    }

    #[test]
    fn a_wrong_server_is_named_with_what_would_be_right() {
        let program = "command = \"x\"";
        for (file, wanted) in [
            (named("a_b", program), "letters, digits and -"),
            (named("a", ""), "either a url or a command"),
            (named("a", &format!("url = \"http://x\"\n{program}")), "either a url or a command"),
            (named("a", "url = \"x\""), "http://"),
            (named("a", program) + &named("a", program), "two servers"),
        ] {
            let fault = check(&read(&file)).unwrap_err().to_string();
            assert!(fault.starts_with("setting mcp_servers = \"a") && fault.contains(wanted), "{fault}");
        }
        check(&read(&(named("a", program) + &named("b-2", "url = \"https://x/mcp\"")))).unwrap();
    }

    #[test]
    fn a_program_gets_what_is_named_and_what_says_nothing() {
        let mut server =
            read(&named("a", "command = \"x\"\npass_env = [\"MY_TOKEN\"]\nbearer_env = \"OTHER\"")).remove(0);
        let known = ["PATH", "MY_TOKEN", "OTHER", "SECRET"];
        server.equip(&|name: &str| known.contains(&name).then(|| name.to_lowercase()));
        let seen: Vec<_> = server.environment.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        assert_eq!(seen, [("PATH", "path"), ("MY_TOKEN", "my_token")]);
        assert_eq!(server.bearer, Some(Secret("other".to_owned())));
    }
}
