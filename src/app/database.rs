//! The database that the settings name.

use std::{
    fs::{DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use anyhow::Context as _;

use crate::{
    config::{SettingError, Settings},
    store::{Database, Refused, Store},
};

/// Who may enter a data folder that is made here: it holds the keys that sign tokens, and what people wrote.
const OWNER_ONLY: u32 = 0o700;

/// Opens the database and brings its schema up to date.
///
/// # Errors
/// [`SettingError`] when the address is none or leads to no database for this program, others when the database does not
/// answer.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Store> {
    named(settings)?.open(settings.database_connections).await.map_err(to_setting)
}

/// Which database the settings name: that of `database_url`, or one in the data folder.
///
/// # Errors
/// When the address is none.
pub fn named(settings: &Settings) -> Result<Database, SettingError> {
    match &settings.database_url {
        None => Ok(Database::Sqlite(settings.data_dir.join("colloquy.db"))),
        Some(url) => Database::at(url.reveal()).ok_or_else(|| {
            SettingError::new("database_url", "must be postgres://USER:PASSWORD@HOST/NAME or sqlite:PATH")
        }),
    }
}

/// Names the setting when a database refuses the program.
pub fn to_setting(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Refused>() {
        Some(refused) => SettingError::new("database_url", &refused.to_string()).into(),
        None => error,
    }
}

/// Takes the data folder for this process when the database is in it: whoever had it before is dead then, and its runs are
/// nobody's.
///
/// # Errors
/// When another process has it, or it cannot be made.
pub fn lock(settings: &Settings) -> anyhow::Result<Option<File>> {
    settings.database_url.is_none().then(|| lock_folder(&settings.data_dir)).transpose()
}

fn lock_folder(folder: &Path) -> anyhow::Result<File> {
    let made = DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(folder);
    made.with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.try_lock().with_context(|| format!("another process uses the data folder {}", folder.display()))?;
    Ok(file)
}
