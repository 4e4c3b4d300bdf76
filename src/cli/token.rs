//! `colloquy token`: an access token for whoever runs grpcurl or curl.

use std::io::{self, Write as _};

use crate::{app::operator, config::Settings};

/// Prints a token for the account with this username or email.
///
/// # Errors
/// When there is no such account or it may not sign in, and when the database does not answer.
pub(super) async fn run(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let token = operator::open(settings).await?.operator.token(name).await?;
    writeln!(io::stdout(), "{token}")?;
    Ok(())
}
