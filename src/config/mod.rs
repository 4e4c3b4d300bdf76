//! Every setting: defaults < file < environment < flags. All are read and checked before anything is opened; only this
//! room reads the environment.

mod mcp;
mod provider;
mod value;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use self::value::Value;
pub use self::{
    mcp::McpServer,
    provider::{Provider, ProviderKind},
    value::{BuiltInTool, ContentPolicy, LogFormat, RedisUrl, Registration, Secret},
};
use crate::model::key::SigningAlgorithm;

/// A setting that is wrong: its name, its value and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("setting {name} = {value:?}: {wanted}")]
pub struct SettingError {
    name: String,
    value: String,
    wanted: String,
}

impl SettingError {
    /// A setting that is wrong beside the others; its value stays untold, for it may be a secret.
    pub fn new(name: &str, wanted: &str) -> Self {
        Self { name: name.to_owned(), value: String::new(), wanted: wanted.to_owned() }
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty = $default:literal $(or $alias:literal)?;)*) => {
        /// The settings in force.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $doc])* pub $name: $type,)*
            /// Model providers of the file's `[[providers]]`.
            pub providers: Vec<Provider>,
            /// MCP servers of the file's `[[mcp_servers]]`.
            pub mcp_servers: Vec<McpServer>,
        }

        /// One setting, for people.
        pub struct Setting {
            /// As in the file and, in upper case after `COLLOQUY_`, in the environment.
            pub name: &'static str,
            /// Its value when nothing sets it.
            pub default: &'static str,
            /// Another environment variable that sets it.
            pub alias: Option<&'static str>,
            /// What it is for.
            pub about: &'static str,
        }

        /// Every setting.
        pub const SETTINGS: &[Setting] = &[
            $(Setting {
                name: stringify!($name),
                default: $default,
                alias: settings!(@alias $($alias)?),
                about: concat!($($doc),*),
            },)*
        ];

        impl Settings {
            fn read(
                texts: &BTreeMap<&'static str, String>,
                providers: Vec<Provider>,
                mcp_servers: Vec<McpServer>,
            ) -> Result<Self, SettingError> {
                Ok(Self {
                    $($name: {
                        let text = texts.get(stringify!($name)).map_or($default, String::as_str);
                        <$type as Value>::read(text).map_err(|wanted| SettingError {
                            name: stringify!($name).to_owned(),
                            value: <$type as Value>::shown(text),
                            wanted,
                        })?
                    },)*
                    providers,
                    mcp_servers,
                })
            }
        }
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}

