//! `colloquy config`: an operator's view of the settings.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::Subcommand;
use toml::Value;

use crate::config::{self, Provider, ProviderKind, Settings};

/// What to do with the settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Action {
    /// Prints the settings in force as a file would set them, and what sets each; secrets stay untold.
    Show,
}

/// Does it. The settings were found right before.
///
/// # Errors
/// When the file has changed meanwhile, or nobody reads what is printed.
pub(super) fn run(
    settings: &Settings,
    action: Action,
    file: Option<PathBuf>,
    flags: &[(String, String)],
) -> anyhow::Result<()> {
    let Action::Show = action;
    let mut out = io::stdout().lock();
    for setting in config::in_force(file, flags)? {
        writeln!(out, "{} = {}  # {}", setting.name, quoted(&setting.text), setting.source)?;
    }
    for provider in &settings.providers {
        show_provider(&mut out, provider)?;
    }
    for server in &settings.mcp_servers {
        writeln!(out, "\n[[mcp_servers]]\nname = {}", quoted(&server.name))?;
        // What it is called with may hold secrets, and so may the rest of an address.
        if server.url.is_empty() {
            writeln!(out, "command = {}", quoted(&server.command))?;
        } else {
            writeln!(out, "url = {}", quoted(&config::without_credentials(&server.url)))?;
        }
    }
    for issuer in &settings.issuers {
        writeln!(out, "\n[[issuers]]\nissuer = {}\naudience = {}", quoted(&issuer.issuer), quoted(&issuer.audience))?;
        writeln!(out, "jwks_url = {}", quoted(&config::without_credentials(&issuer.jwks_url)))?;
    }
    Ok(())
}

fn show_provider(out: &mut impl io::Write, provider: &Provider) -> io::Result<()> {
    let kind = match provider.kind {
        ProviderKind::Anthropic => "anthropic",
        ProviderKind::OpenAi => "openai",
    };
    let list = |texts: &[String]| Value::from(texts.to_vec());
    writeln!(out, "\n[[providers]]\nname = {}\nkind = \"{kind}\"", quoted(&provider.name))?;
    writeln!(out, "base_url = {}", quoted(&config::without_credentials(&provider.base_url)))?;
    let key = if provider.api_key.is_some() { "set" } else { "not set" };
    writeln!(out, "api_key_env = {}  # the key is {key}", quoted(&provider.api_key_env))?;
    writeln!(out, "models = {}\nfallback = {}", list(&provider.models), list(&provider.fallback))?;
    writeln!(out, "tools = {}", provider.tools)
}

fn quoted(text: &str) -> Value {
    Value::from(text)
}
