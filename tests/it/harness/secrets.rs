//! What nobody may read in a log. All that the servers of this process log goes to one file, in detail, and is searched when a
//! node goes for what those who called meanwhile keep to themselves: credentials, passwords, messages.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Seek as _},
    os::unix::fs::FileExt as _,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use aho_corasick::AhoCorasick;
use colloquy::{model::credential, telemetry::WITHHELD};
use serde_json::Value;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{BRIDGE_KEY, PROVIDER_KEY};

/// Everything that this program has to say, and what its libraries say in detail; but for HTTP/2, which tells of each frame that
/// there was one, and would make every test slower by a third.
pub(crate) const DETAIL: &str = "debug,h2=info,colloquy=trace,colloquy_bridge=trace";
/// How credentials of each kind begin, whoever made them; a JWT begins with its type or its algorithm.
const FORMS: [&str; 7] = [
    credential::REFRESH_TOKEN,
    credential::TICKET,
    credential::API_KEY,
    "eyJ0eXAi",
    "eyJhbGci",
    BRIDGE_KEY,
    PROVIDER_KEY,
];
/// The fields of requests that hold a secret.
const FIELDS: [&str; 9] = [
    "password",
    "current_password",
    "new_password",
    "refresh_token",
    "token",
    "content",
    "message",
    "endpoint",
    "auth",
];
/// Bytes that a text has at least to be told from what is logged anyway. A shorter one, and a single word of small letters,
/// may stand in a log by chance: nobody looks for it.
const LEAST: usize = 8;
/// Bytes of a text that are looked for at most: the rest would be there too.
const MOST: usize = 64;

static LOG: LazyLock<Log> = LazyLock::new(|| Log::new().unwrap());
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// All that was ever found: who finds it may be a task whose panic nobody sees, and then the next one tells of it.
static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Looks for this text in the logs from now on.
pub(crate) fn keep(secret: &str) {
    if let Some(part) = telling(secret) {
        lock(&SECRETS).push(part.to_owned());
    }
}

/// Looks for the secrets of a request from now on.
pub(crate) fn keep_all(value: &Value) {
    match value {
        Value::Array(values) => values.iter().for_each(keep_all),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(text) if FIELDS.contains(&name.as_str()) => keep(text),
            value => keep_all(value),
        }),
        _ => {}
    }
}

/// The part of a text by which it is known in a line of JSON, where some characters are written otherwise.
fn telling(text: &str) -> Option<&str> {
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    let part = text.split(|c| !plain(c)).max_by_key(|part| part.len())?;
    let part = &part[..part.floor_char_boundary(MOST)];
    let is_word = part.bytes().all(|byte| byte.is_ascii_lowercase());
    (part.len() >= LEAST && !is_word).then_some(part)
}

/// The lines of a log that hold one of these secrets, or something that has the form of one.
fn leaks(log: &[u8], secrets: &BTreeSet<String>) -> Vec<String> {
    let wanted = AhoCorasick::new(FORMS.into_iter().chain(secrets.iter().map(String::as_str))).unwrap();
    let mut found: Vec<&[u8]> = Vec::new();
    let mut searched = 0;
    while let Some(hit) = wanted.find(&log[searched..]) {
        let at = searched + hit.start();
        let begin = log[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let end = log[at..].iter().position(|byte| *byte == b'\n').map_or(log.len(), |end| at + end);
        found.push(&log[begin..end]);
        searched = end;
    }
    found.into_iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// What happened since somebody began to watch.
#[derive(Clone, Copy)]
pub(crate) struct Watch {
    log: u64,
    secrets: usize,
}

impl Watch {
    /// Begins to watch; the first one makes this process log.
    pub(crate) fn begin() -> Self {
        static STARTED: LazyLock<()> = LazyLock::new(|| LOG.subscriber().init());
        LazyLock::force(&STARTED);
        Self { log: LOG.len(), secrets: lock(&SECRETS).len() }
    }

    /// Fails when a secret, or one of these texts, was logged here meanwhile, or stands in the log of another process.
    pub(crate) fn end(&self, texts: &[String], other: &[u8]) {
        let mut secrets: BTreeSet<String> = lock(&SECRETS)[self.secrets..].iter().cloned().collect();
        secrets.extend(texts.iter().filter_map(|text| telling(text)).map(str::to_owned));
        let mut found = lock(&LEAKS);
        for log in [&*LOG.since(self.log), other] {
            found.extend(leaks(log, &secrets));
        }
        let found = found.clone();
        if !std::thread::panicking() {
            assert!(found.is_empty(), "secrets are logged: {found:#?}");
        }
    }
}

/// A file of lines, gone with the process.
#[derive(Debug)]
struct Log(Mutex<File>);

impl Log {
    fn new() -> io::Result<Self> {
        Ok(Self(Mutex::new(tempfile::tempfile()?)))
    }

    /// What writes to it as a node does that was told to be talkative.
    fn subscriber(&'static self) -> impl Subscriber + Send + Sync {
        let filter = EnvFilter::new(format!("{DETAIL},{WITHHELD}"));
        tracing_subscriber::registry().with(filter).with(fmt::layer().json().flatten_event(true).with_writer(self))
    }

    fn len(&self) -> u64 {
        lock(&self.0).stream_position().unwrap()
    }

    fn since(&self, start: u64) -> Vec<u8> {
        let file = lock(&self.0);
        let mut lines = vec![0; (file.metadata().unwrap().len() - start) as usize];
        file.read_exact_at(&mut lines, start).unwrap();
        lines
    }
}

impl<'a> MakeWriter<'a> for &'static Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self
    }
}

impl io::Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        lock(&self.0).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A test that failed leaves what it held whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_line_that_gives_a_secret_away_is_found() {
    let log: &'static Log = Box::leak(Box::new(Log::new().unwrap()));
    let said = |say: &dyn Fn()| {
        let start = log.len();
        tracing::subscriber::with_default(log.subscriber(), say);
        let secrets = ["correct horse", "between\nyou and \"me\"", "hi", "message"];
        leaks(&log.since(start), &secrets.iter().filter_map(|text| telling(text)).map(str::to_owned).collect())
    };
    let key = credential::generate(credential::API_KEY);
    assert_eq!(said(&|| tracing::debug!(key, "a call")).len(), 1);
    assert_eq!(said(&|| tracing::trace!(password = "correct horse", "a call")).len(), 0, "tests are not `colloquy`");
    assert_eq!(said(&|| tracing::info!("correct horse signed in")).len(), 1);
    assert_eq!(said(&|| tracing::info!(error = ?Some("between\nyou and \"me\""), "a run failed")).len(), 1);
    assert_eq!(
        said(&|| tracing::info_span!("call", token = %"eyJ0eXAiOiJKV1Q").in_scope(|| tracing::info!("x"))).len(),
        1
    );
    assert_eq!(said(&|| tracing::info!(content = "hi", "a message is sent")).len(), 0, "too common to be told");
    let twice = || {
        tracing::info!("nothing");
        tracing::warn!(one = "correct horse", other = "you and \"me\"");
        tracing::warn!("correct horse");
    };
    let found = said(&twice);
    assert_eq!(found.len(), 2, "each line once: {found:#?}");
}
