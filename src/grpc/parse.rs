//! Reading requests: every fault names its field.

use std::str::FromStr;

use crate::{
    error::{Error, Result},
    model::{
        clock::{Day, Timestamp},
        history::Window,
        page::{self, NumberedRequest, PageRequest},
    },
};

/// The last page that can be asked for by number: whoever goes further goes by token.
const MAX_PAGE: i32 = 10_000;
/// Seconds from 1970 until the first year that no time here is in.
const YEAR_10000: i64 = 253_402_300_800;

/// Reads an identifier.
pub(crate) fn id<T: FromStr>(field: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::invalid(field, "must be a UUID"))
}

/// Reads an identifier that may be absent; empty counts as absent.
pub(crate) fn optional_id<T: FromStr>(field: &'static str, text: Option<&str>) -> Result<Option<T>> {
    text.filter(|text| !text.is_empty()).map(|text| id(field, text)).transpose()
}

/// Reads how many entries a page shall have.
pub(crate) fn size(field: &'static str, number: i32) -> Result<u16> {
    match u16::try_from(number) {
        Ok(0) => Ok(page::DEFAULT_SIZE),
        Ok(size) if size <= page::MAX_SIZE => Ok(size),
        _ => Err(Error::invalid(field, format!("must be 0 to {}", page::MAX_SIZE))),
    }
}

/// Reads the page that a list's request asks for.
pub(crate) fn page(page_size: i32, page_token: &str) -> Result<PageRequest> {
    let size = size("page_size", page_size)?;
    let after = match page_token {
        "" => None,
        token => Some(page::key(token).ok_or_else(|| Error::invalid("page_token", "is not a token of this list"))?),
    };
    Ok(PageRequest { size, after })
}

/// Reads the page that a list's request asks for, by number or by token.
pub(crate) fn numbered_page(page: i32, page_size: i32, page_token: &str) -> Result<NumberedRequest> {
    let request = self::page(page_size, page_token)?;
    let number = match (page, &request.after) {
        (0, None) => Some(1),
        (0, Some(_)) => None,
        (1..=MAX_PAGE, None) => Some(page.unsigned_abs()),
        (_, None) => return Err(Error::invalid("page", format!("must be 1 to {MAX_PAGE}"))),
        (_, Some(_)) => return Err(Error::invalid("page", "cannot be set together with page_token")),
    };
    Ok(NumberedRequest { request, number })
}

/// The token for the next page; empty when there is none.
pub(crate) fn next_page_token(next: Option<&str>) -> String {
    next.map(page::token).unwrap_or_default()
}

/// Reads from where a history is wanted, in which direction.
pub(crate) fn window(before_seq: Option<i64>, after_seq: Option<i64>) -> Result<Window> {
    match (before_seq, after_seq) {
        (None, None) => Ok(Window::Latest),
        (Some(seq), None) => Ok(Window::Before(seq)),
        (None, Some(seq)) => Ok(Window::After(seq)),
        (Some(_), Some(_)) => Err(Error::invalid("after_seq", "cannot be set together with before_seq")),
    }
}

/// Reads an enumeration's number.
pub(crate) fn choice<T: TryFrom<i32>>(field: &'static str, number: i32) -> Result<T> {
    T::try_from(number).map_err(|_| Error::invalid(field, "is not one of its values"))
}

/// Reads a time that may be absent; before 1970 and after the year 9999 there is none.
pub(crate) fn optional_moment(field: &'static str, at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>> {
    let read = |at: prost_types::Timestamp| {
        let is_sane = (0..YEAR_10000).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos);
        let micros = is_sane.then(|| at.seconds * 1_000_000 + i64::from(at.nanos / 1000));
        micros.map(Timestamp::from_micros).ok_or_else(|| Error::invalid(field, "must be a time from 1970 to 9999"))
    };
    at.map(read).transpose()
}

/// Reads a time in milliseconds since 1970 that may be absent, as browsers count.
pub(crate) fn optional_millis(field: &'static str, millis: Option<f64>) -> Result<Option<Timestamp>> {
    let read = |millis: f64| {
        let is_sane = (0.0..YEAR_10000 as f64 * 1e3).contains(&millis);
        let at = is_sane.then(|| Timestamp::from_micros((millis * 1e3) as i64));
        at.ok_or_else(|| Error::invalid(field, "must be a time from 1970 to 9999"))
    };
    millis.map(read).transpose()
}

/// Reads a UTC day that may be absent; empty counts as absent.
pub(crate) fn optional_day(field: &'static str, text: &str) -> Result<Option<Day>> {
    let day = (!text.is_empty()).then(|| text.parse()).transpose();
    day.map_err(|_| Error::invalid(field, "must be a day such as 2026-01-31"))
}
