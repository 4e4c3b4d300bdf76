//! The `colloquy` program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    colloquy::cli::run(std::env::args_os()).await
}
