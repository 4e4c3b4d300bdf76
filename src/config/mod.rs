//! Every setting: defaults < file < environment < flags. All are read and checked before anything is opened; only this
//! room reads the environment.

mod event_type;
mod issuer;
mod mcp;
mod provider;
mod setting_error;
mod source;
mod value;
mod vendor;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use self::{
    event_type::EventType,
    issuer::Issuer,
    mcp::McpServer,
    provider::{Provider, ProviderKind},
    setting_error::SettingError,
    source::{Source, unknown_variables},
    value::{
        BuiltInTool, ClientAuth, CollectorUrl, Contact, ContentPolicy, LogFormat, RedisUrl, Registration, Secret,
        without_credentials,
    },
};
use self::{
    source::Sources,
    value::{Value, bounded},
};
use crate::model::{key::SigningAlgorithm, publication};

macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident: $type:ty = $default:literal $(or $alias:literal)? $(from $least:literal to $most:literal)?;
    )*) => {
        /// The settings in force.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $doc])* pub $name: $type,)*
            /// Model providers of the file's `[[providers]]`.
            pub providers: Vec<Provider>,
            /// MCP servers of the file's `[[mcp_servers]]`.
            pub mcp_servers: Vec<McpServer>,
            /// Types of published events of the file's `[[event_types]]`.
            pub event_types: Vec<publication::EventType>,
            /// Outside issuers of the file's `[[issuers]]`.
            pub issuers: Vec<Issuer>,
        }

        /// One setting, for people.
        pub struct Setting {
            /// As in the file and, in upper case after `COLLOQUY_`, in the environment.
            pub name: &'static str,
            /// Its value when nothing sets it.
            pub default: &'static str,
            /// Another environment variable that sets it.
            pub alias: Option<&'static str>,
            /// The least and the most that it may be.
            pub bounds: Option<(&'static str, &'static str)>,
            /// What it is for.
            pub about: &'static str,
            /// Its text as people may see it.
            shown: fn(&str) -> String,
        }

        /// Every setting.
        pub const SETTINGS: &[Setting] = &[
            $(Setting {
                name: stringify!($name),
                default: $default,
                alias: settings!(@alias $($alias)?),
                bounds: settings!(@bounds $($least $most)?),
                about: concat!($($doc),*),
                shown: <$type as Value>::shown,
            },)*
        ];

        impl Settings {
            fn read(sources: Sources) -> Result<Self, SettingError> {
                Ok(Self {
                    $($name: {
                        let text = sources.text(stringify!($name)).unwrap_or($default);
                        let value = <$type as Value>::read(text);
                        $(let value = value.and_then(|value| bounded(value, $least, $most));)?
                        value.map_err(|wanted| SettingError {
                            name: stringify!($name).to_owned(),
                            value: <$type as Value>::shown(text),
                            wanted,
                        })?
                    },)*
                    providers: sources.providers,
                    mcp_servers: sources.mcp_servers,
                    event_types: sources.event_types,
                    issuers: sources.issuers,
                })
            }
        }
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
    (@bounds) => { None };
    (@bounds $least:literal $most:literal) => { Some(($least, $most)) };
}

