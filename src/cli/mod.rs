//! The commands: what each does is in its own file; here is how they are called and how they end.

pub mod admin;
pub mod bridge;
pub mod config;
pub mod core;
pub mod db;
mod metrics;
pub mod serve;
mod tls;
pub mod token;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    config::{SettingError, Settings, unknown_variables},
    error::Error,
    lifecycle::Lifecycle,
    llm, telemetry,
};

// Exit codes of sysexits.h.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const CONFIG: u8 = 78;

/// A self-hosted, gRPC-first chat backend.
#[derive(Debug, Parser)]
#[command(name = "colloquy", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves everything: gRPC, and HTTP with WebSockets. What is done when no command is given.
    Serve,
    /// Serves gRPC only.
    Core,
    /// Serves HTTP and WebSockets only, in front of cores elsewhere.
    Bridge {
        /// The cores' addresses, such as `http://10.0.0.1:50051`, or `https://…` for TLS, divided by commas.
        #[arg(long, value_delimiter = ',', required = true, value_parser = core_address)]
        core: Vec<http::Uri>,
    },
    /// Looks after the database.
    Db {
        #[command(subcommand)]
        action: db::Action,
    },
    /// Makes admins, with a server running or not.
    Admin {
        #[command(subcommand)]
        action: admin::Action,
    },
    /// Prints an access token for an account, as for `grpcurl -H "authorization: Bearer …"`, with a server running or not. It is
    /// good for `access_token_ttl`.
    Token {
        /// The account's username or its email
        name: String,
    },
    /// Tells about the settings.
    Config {
        #[command(subcommand)]
        action: config::Action,
    },
}

/// Flags of every command.
#[derive(Debug, Args)]
struct Common {
    /// A TOML file with settings.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// A setting; it goes before the environment and the file.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
    settings: Vec<(String, String)>,
    /// Where gRPC is served.
    #[arg(long, global = true)]
    grpc_addr: Option<String>,
    /// Where HTTP and WebSockets are served.
    #[arg(long, global = true)]
    http_addr: Option<String>,
    /// Where everything that lasts is kept.
    #[arg(long, global = true)]
    data_dir: Option<String>,
    /// A file to write the addresses to, as JSON, once they answer.
    #[arg(long, global = true)]
    ready_file: Option<PathBuf>,
}

/// Runs the command that the arguments name, to its end.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Where help cannot be printed, nothing can.
            let _ = error.print();
            let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if is_asked_for { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let settings = Settings::load(cli.common.config.clone(), &cli.common.flags());
    let traces = telemetry::start(settings.as_ref().ok());
    let outcome = obey(cli, settings).await;
    traces.end().await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

async fn obey(cli: Cli, settings: Result<Settings, SettingError>) -> anyhow::Result<()> {
    let settings = settings?;
    for (variable, meant) in unknown_variables() {
        tracing::warn!(variable, meant, "unknown variable, ignored");
    }
    let lifecycle = Lifecycle::default();
    let ready_file = cli.common.ready_file.as_deref();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&settings, ready_file, lifecycle).await,
        Command::Core => core::run(&settings, ready_file, lifecycle).await,
        Command::Bridge { core } => bridge::run(&settings, &core, ready_file, lifecycle).await,
        Command::Db { action } => db::run(&settings, action).await,
        Command::Admin { action } => admin::run(&settings, action).await,
        Command::Token { name } => token::run(&settings, &name).await,
        Command::Config { action } => config::run(&settings, action, cli.common.config.clone(), &cli.common.flags()),
    }
}

impl Common {
    /// The settings that flags set, as (name, text).
    fn flags(&self) -> Vec<(String, String)> {
        let named = [("grpc_addr", &self.grpc_addr), ("http_addr", &self.http_addr), ("data_dir", &self.data_dir)];
        let named = named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.clone()?)));
        self.settings.iter().cloned().chain(named).collect()
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn core_address(text: &str) -> Result<http::Uri, String> {
    let address = text.parse::<http::Uri>().ok();
    let is_known = |address: &http::Uri| matches!(address.scheme_str(), Some("http" | "https"));
    address.filter(is_known).ok_or_else(|| "must be http://HOST:PORT or https://HOST:PORT".to_owned())
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<SettingError>() || error.is::<llm::SettingsError>() {
        return CONFIG;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Invalid(_) | Error::NotFound(_) | Error::AlreadyExists(_) | Error::FailedPrecondition(_)) => USAGE,
        _ => UNAVAILABLE,
    }
}
