//! `colloquy admin`: the accounts of those who may do everything.

use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use clap::Subcommand;

use crate::{app::operator, config::Settings, model::user::NewUser};

/// Bytes of a password that are read: more than any may have.
const MAX_PASSWORD: u64 = 4096;

/// What to do to admins. A server that uses the same database may go on meanwhile.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Makes an account that is an admin's, and prints its id.
    Create {
        /// 3 to 32 characters: letters, digits, `_`, `-`, `.`
        #[arg(long)]
        username: String,
        /// The email
        #[arg(long)]
        email: String,
        /// Reads the password from standard input: what stands in arguments is seen by everybody on the machine
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Makes an account that is there an admin's, and prints its id.
    Promote {
        /// Its username or its email
        name: String,
    },
}

/// Does it.
///
/// # Errors
/// When the account cannot be made or is not there, and when the database does not answer.
pub(super) async fn run(settings: &Settings, action: Action) -> anyhow::Result<()> {
    let user = match action {
        Action::Create { username, email, password_stdin: _ } => {
            let new = NewUser { username, email, password: password()? };
            operator::open(settings).await?.operator.create_admin(new).await?
        }
        Action::Promote { name } => operator::open(settings).await?.operator.promote(&name).await?,
    };
    writeln!(io::stdout(), "{}", user.id)?;
    Ok(())
}

/// What standard input holds, without the end of its line.
fn password() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().take(MAX_PASSWORD).read_to_string(&mut text).context("cannot read the password")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