settings! {
    /// Where gRPC is served; port 0 picks a free one.
    grpc_addr: SocketAddr = "127.0.0.1:50051";
    /// Where HTTP and WebSockets are served; port 0 picks a free one.
    http_addr: SocketAddr = "127.0.0.1:8080";
    /// Where the database and everything else that lasts is kept.
    data_dir: PathBuf = "./colloquy-data";
    /// The database: `postgres://USER:PASSWORD@HOST/NAME` or `sqlite:PATH`; empty for `colloquy.db` in the data folder.
    database_url: Option<Secret> = "" or "DATABASE_URL";
    /// Connections to PostgreSQL at most.
    database_connections: u32 = "16";
    /// The Redis server that nodes share, `redis://…` or `rediss://…`; empty: what may be lost is in this process alone.
    redis_url: Option<RedisUrl> = "" or "REDIS_URL";
    /// How every key on the Redis server begins, so that it may be shared with others.
    redis_prefix: String = "colloquy:";
    /// The model that answers where none is chosen; empty for the first provider that has a key, else `echo`.
    default_model: Option<String> = "";
    /// Who may register: `open` or `closed`.
    registration: Registration = "open";
    /// The name of the first admin, made at start when it is not there.
    admin_username: Option<String> = "";
    /// The first admin's email.
    admin_email: Option<String> = "";
    /// The first admin's password.
    admin_password: Option<Secret> = "";
    /// What happens to text that holds markup: `store` or `reject`.
    content_policy: ContentPolicy = "store";
    /// How access tokens are signed: `EdDSA`, `RS256` or `HS256`.
    jwt_algorithm: SigningAlgorithm = "EdDSA";
    /// The issuer named in access tokens.
    jwt_issuer: String = "colloquy";
    /// How long an access token is good, in seconds.
    access_token_ttl: Duration = "900";
    /// How long a session lasts without a refresh, in seconds.
    refresh_token_ttl: Duration = "2592000";
    /// How long a key signs before the next one takes over, in seconds.
    signing_key_ttl: Duration = "2592000";
    /// How long a ticket is good, in seconds.
    ticket_ttl: Duration = "30";
    /// Wrong passwords per account before sign-in is held back.
    sign_in_failures_per_account: u32 = "10";
    /// Wrong passwords per address before sign-in is held back.
    sign_in_failures_per_address: u32 = "50";
    /// How long wrong passwords count, in seconds.
    sign_in_window: Duration = "900";
    /// Bytes of a message at most.
    max_message_bytes: usize = "32768";
    /// Bytes of a WebSocket frame from a client at most.
    max_frame_bytes: usize = "65536";
    /// Tokens of contexts and messages that are put before a model at most.
    context_token_budget: usize = "8192";
    /// Tokens that a model may write in one answer.
    max_output_tokens: u32 = "4096";
    /// Built-in tools that models may call: `time.now`, `calculator`.
    tools: Vec<BuiltInTool> = "";
    /// Rounds of tool calls in one answer.
    tool_rounds: u32 = "8";
    /// How long a call of a tool may take, in seconds.
    tool_timeout: Duration = "30";
    /// Bytes of a tool's result that are kept and shown to the model.
    tool_result_bytes: usize = "16384";
    /// Tokens, read and written, that a user has for a UTC day; empty for as many as there are.
    daily_token_quota: Option<u32> = "";
    /// Whether an answer is given again when the same model is asked the same.
    response_cache: bool = "false";
    /// How long a cached answer is good, in seconds.
    response_cache_ttl: Duration = "3600";
    /// Bytes of cached answers at most.
    response_cache_bytes: u64 = "67108864";
    /// How long a run may be without a sign of its node before another node ends it, in seconds.
    run_lease: Duration = "10";
    /// How long a call may take, in seconds.
    request_timeout: Duration = "130";
    /// How long sockets may be silent before the server asks for a sign of life, in seconds.
    heartbeat_interval: Duration = "30";
    /// How long a socket may be silent before it is closed, in seconds.
    connection_timeout: Duration = "60";
    /// How long runs may go on once shutdown has begun, in seconds.
    shutdown_grace: Duration = "30";
    /// The key by which a bridge in another process shows that client addresses it reports are to be believed.
    bridge_key: Option<Secret> = "";
    /// Web origins whose pages may call; `*` for all: a call is authorised by its bearer token alone.
    allowed_origins: Vec<String> = "*";
    /// How long the `echo` model waits between words, in seconds.
    echo_interval: Duration = "0.02";
    /// How long the connection to a provider may take, in seconds.
    provider_connect_timeout: Duration = "5";
    /// How long a provider may take to its first word, in seconds.
    provider_first_piece_timeout: Duration = "60";
    /// How long a provider may be silent between two words, in seconds.
    provider_silence_timeout: Duration = "30";
    /// How long a provider's whole answer may take, in seconds.
    provider_total_timeout: Duration = "600";
    /// Further tries of a provider that failed before its first word.
    provider_retries: u32 = "2";
    /// The key of Anthropic's API.
    anthropic_api_key: Option<Secret> = "" or "ANTHROPIC_API_KEY";
    /// Another address of Anthropic's API.
    anthropic_base_url: Option<String> = "" or "ANTHROPIC_BASE_URL";
    /// The version of Anthropic's API.
    anthropic_version: String = "2023-06-01";
    /// Models of Anthropic's to offer.
    anthropic_models: Vec<String> = "claude-sonnet-4-5,claude-haiku-4-5";
    /// The key of OpenAI's API.
    openai_api_key: Option<Secret> = "" or "OPENAI_API_KEY";
    /// Another address of OpenAI's API, or of one that speaks the same.
    openai_base_url: Option<String> = "" or "OPENAI_BASE_URL";
    /// Models of OpenAI's to offer.
    openai_models: Vec<String> = "gpt-5,gpt-5-mini";
    /// The address of an OpenAI-compatible server on this machine, offered as provider `local`.
    local_model_url: Option<String> = "";
    /// Models of the local server to offer.
    local_models: Vec<String> = "smollm2";
    /// Whether the local server's models are offered tools.
    local_tools: bool = "false";
    /// Log filter: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,colloquy=debug`.
    log_level: String = "info" or "LOG_LEVEL";
    /// How logs are written: `pretty` or `json`; empty for pretty on a terminal, else JSON.
    log_format: Option<LogFormat> = "";
    /// Microseconds that this node's clock is ahead, for tests of clocks that differ.
    clock_ahead_micros: i64 = "0";
}

