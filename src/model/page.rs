//! Pages of lists: sizes, and tokens that say where the next one begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Entries of a page that names no size.
pub const DEFAULT_SIZE: u16 = 20;
/// Entries of a page at most.
pub const MAX_SIZE: u16 = 100;

/// Which page of a list: so many entries after the one whose key the token holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Entries, 1 to [`MAX_SIZE`].
    pub size: u16,
    /// The key of the last entry of the page before, as the list wrote it.
    pub after: Option<String>,
}

/// Which page of a list that is paged by number too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedRequest {
    /// The page as every list knows it.
    pub request: PageRequest,
    /// Its number, from 1; `None` where the token says which.
    pub number: Option<u32>,
}

impl NumberedRequest {
    /// Entries before the page.
    pub fn skipped(&self) -> i64 {
        let pages = self.number.map_or(0, |number| number.saturating_sub(1));
        i64::from(pages) * i64::from(self.request.size)
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The key of the last entry, when more follow.
    pub next: Option<String>,
}

impl PageRequest {
    /// Entries to fetch: one more than the page holds tells whether another page follows.
    pub fn fetch(&self) -> i64 {
        i64::from(self.size) + 1
    }
}

impl<T> Page<T> {
    /// Makes a page of what `PageRequest::fetch` brought; `key` names an entry for the next page's request.
    pub fn cut(mut entries: Vec<T>, request: &PageRequest, key: impl FnOnce(&T) -> String) -> Self {
        let has_more = entries.len() > usize::from(request.size);
        entries.truncate(usize::from(request.size));
        let next = entries.last().filter(|_| has_more).map(key);
        Self { entries, next }
    }
}

/// The token that carries a key; opaque to clients.
pub fn token(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The key that a token carries; `None` when it is not a token.
pub fn key(token: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}