settings! {
    /// The name of this node, for people; empty for the name of the host.
    node: String = "";
    /// Where gRPC is served; port 0 picks a free one.
    grpc_addr: SocketAddr = "127.0.0.1:50051";
    /// Where HTTP and WebSockets are served; port 0 picks a free one.
    http_addr: SocketAddr = "127.0.0.1:8080";
    /// Where `/metrics` is shown besides, in plain text and to everybody: for a scraper on a private network. Empty for nowhere.
    metrics_addr: Option<SocketAddr> = "";
    /// The certificate that gRPC shows, in PEM, followed by those that vouch for it; empty for plain text.
    grpc_tls_cert: Option<PathBuf> = "";
    /// The key of `grpc_tls_cert`, in PEM.
    grpc_tls_key: Option<PathBuf> = "";
    /// The certificates, in PEM, that vouch for those of gRPC's clients; empty: clients are asked for none.
    grpc_tls_client_ca: Option<PathBuf> = "";
    /// Whether gRPC's clients must show a certificate where they are asked for one: `required` or `optional`.
    grpc_tls_client_auth: ClientAuth = "required";
    /// The certificate that HTTP shows, in PEM, followed by those that vouch for it; empty for plain text.
    http_tls_cert: Option<PathBuf> = "";
    /// The key of `http_tls_cert`, in PEM.
    http_tls_key: Option<PathBuf> = "";
    /// The certificates, in PEM, that vouch for those of HTTP's clients; empty: clients are asked for none.
    http_tls_client_ca: Option<PathBuf> = "";
    /// Whether HTTP's clients must show a certificate where they are asked for one: `required` or `optional`.
    http_tls_client_auth: ClientAuth = "required";
    /// The certificates, in PEM, that vouch for those of the cores of a `bridge`; empty for those that the system believes.
    core_tls_ca: Option<PathBuf> = "";
    /// The certificate that a `bridge` shows its cores, in PEM; empty for none.
    core_tls_cert: Option<PathBuf> = "";
    /// The key of `core_tls_cert`, in PEM.
    core_tls_key: Option<PathBuf> = "";
    /// Where the database and everything else that lasts is kept.
    data_dir: PathBuf = "./colloquy-data";
    /// The database: `postgres://USER:PASSWORD@HOST/NAME` or `sqlite:PATH`; empty for `colloquy.db` in the data folder.
    database_url: Option<Secret> = "" or "DATABASE_URL";
    /// Connections to PostgreSQL at most.
    database_connections: u32 = "16" from "1" to "10000";
    /// The Redis server that nodes share, `redis://…` or `rediss://…`; empty: what may be lost is in this process alone.
    redis_url: Option<RedisUrl> = "" or "REDIS_URL";
    /// How every key on the Redis server begins, so that it may be shared with others.
    redis_prefix: String = "colloquy:";
    /// How long Redis may take to answer, in seconds; after that it is away, and the node goes on alone until it is back.
    redis_timeout: Duration = "1" from "0.1" to "60";
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
    /// Live connections of this node at most.
    max_connections: u32 = "1000" from "1" to "1000000000";
    /// Live connections of one user at most, over all nodes.
    max_connections_per_user: u32 = "5" from "1" to "1000000000";
    /// Live connections from one address at most, over all nodes.
    max_connections_per_address: u32 = "20" from "1" to "1000000000";
    /// Frames in a second at most, of one user and from one address; so are the next.
    messages_per_second: u32 = "10" from "1" to "1000000000";
    /// Frames in a minute at most.
    messages_per_minute: u32 = "100" from "1" to "1000000000";
    /// Frames in an hour at most.
    messages_per_hour: u32 = "1000" from "1" to "1000000000";
    /// Frames in a day at most.
    messages_per_day: u32 = "10000" from "1" to "1000000000";
    /// Pings of a connection in a second that do not count as frames.
    free_pings_per_second: u32 = "2" from "0" to "1000";
    /// Messages by whose intervals somebody's habits are judged.
    messages_judged: u32 = "50" from "2" to "1000";
    /// Calls over gRPC and REST in a second at most, of one user and from one address.
    requests_per_second: u32 = "100" from "1" to "1000000000";
    /// Calls over gRPC and REST in a minute at most, of one user and from one address.
    requests_per_minute: u32 = "3000" from "1" to "1000000000";
    /// How long a violation of these limits is remembered, in seconds.
    violation_ttl: Duration = "3600" from "1" to "604800";
    /// Bytes of a message at most.
    max_message_bytes: usize = "32768";
    /// Bytes of a request's body at most.
    max_body_bytes: usize = "1048576" from "1" to "67108864";
    /// Bytes of a WebSocket frame from a client at most.
    max_frame_bytes: usize = "65536" from "1" to "1048576";
    /// Whether WebSocket messages are compressed for clients that offer it (permessage-deflate).
    compress_sockets: bool = "true";
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
    /// Bytes of cached answers at most, without Redis; there the server bounds them.
    response_cache_bytes: u64 = "67108864";
    /// How long a run may be without a sign of its node before another node ends it, in seconds.
    run_lease: Duration = "10" from "0.1" to "3600";
    /// How long a connected user may be without a frame before counting as away, in seconds.
    presence_idle: Duration = "300" from "0.1" to "86400";
    /// How long somebody is typing after saying so, in seconds.
    typing_timeout: Duration = "5" from "0.1" to "3600";
    /// Members of a conversation up to which they are told, by `message.delivered`, what has reached the others.
    delivery_receipts_max_members: u32 = "50";
    /// Whether notifications are pushed to the browsers of users who are not connected (Web Push).
    web_push: bool = "true";
    /// Whom push services turn to about this server: `mailto:…` or `https://…`. Some, such as Apple's, take no pushes without it.
    push_subject: Option<Contact> = "";
    /// Hosts that pushes may go to although their addresses are not public; of those on this machine also by `http://`.
    push_private_hosts: Vec<String> = "";
    /// Within how many seconds other nodes notice that a node is gone.
    node_ttl: Duration = "30" from "1" to "3600";
    /// How often nodes tell each other of their connections, for analytics, in seconds.
    report_interval: Duration = "10" from "0.01" to "3600";
    /// How long a call may take, in seconds.
    request_timeout: Duration = "130" from "0.001" to "86400";
    /// How long a send that waits for its answer does so, in seconds; `request_timeout` bounds it too.
    reply_wait: Duration = "120";
    /// How long the handshake of TLS, a request's head, the opening of a socket and its sign-in may each take, in seconds.
    handshake_timeout: Duration = "10" from "0.001" to "3600";
    /// How long a client may read nothing of what it was sent before its connection or its stream ends, in seconds.
    drain_limit: Duration = "30" from "0.001" to "3600";
    /// How long an event stream may be silent before it gets a comment, in seconds.
    sse_keep_alive: Duration = "15" from "0.001" to "3600";
    /// How long sockets may be silent before the server asks for a sign of life, in seconds.
    heartbeat_interval: Duration = "30" from "0.001" to "86400";
    /// How long a socket may be silent before it is closed, in seconds.
    connection_timeout: Duration = "60" from "0.001" to "86400";
    /// Frames that wait for one viewer at most.
    lane_frames: usize = "1000" from "1" to "100000";
    /// Bytes of frames that wait for one viewer at most; one frame alone may have more.
    lane_bytes: usize = "1048576" from "1" to "1073741824";
    /// How long a frame may wait for its viewer, in seconds.
    lane_ttl: Duration = "3600" from "0.001" to "86400";
    /// Bytes that a bridge takes for one socket beyond what the socket has taken.
    socket_window_bytes: usize = "65536" from "1024" to "16777216";
    /// How long a viewer may take nothing of a frame before that counts as a failed send, in seconds.
    send_timeout: Duration = "2" from "0.001" to "3600";
    /// Failed sends in a row after which a viewer is sent nothing more until it answers a ping.
    send_breaker_failures: u32 = "5" from "1" to "1000000";
    /// Bytes of what a viewer missed that are looked up at once.
    recovery_page_bytes: usize = "262144" from "1" to "16777216";
    /// How many viewers a second come back, of those whom a node sends away together.
    reconnects_per_second: u32 = "500" from "1" to "1000000";
    /// Mean round trips up to this score full in the health of a connection, in seconds.
    health_good_latency: Duration = "0.1" from "0" to "3600";
    /// Mean round trips from twice this on score nothing, in seconds.
    health_bad_latency: Duration = "0.5" from "0.001" to "3600";
    /// Failed frames of a hundred; from twice as many on they score nothing.
    health_bad_error_percent: u32 = "10" from "1" to "100";
    /// Round trips and frames by which a connection is judged.
    health_samples: usize = "100" from "1" to "128";
    /// How often connections are judged, in seconds.
    health_interval: Duration = "30" from "0.001" to "86400";
    /// How often in a row a connection may be found unhealthy before it is asked to come back.
    health_strikes: u32 = "3" from "1" to "1000000";
    /// Events that a topic's history holds at most, for viewers who come back.
    history_events: usize = "1000" from "1" to "1000000";
    /// Bytes of a topic's history at most.
    history_bytes: usize = "1048576";
    /// How long an event stays in its topic's history, in seconds.
    history_ttl: Duration = "3600" from "0.001" to "2592000";
    /// How long runs may go on once shutdown has begun, in seconds.
    shutdown_grace: Duration = "30";
    /// The key by which a bridge in another process shows that client addresses it reports are to be believed.
    bridge_key: Option<Secret> = "";
    /// Web origins whose pages may call; `*` for all: a call is authorised by its bearer token alone.
    allowed_origins: Vec<String> = "*";
    /// Whether the client's address is the last one of `X-Forwarded-For`: only behind a proxy that writes it.
    trust_forwarded_for: bool = "false";
    /// Whether `/metrics` and `/api/health/detailed` are for those only who are signed in.
    pages_need_login: bool = "true";
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
    /// Failures in a row after which a provider is left alone.
    provider_breaker_failures: u32 = "5" from "1" to "1000000";
    /// For how long a provider is then left alone, in seconds.
    provider_breaker_open: Duration = "30";
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
    /// The collector that traces are sent to over OTLP and gRPC, `http://HOST:PORT`; empty: none are made.
    otlp_endpoint: Option<CollectorUrl> = "" or "OTEL_EXPORTER_OTLP_ENDPOINT";
    /// Which part of the traces that begin here is sent; who comes with a trace says so by its `sampled` flag.
    trace_sample_ratio: f64 = "1" from "0" to "1";
    /// Microseconds that this node's clock is ahead, for tests of clocks that differ.
    clock_ahead_micros: i64 = "0";
}