impl Settings {
    /// Reads the settings: the file when one is named, the environment, then `flags` as (name, text).
    ///
    /// # Errors
    /// The first setting that is wrong or unknown.
    pub fn load(file: Option<PathBuf>, flags: &[(String, String)]) -> Result<Self, SettingError> {
        Self::from_sources(file, |name| std::env::var(name).ok(), flags)
    }

    fn from_sources(
        file: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(String, String)],
    ) -> Result<Self, SettingError> {
        let mut texts = BTreeMap::new();
        let mut providers = Vec::new();
        let mut mcp_servers = Vec::new();
        if let Some(path) = file.or_else(|| environment("COLLOQUY_CONFIG").map(PathBuf::from)) {
            read_file(&path, &mut texts, &mut providers, &mut mcp_servers)?;
        }
        for setting in SETTINGS {
            let own = environment(&format!("COLLOQUY_{}", setting.name.to_uppercase()));
            if let Some(text) = own.or_else(|| setting.alias.and_then(&environment)) {
                texts.insert(setting.name, text);
            }
        }
        for (name, text) in flags {
            texts.insert(known(name)?.name, text.clone());
        }
        for provider in &mut providers {
            provider.api_key = environment(&provider.api_key_env).map(Secret);
        }
        mcp_servers.iter_mut().for_each(|server: &mut McpServer| server.equip(&environment));
        mcp::check(&mcp_servers)?;
        let mut settings = Self::read(&texts, providers, mcp_servers)?;
        settings.add_vendors();
        Ok(settings)
    }

    /// Adds the providers that have settings of their own, unless the file names one of the same name.
    fn add_vendors(&mut self) {
        let vendors = [
            (
                "anthropic",
                ProviderKind::Anthropic,
                &self.anthropic_base_url,
                &self.anthropic_api_key,
                &self.anthropic_models,
                true,
            ),
            ("openai", ProviderKind::OpenAi, &self.openai_base_url, &self.openai_api_key, &self.openai_models, true),
            ("local", ProviderKind::OpenAi, &self.local_model_url, &None, &self.local_models, self.local_tools),
        ];
        let mut found = Vec::new();
        for (name, kind, base_url, api_key, models, tools) in vendors {
            let is_set = base_url.is_some() || api_key.is_some();
            if is_set && !self.providers.iter().any(|provider| provider.name == name) {
                found.push(Provider {
                    name: name.to_owned(),
                    kind,
                    base_url: base_url.clone().unwrap_or_default(),
                    api_key_env: String::new(),
                    models: models.clone(),
                    fallback: Vec::new(),
                    tools,
                    api_key: api_key.clone(),
                });
            }
        }
        self.providers.extend(found);
    }
}

fn known(name: &str) -> Result<&'static Setting, SettingError> {
    SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| SettingError {
        name: name.to_owned(),
        value: String::new(),
        wanted: "there is no such setting".to_owned(),
    })
}

fn read_file(
    path: &PathBuf,
    texts: &mut BTreeMap<&'static str, String>,
    providers: &mut Vec<Provider>,
    mcp_servers: &mut Vec<McpServer>,
) -> Result<(), SettingError> {
    let wrong = |wanted: String| SettingError { name: "config".into(), value: path.display().to_string(), wanted };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let table: toml::Table = text.parse().map_err(|error| wrong(format!("is not TOML: {error}")))?;
    for (name, value) in table {
        if name == "providers" {
            *providers = value.try_into().map_err(|error| wrong(format!("providers: {error}")))?;
            continue;
        }
        if name == "mcp_servers" {
            *mcp_servers = value.try_into().map_err(|error| wrong(format!("mcp_servers: {error}")))?;
            continue;
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Array(entries) => {
                let entries: Vec<_> = entries.iter().map(|entry| entry.as_str().unwrap_or_default()).collect();
                entries.join(",")
            }
            other => other.to_string(),
        };
        texts.insert(known(&name)?.name, text);
    }
    Ok(())
}
