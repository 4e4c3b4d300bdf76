//! Errors over HTTP: the status of a call as a response in the one documented shape.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetail, StatusExt as _};
use warp::reply::{Reply, Response};

use crate::{
    limits,
    refusal::{Reason, Refusal},
    websocket,
};

/// A failed request. It travels as an extension of an empty response, until the edge writes it with the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    http: StatusCode,
    status: Status,
}

impl Problem {
    /// A refusal that HTTP has a code of its own for.
    pub(crate) fn with_http(http: StatusCode, refusal: Refusal) -> Self {
        Self { http, status: refusal.into() }
    }

    /// What stands in for a response that failed outside of the bridge's own code.
    pub(crate) fn of_http(http: StatusCode) -> Self {
        let reason = match http.as_u16() {
            404 => Reason::NotFound,
            401 => Reason::Unauthenticated,
            403 => Reason::PermissionDenied,
            413 => Reason::MessageTooLarge,
            503 => Reason::Unavailable,
            504 => Reason::DeadlineExceeded,
            400..=499 => Reason::InvalidMessage,
            _ => Reason::ProcessingError,
        };
        let message = http.canonical_reason().unwrap_or("the request failed").to_lowercase();
        Self::with_http(http, Refusal::new(reason, message))
    }

    /// The call's status, for the log.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// The body of the answer to the request named; `headers` get what belongs to it.
    pub(crate) fn render(&self, request_id: &HeaderValue, headers: &mut HeaderMap) -> Bytes {
        let details = self.status.get_error_details_vec();
        if let Some(delay) = details.iter().find_map(retry_delay) {
            // Rounded up: who comes back a moment too early is refused again.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(delay.as_millis().div_ceil(1000) as u64));
        }
        limits::hand_on(self.status.metadata(), headers);
        if self.http == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.http == StatusCode::UPGRADE_REQUIRED {
            websocket::invite(headers);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.remove(header::CONTENT_LENGTH);
        let body = json!({"error": {
            "code": code_name(self.status.code()),
            "message": self.status.message(),
            "details": details.iter().filter_map(detail).collect::<Vec<_>>(),
            "request_id": request_id.to_str().unwrap_or_default(),
        }});
        Bytes::from(body.to_string())
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let mut response = self.http.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason);
        Self { http: http_status(status.code(), reason.as_deref()), status }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Status::from(refusal).into()
    }
}

/// The HTTP status of a call that ended with `code`, as `google.rpc.Code` documents it, refined by `reason` where HTTP says more.
pub(crate) fn http_status(code: Code, reason: Option<&str>) -> StatusCode {
    const CLIENT_CLOSED_REQUEST: u16 = 499;
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted if reason == Some(Reason::MessageTooLarge.name()) => StatusCode::PAYLOAD_TOO_LARGE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The code's name in `google.rpc.Code`.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn retry_delay(detail: &ErrorDetail) -> Option<Duration> {
    match detail {
        ErrorDetail::RetryInfo(info) => info.retry_delay,
        _ => None,
    }
}

/// A detail as JSON; `None` for those that are not meant for clients or that the contract does not use.
fn detail(detail: &ErrorDetail) -> Option<Value> {
    Some(match detail {
        ErrorDetail::ErrorInfo(info) => json!({
            "type": "error_info", "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
        }),
        ErrorDetail::BadRequest(bad) => json!({
            "type": "bad_request",
            "field_violations": bad.field_violations.iter()
                .map(|fault| json!({"field": fault.field, "description": fault.description}))
                .collect::<Vec<_>>(),
        }),
        ErrorDetail::RetryInfo(info) => json!({
            "type": "retry_info", "retry_delay": info.retry_delay?.as_secs_f64(),
        }),
        ErrorDetail::QuotaFailure(quota) => json!({
            "type": "quota_failure",
            "violations": quota.violations.iter()
                .map(|fault| json!({"subject": fault.subject, "description": fault.description}))
                .collect::<Vec<_>>(),
        }),
        ErrorDetail::PreconditionFailure(failure) => json!({
            "type": "precondition_failure",
            "violations": failure.violations.iter()
                .map(|fault| json!({"type": fault.r#type, "subject": fault.subject, "description": fault.description}))
                .collect::<Vec<_>>(),
        }),
        ErrorDetail::ResourceInfo(info) => json!({
            "type": "resource_info", "resource_type": info.resource_type, "resource_name": info.resource_name,
            "description": info.description,
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn every_code_has_the_http_status_that_google_rpc_documents() {
        let table = [
            (Code::Ok, 200, "OK"),
            (Code::Cancelled, 499, "CANCELLED"),
            (Code::Unknown, 500, "UNKNOWN"),
            (Code::InvalidArgument, 400, "INVALID_ARGUMENT"),
            (Code::DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
            (Code::NotFound, 404, "NOT_FOUND"),
            (Code::AlreadyExists, 409, "ALREADY_EXISTS"),
            (Code::PermissionDenied, 403, "PERMISSION_DENIED"),
            (Code::ResourceExhausted, 429, "RESOURCE_EXHAUSTED"),
            (Code::FailedPrecondition, 400, "FAILED_PRECONDITION"),
            (Code::Aborted, 409, "ABORTED"),
            (Code::OutOfRange, 400, "OUT_OF_RANGE"),
            (Code::Unimplemented, 501, "UNIMPLEMENTED"),
            (Code::Internal, 500, "INTERNAL"),
            (Code::Unavailable, 503, "UNAVAILABLE"),
            (Code::DataLoss, 500, "DATA_LOSS"),
            (Code::Unauthenticated, 401, "UNAUTHENTICATED"),
        ];
        for (code, http, name) in table {
            assert_eq!(http_status(code, None).as_u16(), http, "{code:?}");
            assert_eq!(code_name(code), name);
        }
        assert_eq!(http_status(Code::ResourceExhausted, Some("MESSAGE_TOO_LARGE")).as_u16(), 413);
        assert_eq!(http_status(Code::ResourceExhausted, Some("RATE_LIMIT_EXCEEDED")).as_u16(), 429);
    }

    #[test]
    fn a_problem_shows_details_the_request_id_and_when_to_retry() {
        let mut details = ErrorDetails::with_error_info("RATE_LIMIT_EXCEEDED", "colloquy", []);
        details.set_retry_info(Some(Duration::from_millis(1_500)));
        details.add_bad_request_violation("page_size", "at most 100");
        let problem = Problem::from(Status::with_error_details(Code::ResourceExhausted, "slow down", details));

        let mut headers = HeaderMap::new();
        let body = problem.render(&HeaderValue::from_static("r-1"), &mut headers);
        let body = serde_json::from_slice::<Value>(&body).unwrap();

        assert_eq!(headers[header::RETRY_AFTER], "2");
        assert_eq!(body["error"]["code"], "RESOURCE_EXHAUSTED");
        assert_eq!(body["error"]["message"], "slow down");
        assert_eq!(body["error"]["request_id"], "r-1");
        let details = body["error"]["details"].as_array().unwrap();
        assert!(details.contains(&json!({"type": "retry_info", "retry_delay": 1.5})));
        assert!(details.contains(&json!({
            "type": "bad_request", "field_violations": [{"field": "page_size", "description": "at most 100"}],
        })));
        assert!(details.contains(&json!({
            "type": "error_info", "reason": "RATE_LIMIT_EXCEEDED", "domain": "colloquy", "metadata": {},
        })));
    }
}
