//! PostgreSQL and Redis, as `tests/services.sh` starts them beside the bench.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use uuid::Uuid;

use super::process::PROGRAM;

/// The address of the Redis server.
pub(crate) fn redis() -> Result<String> {
    named("COLLOQUY_TEST_REDIS_URL")
}

/// Makes a database and returns its address; it goes with its server.
pub(crate) async fn database() -> Result<String> {
    let server = named("COLLOQUY_TEST_DATABASE_URL")?;
    let (server, _) = server.rsplit_once('/').context("the server's address names no database")?;
    let url = format!("{server}/bench_{}", Uuid::now_v7().simple());
    let mut make = Command::new(PROGRAM);
    make.args(["db", "create"]).env("DATABASE_URL", &url).stdout(Stdio::null()).kill_on_drop(true);
    ensure!(make.status().await?.success(), "cannot make a database");
    Ok(url)
}

fn named(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set: run it with tests/services.sh"))
}
