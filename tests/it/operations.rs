//! docs/operations.md and what is shipped for operators, held to the program: tables that are whole, files that start.

use std::{collections::BTreeSet, fs, path::Path};

use colloquy::config::{self, SETTINGS, Setting, Settings, Source};
use tokio::process::Command;

use crate::harness::{Authority, Data, Process, Server, soon, within};

const HEAD: &str = "| setting | variable | default | meaning |\n|---|---|---|---|\n";

const REFERENCE: &str = "docs/colloquy.example.toml";
const REFERENCE_HEAD: &str = "\
# Every setting of Colloquy with its default. Copy what you need, without the `#`, into a file of your own, and name that by
# `--config PATH` or `COLLOQUY_CONFIG`. The environment goes before the file (`COLLOQUY_` and the name in upper case), and flags
# go before both (`--set NAME=VALUE`). Durations are in seconds. What is in force: `colloquy config show`.

";
const REFERENCE_TAIL: &str = r#"# A model provider; as many as needed. One named `anthropic`, `openai` or `local` goes before the settings above.
#[[providers]]
# Its models are offered as vllm/NAME.
#name = "vllm"
# `openai` or `anthropic`: what it speaks.
#kind = "openai"
# Where it is; empty for the vendor's own address.
#base_url = "http://127.0.0.1:8000/v1"
# The environment variable that holds its key.
#api_key_env = "VLLM_KEY"
# Models to offer; none: any name is taken.
#models = ["llama"]
# Models to try when this provider does not answer.
#fallback = ["echo"]
# `false` for servers that refuse requests which offer tools.
#tools = false

# An MCP server that is a program; as many as needed. Its tools are called files.NAME.
#[[mcp_servers]]
#name = "files"
# The program to start.
#command = "npx"
# What it is called with.
#args = ["-y", "@modelcontextprotocol/server-filesystem", "/srv/shared"]
# Environment variables that it may see, besides PATH, HOME and the like.
#pass_env = []

# An MCP server elsewhere.
#[[mcp_servers]]
#name = "search"
# Where it is.
#url = "http://127.0.0.1:3001/mcp"
# The environment variable that holds the bearer token.
#bearer_env = "SEARCH_TOKEN"

# A type of published events, beside the built-in ones or in the place of one; as many as needed.
#[[event_types]]
# Lower-case letters, digits, `.`, `_` and `-`.
#name = "order.paid"
# The roles that may publish it, of `user`, `admin` and `service`.
#publish = ["admin", "service"]
# The roles that may subscribe to it.
#subscribe = ["user", "admin", "service"]

# An issuer whose tokens are let in besides our own; as many as needed. A user is made when a token first names somebody.
#[[issuers]]
# As its tokens name it (`iss`).
#issuer = "https://securetoken.google.com/my-project"
# Whom its tokens must be for (`aud`).
#audience = "my-project"
# Where its keys are: `https://…`, or `http://` to this machine.
#jwks_url = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
"#;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The line of a setting in the table.
fn row(setting: &Setting) -> String {
    let variable = format!("`COLLOQUY_{}`", setting.name.to_uppercase());
    let alias = setting.alias.map(|alias| format!(", `{alias}`")).unwrap_or_default();
    let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
    let about = setting.about.trim().trim_end_matches('.');
    let bounds = setting.bounds.map(|(least, most)| format!(" ({least} to {most})")).unwrap_or_default();
    format!("| `{}` | {variable}{alias} | {default} | {about}{bounds} |\n", setting.name)
}

#[test]
fn every_setting_is_in_the_table_with_its_default() {
    let page = read("docs/operations.md");
    let (before, rest) = page.split_once(HEAD).expect("the page has a table of settings");
    let (table, after) = rest.split_at(rest.find("\n\n").expect("the table ends") + 1);
    let wanted: String = SETTINGS.iter().map(row).collect();
    if std::env::var_os("COLLOQUY_TEST_WRITE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        fs::write(path, format!("{before}{HEAD}{wanted}{after}")).unwrap();
        return;
    }
    let missing: Vec<&str> = wanted.lines().filter(|line| !table.lines().any(|there| there == *line)).collect();
    let stale: Vec<&str> = table.lines().filter(|line| !wanted.lines().any(|there| there == *line)).collect();
    let how = "COLLOQUY_TEST_WRITE=1 writes the table anew";
    assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:#?}\nstale: {stale:#?}\n{how}");
    assert_eq!(table, wanted, "in this order; {how}");
}

