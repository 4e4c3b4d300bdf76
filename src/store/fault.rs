//! What went wrong in a database, as far as it decides what to do about it.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::Error;

/// Beginnings of what PostgreSQL says when others were in the way and the same again may succeed at once. Diesel hands on
/// the text of these faults but not their code (40P01 of its documentation, appendix A).
const IN_THE_WAY: [&str; 1] = ["deadlock detected"];

/// Beginnings of what a database says when it cannot do anything just now: PostgreSQL's classes 53, 55 and 57, and
/// SQLite's `SQLITE_BUSY` and `SQLITE_FULL`.
const NOT_NOW: [&str; 9] = [
    "terminating connection",
    "the database system is",
    "canceling statement due to",
    "sorry, too many clients",
    "remaining connection slots",
    "could not extend file",
    "server closed the connection",
    "database is locked",
    "database or disk is full",
];

/// Whether the same statement may succeed later: nothing is wrong with it.
pub(super) fn is_passing(error: &DieselError) -> bool {
    match error {
        DieselError::BrokenTransactionManager => true,
        DieselError::DatabaseError(kind, details) => match kind {
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::SerializationFailure => true,
            _ => begins_with(details.message(), &IN_THE_WAY) || begins_with(details.message(), &NOT_NOW),
        },
        _ => false,
    }
}

/// Whether a transaction failed only because others were in its way: it was rolled back, and may be tried again at once.
pub(super) fn is_contention(error: &Error) -> bool {
    let Error::Unavailable { source, .. } = error else { return false };
    match source.downcast_ref::<DieselError>() {
        Some(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
        Some(DieselError::DatabaseError(_, details)) => begins_with(details.message(), &IN_THE_WAY),
        _ => false,
    }
}

fn begins_with(text: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| text.starts_with(beginning))
}
