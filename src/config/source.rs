//! Where the settings' texts come from: file < environment < flags.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::{EventType, Issuer, McpServer, Provider, SETTINGS, Secret, Setting, SettingError, mcp};
use crate::model::publication;

/// How the names of the settings' variables begin.
const PREFIX: &str = "COLLOQUY_";
/// Names the file.
const FILE: &str = "COLLOQUY_CONFIG";
/// Names of the tests' own begin so.
const TESTS: &str = "COLLOQUY_TEST_";
/// How alike a known name must be to one that is not, from 0 to 1, to be what was meant.
const ALIKE: f64 = 0.6;

/// What sets a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing: it has its default.
    Default,
    /// The file.
    File(PathBuf),
    /// An environment variable of this name.
    Environment(String),
    /// A flag.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag => formatter.write_str("flag"),
        }
    }
}

/// What all sources together say.
#[derive(Debug, Default)]
pub(super) struct Sources {
    texts: BTreeMap<&'static str, (String, Source)>,
    pub(super) providers: Vec<Provider>,
    pub(super) mcp_servers: Vec<McpServer>,
    pub(super) event_types: Vec<publication::EventType>,
    pub(super) issuers: Vec<Issuer>,
}

impl Sources {
    /// Reads the file when one is named, then what `environment` tells of a variable, then `flags` as (name, text).
    pub(super) fn read(
        file: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(String, String)],
    ) -> Result<Self, SettingError> {
        let mut sources = Self::default();
        if let Some(path) = file.or_else(|| environment(FILE).map(PathBuf::from)) {
            sources.read_file(&path)?;
        }
        for setting in SETTINGS {
            let own = format!("{PREFIX}{}", setting.name.to_uppercase());
            let names = [Some(own.as_str()), setting.alias];
            if let Some((name, text)) = names.into_iter().flatten().find_map(|name| Some((name, environment(name)?))) {
                sources.texts.insert(setting.name, (text, Source::Environment(name.to_owned())));
            }
        }
        for (name, text) in flags {
            sources.texts.insert(known(name)?.name, (text.clone(), Source::Flag));
        }
        for provider in &mut sources.providers {
            provider.api_key = environment(&provider.api_key_env).map(Secret);
        }
        sources.mcp_servers.iter_mut().for_each(|server| server.equip(&environment));
        mcp::check(&sources.mcp_servers)?;
        Ok(sources)
    }

    /// The text that sets a setting, if any does.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(|(text, _)| text.as_str())
    }

    /// What sets a setting.
    pub(super) fn of(&self, name: &str) -> Source {
        self.texts.get(name).map_or(Source::Default, |(_, source)| source.clone())
    }

    fn read_file(&mut self, path: &Path) -> Result<(), SettingError> {
        let wrong = |wanted: String| SettingError { name: "config".into(), value: path.display().to_string(), wanted };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let table: toml::Table =
            text.parse().map_err(|error| wrong(format!("is not TOML: {}", fault(&error, &text))))?;
        for (name, value) in table {
            match name.as_str() {
                "providers" => self.providers = entries(&name, value).map_err(wrong)?,
                "mcp_servers" => self.mcp_servers = entries(&name, value).map_err(wrong)?,
                "event_types" => {
                    let types: Vec<EventType> = entries(&name, value).map_err(wrong)?;
                    self.event_types = types.iter().map(EventType::check).collect::<Result<_, _>>()?;
                }
                "issuers" => self.issuers = entries(&name, value).map_err(wrong)?,
                _ => drop(self.texts.insert(known(&name)?.name, (plain(value), Source::File(path.to_owned())))),
            }
        }
        Ok(())
    }
}

/// The tables of an array of them.
fn entries<T: DeserializeOwned>(name: &str, value: toml::Value) -> Result<Vec<T>, String> {
    value.try_into().map_err(|error| format!("{name}: {}", told(&error)))
}

/// A value of the file as the other sources write it.
fn plain(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        toml::Value::Array(entries) => {
            let entries: Vec<_> = entries.iter().map(|entry| entry.as_str().unwrap_or_default()).collect();
            entries.join(",")
        }
        other => other.to_string(),
    }
}

/// What is wrong with a file, and in which line; the line itself may hold a secret.
fn fault(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{place}{}", told(error))
}

