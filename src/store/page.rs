//! Where pages begin: the keys that lists write into page tokens, read back.

use std::str::FromStr;

use crate::{
    error::{Error, Result},
    model::{clock::Timestamp, page::PageRequest},
};

/// Microseconds from 1970 until the first year that no time here is in.
const YEAR_10000: i64 = 253_402_300_800_000_000;

/// The key that a page begins after. A list knows only keys of its own.
pub(super) fn after<K>(request: &PageRequest, read: impl FnOnce(&str) -> Option<K>) -> Result<Option<K>> {
    let foreign = || Error::invalid("page_token", "is not a token of this list");
    request.after.as_deref().map(|key| read(key).ok_or_else(foreign)).transpose()
}

/// Writes a key of two parts: what the list is ordered by, and the id that decides between equals.
pub(super) fn pair(order: impl ToString, id: impl ToString) -> String {
    format!("{}:{}", order.to_string(), id.to_string())
}

/// Reads what [`pair`] wrote.
pub(super) fn read_pair<A: FromStr, B: FromStr>(key: &str) -> Option<(A, B)> {
    let (order, id) = key.split_once(':')?;
    Some((order.parse().ok()?, id.parse().ok()?))
}

/// Reads a key of a list that is ordered by time. Only what a list wrote is one: not every number is a time to a database.
pub(super) fn read_moment<B: FromStr>(key: &str) -> Option<(Timestamp, B)> {
    let (micros, id) = read_pair(key)?;
    (0..YEAR_10000).contains(&micros).then(|| (Timestamp::from_micros(micros), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        assert_eq!(read_pair(&pair(-0.25_f64, 7)), Some((-0.25, 7)));
        assert_eq!(read_moment(&pair(12, 7)), Some((Timestamp::from_micros(12), 7)));
        assert_eq!(read_moment::<i64>(&pair(i64::MIN, 7)), None);
        assert_eq!(read_moment::<i64>(&pair(i64::MAX, 7)), None);
        assert_eq!(read_pair::<i64, i64>("12"), None);
        assert_eq!(read_pair::<i64, i64>("12:x"), None);
    }

    #[test]
    fn a_foreign_key_names_the_token() {
        let request = PageRequest { size: 1, after: Some("x".into()) };
        let error = after(&request, |key| key.parse::<i64>().ok()).unwrap_err();
        assert_eq!(error.to_string(), "page_token: is not a token of this list");
    }
}
