//! What a refused call says.

use std::{fmt::Debug, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The code of a refusal, and the reason of its `ErrorInfo`.
#[track_caller]
pub(crate) fn reason<T: Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = refusal(result);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.domain, "colloquy");
    (status.code(), info.reason)
}

/// The fields at fault.
#[track_caller]
pub(crate) fn violations<T: Debug>(result: Result<T, Status>) -> Vec<String> {
    let status = refusal(result);
    assert_eq!(status.code(), Code::InvalidArgument);
    status.get_details_bad_request().unwrap().field_violations.into_iter().map(|fault| fault.field).collect()
}

/// When to come back, which whoever is refused for now is told.
#[track_caller]
pub(crate) fn retry_after<T: Debug>(result: Result<T, Status>) -> Duration {
    let status = refusal(result);
    status.get_details_retry_info().unwrap().retry_delay.unwrap()
}

#[track_caller]
fn refusal<T: Debug>(result: Result<T, Status>) -> Status {
    match result {
        Err(status) => status,
        Ok(answer) => panic!("expected a refusal, got {answer:?}"),
    }
}