/// The reference file: every setting with its default, commented out, so that a copy of it keeps to the defaults of the
/// program that reads it.
fn reference() -> String {
    let mut file = REFERENCE_HEAD.to_owned();
    for setting in SETTINGS {
        let bounds = setting.bounds.map(|(least, most)| format!(" From {least} to {most}.")).unwrap_or_default();
        let line = format!("# {}{bounds}\n#{} = {}\n\n", setting.about.trim(), setting.name, literal(setting.default));
        file.push_str(&line);
    }
    file + REFERENCE_TAIL
}

/// A default as TOML writes it.
fn literal(default: &str) -> String {
    if default.parse::<bool>().is_ok() || default.parse::<f64>().is_ok() {
        return default.to_owned();
    }
    if default.contains(',') {
        return toml::Value::from(default.split(',').collect::<Vec<_>>()).to_string();
    }
    toml::Value::from(default).to_string()
}

/// The file as it is when all of its settings are set.
fn uncommented(file: &str) -> String {
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = file.lines().map(|line| line.strip_prefix('#').filter(|line| is_setting(line)).unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_reference_file_sets_everything_to_what_it_is() {
    let wanted = reference();
    if std::env::var_os("COLLOQUY_TEST_WRITE").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(REFERENCE), &wanted).unwrap();
    }
    let file = read(REFERENCE);
    assert_eq!(file, wanted, "COLLOQUY_TEST_WRITE=1 writes it anew");
    assert!(file.parse::<toml::Table>().unwrap().is_empty(), "a copy changes nothing");

    let all = uncommented(&file);
    let mut table: toml::Table = all.parse().unwrap();
    for part in ["providers", "mcp_servers", "event_types", "issuers"] {
        assert!(table.remove(part).is_some(), "{part} are shown");
    }
    for setting in SETTINGS {
        let value = table.remove(setting.name).unwrap_or_else(|| panic!("{} is missing", setting.name));
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        assert_eq!(text, setting.default, "{}", setting.name);
    }
    assert!(table.is_empty(), "there are no such settings: {table}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.toml");
    fs::write(&path, all).unwrap();
    let shown = config::in_force(Some(path.clone()), &[]).unwrap();
    let defaults = config::in_force(None, &[]).unwrap();
    for (set, default) in shown.iter().zip(&defaults) {
        if !matches!(default.source, Source::Default) {
            continue; // The environment of this test sets it.
        }
        assert_eq!((&set.source, &set.text), (&Source::File(path.clone()), &default.text), "{}", set.name);
    }
    let settings = Settings::load(Some(path), &[]).unwrap();
    assert_eq!((settings.providers.len(), settings.mcp_servers.len()), (1, 2));
    assert_eq!((settings.event_types.len(), settings.issuers.len()), (1, 1));
}

/// Every text of the sources that is quoted and named as a metric is.
fn metrics(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            metrics(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = fs::read_to_string(&path).unwrap();
            let is_name = |text: &&str| {
                text.starts_with("colloquy_") && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())
            };
            found.extend(code.split('"').filter(is_name).map(str::to_owned));
        }
    }
}

#[test]
fn every_metric_is_in_the_table_and_no_other() {
    let mut emitted = BTreeSet::new();
    for folder in ["src", "bridge/src"] {
        metrics(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut emitted);
    }
    let page = read("docs/operations.md");
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `colloquy_")?.split_once('`'));
    let listed: BTreeSet<String> = listed.map(|(name, _)| format!("colloquy_{name}")).collect();
    let unlisted: Vec<_> = emitted.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&emitted).collect();
    assert!(unlisted.is_empty() && gone.is_empty(), "not in docs/operations.md: {unlisted:?}; only there: {gone:?}");
}

/// The names in a text that follow a prefix.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c == '_';
    let after = text.split(prefix).skip(1);
    after.map(|rest| rest.chars().take_while(|c| is_of_name(*c)).collect()).collect()
}