impl Settings {
    /// Reads the settings: the file when one is named, the environment, then `flags` as (name, text).
    ///
    /// # Errors
    /// The first setting that is wrong or unknown.
    pub fn load(file: Option<PathBuf>, flags: &[(String, String)]) -> Result<Self, SettingError> {
        let mut settings = Self::read(Sources::read(file, source::variable, flags)?)?;
        issuer::check(&settings.issuers, &settings.jwt_issuer)?;
        if settings.node.is_empty() {
            settings.node = gethostname::gethostname().to_string_lossy().into_owned();
        }
        settings.add_vendors();
        Ok(settings)
    }
}

/// A setting in force, for people.
#[derive(Debug)]
pub struct InForce {
    /// Its name.
    pub name: &'static str,
    /// Its text; of one that holds a secret only what may be seen.
    pub text: String,
    /// What sets it.
    pub source: Source,
}

/// Every setting, with what is in force and where that comes from.
///
/// # Errors
/// When a source cannot be read or names what is no setting.
pub fn in_force(file: Option<PathBuf>, flags: &[(String, String)]) -> Result<Vec<InForce>, SettingError> {
    let sources = Sources::read(file, source::variable, flags)?;
    let shown = SETTINGS.iter().map(|setting| InForce {
        name: setting.name,
        text: (setting.shown)(sources.text(setting.name).unwrap_or(setting.default)),
        source: sources.of(setting.name),
    });
    Ok(shown.collect())
}