/// The message of an error without what it quotes from the file, which may be a secret.
fn told(error: &toml::de::Error) -> String {
    let message = error.message();
    // Every other part stands between quotes.
    let parts = message.split('"').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "…" });
    parts.collect::<Vec<_>>().join("\"").replace('\n', ", ")
}

/// What the environment says.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Variables that are named as settings are and set none, each with the variable that may have been meant. They are not
/// refused: cluster managers make some by themselves, such as `COLLOQUY_PORT` beside a service called `colloquy`.
pub fn unknown_variables() -> Vec<(String, Option<String>)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let strange = names.filter(|name| name != FILE && !name.starts_with(TESTS)).filter_map(|name| {
        let setting = name.strip_prefix(PREFIX)?.to_lowercase();
        let is_known = SETTINGS.iter().any(|known| known.name == setting);
        let meant = || nearest(&setting).map(|known| format!("{PREFIX}{}", known.to_uppercase()));
        (!is_known).then(|| (name.clone(), meant()))
    });
    strange.collect()
}

fn known(name: &str) -> Result<&'static Setting, SettingError> {
    SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| {
        let meant = nearest(name).map(|meant| format!(", did you mean {meant}?"));
        SettingError::new(name, &format!("there is no such setting{}", meant.unwrap_or_default()))
    })
}

/// The setting whose name is most like this one, if it is much like it.
fn nearest(name: &str) -> Option<&'static str> {
    let alike = SETTINGS.iter().map(|known| (strsim::normalized_damerau_levenshtein(name, known.name), known.name));
    alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "node = \"of the file\"\njwt_issuer = \"of the file\"\nredis_prefix = \"of the file\"").unwrap();
        let environment = |name: &str| {
            ["COLLOQUY_NODE", "COLLOQUY_JWT_ISSUER", "LOG_LEVEL"]
                .contains(&name)
                .then(|| "of the environment".to_owned())
        };
        let flags = [("node".to_owned(), "of a flag".to_owned())];
        let sources = Sources::read(Some(file.path().to_owned()), environment, &flags).unwrap();
        let found = ["node", "jwt_issuer", "redis_prefix", "log_level", "tools"].map(|name| sources.text(name));
        let [file_s, environment_s] = ["of the file", "of the environment"].map(Some);
        assert_eq!(found, [Some("of a flag"), environment_s, file_s, environment_s, None]);
        assert_eq!(sources.of("node"), Source::Flag);
        assert_eq!(sources.of("jwt_issuer"), Source::Environment("COLLOQUY_JWT_ISSUER".to_owned()));
        assert_eq!(sources.of("log_level"), Source::Environment("LOG_LEVEL".to_owned()));
        assert_eq!(sources.of("redis_prefix"), Source::File(file.path().to_owned()));
        assert_eq!(sources.of("tools"), Source::Default);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_by_its_line_and_without_what_stands_there() {
        for (text, said) in [
            ("node = \"a\"\nopenai_api_key = sk-secret\n", "is not TOML: line 2: "),
            ("bridge_key = \"sk-secret\n", "is not TOML: line 1: "),
            (
                "[[providers]]\nname = \"a\"\nkind = \"openai\"\ntools = \"sk-secret\"\n",
                "providers: invalid type: string",
            ),
            ("[[providers]]\nname = \"a\"\nkind = \"openai\"\napi_key = \"sk-secret\"\n", "unknown field `api_key`"),
            ("[[mcp_servers]]\nname = \"a\"\nargs = \"sk-secret\"\n", "mcp_servers: invalid type: string"),
            ("openai_api_kee = \"sk-secret\"\n", "there is no such setting, did you mean openai_api_key?"),
            ("[server]\nkey = \"sk-secret\"\n", "there is no such setting"),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let fault = Sources::read(Some(file.path().to_owned()), nothing, &[]).unwrap_err().to_string();
            assert!(fault.contains(said) && !fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_one_that_is_most_like_it() {
        for (name, said) in [
            ("max_frame_byte", ", did you mean max_frame_bytes?"),
            ("hearbeat_interval", ", did you mean heartbeat_interval?"),
            ("colour", ""),
        ] {
            let fault = Sources::read(None, nothing, &[(name.to_owned(), "1".to_owned())]).unwrap_err();
            assert_eq!(fault.to_string(), format!("setting {name}: there is no such setting{said}"));
        }
    }
}