#[test]
fn the_shipped_cluster_sets_what_there_is_and_leaves_secrets_to_its_owner() {
    let (compose, dockerfile, example) = (read("docker-compose.yml"), read("deploy/Dockerfile"), read(".env.example"));
    for name in names(&compose, "COLLOQUY_").into_iter().chain(names(&dockerfile, "COLLOQUY_")) {
        let is_known = SETTINGS.iter().any(|setting| setting.name == name.to_lowercase());
        assert!(is_known, "COLLOQUY_{name} sets nothing");
    }
    for name in names(&compose, "${") {
        assert!(example.lines().any(|line| line.starts_with(&format!("{name}="))), "{name} is not in .env.example");
    }
    for line in example.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.split_once('=').unwrap();
        assert!(value.is_empty() || name == "HTTP_PORT", "{name} has a value");
    }
    let grace = SETTINGS.iter().find(|setting| setting.name == "shutdown_grace").unwrap().default;
    let given = compose.split("stop_grace_period: ").nth(1).unwrap().split('s').next().unwrap();
    assert!(given.parse::<u32>().unwrap() > grace.parse::<u32>().unwrap() + 5, "{given} s for {grace} s and 5 s");
}

/// Whether the shipped check finds a node well.
async fn is_healthy(role: &str, address: &str) -> bool {
    is_healthy_with(role, address, &[]).await
}

/// The same with these variables.
async fn is_healthy_with(role: &str, address: &str, variables: &[(&str, &str)]) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/healthy");
    let mut check = Command::new("sh");
    check.arg(script).args([role, address]).envs(variables.iter().copied()).stderr(std::process::Stdio::null());
    soon("the check", check.status()).await.unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_check_tells_nodes_that_serve_from_those_that_do_not() {
    let data = Data::fresh().await;
    let core = Process::core(&data, &[]).await;
    let bridge = Process::bridge(&[core.server().grpc_address()], &[]).await;
    let at_core = core.server().grpc_address().to_string();
    let at_bridge = bridge.server().http().to_string();
    let limit = std::time::Duration::from_secs(20);
    within(limit, "the core is well", async || is_healthy("core", &at_core).await).await;
    within(limit, "the bridge is well", async || is_healthy("bridge", &at_bridge).await).await;
    assert!(!is_healthy("core", &at_bridge).await, "a bridge is no core");
    core.kill().await;
    assert!(!is_healthy("core", &at_core).await);
    assert!(!is_healthy("bridge", &at_bridge).await, "it lives, and cannot serve");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_check_shows_the_certificate_that_it_is_given() {
    let authority = Authority::new();
    let (node, checker, ca) = (authority.issue("node"), authority.issue("checker"), authority.ca());
    let settings = [
        ("grpc_tls_cert", node.certificate.as_str()),
        ("grpc_tls_key", &node.key),
        ("grpc_tls_client_ca", &ca),
        ("http_tls_cert", &node.certificate),
        ("http_tls_key", &node.key),
        ("http_tls_client_ca", &ca),
    ];
    let server = Server::with(&settings).await;
    let flags = format!("--cert {} --key {}", checker.certificate, checker.key);
    let variables = [
        ("COLLOQUY_GRPC_TLS_CERT", node.certificate.as_str()),
        ("COLLOQUY_HTTP_TLS_CERT", &node.certificate),
        ("CURL_FLAGS", &flags),
    ];
    for (role, address) in [("core", server.grpc_address()), ("bridge", server.http())] {
        let address = address.to_string();
        assert!(is_healthy_with(role, &address, &variables).await, "{role}");
        assert!(!is_healthy_with(role, &address, &variables[..2]).await, "{role} asks for a certificate");
        assert!(!is_healthy(role, &address).await, "{role} speaks TLS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_database_is_copied_while_it_is_served() {
    let data = Data::fresh().await;
    let process = Process::start(&data, &[("database_url", "")]).await;
    process.server().register("alice").await;
    let db = async |url: &str, statement: &str| {
        let folder = format!("data_dir={}", data.folder().display());
        let url = format!("database_url={url}");
        Process::run(&data, &["db", "sql", statement, "--set", &folder, "--set", &url]).await
    };
    let copy = data.folder().join("copy.db");
    let exit = db("", &format!("VACUUM INTO '{}'", copy.display())).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let exit = db(&format!("sqlite:{}", copy.display()), "SELECT username FROM users").await;
    assert_eq!(exit.stdout, "username\nalice\n", "{exit:?}");
}
