//! What callers learn of the limits on calls, whether they are refused or not: the headers of the IETF's draft in the form with one
//! field for each number.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tonic::Status;

use crate::{
    error::Error,
    model::limit::{Allowance, Rate},
    service::limits::Limits,
};

/// The limit that is nearest.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// How many calls are left of it.
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// After how many seconds some of those that were counted count no more.
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// All limits, each with its window in seconds.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Tells the limits.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    policy: Option<HeaderValue>,
}

impl Sign {
    pub(super) fn of(limits: &Limits) -> Self {
        let policy = |rate: &Rate| format!("{};w={}", rate.limit, seconds(rate.window));
        let policies: Vec<_> = limits.request_rates().iter().map(policy).collect();
        Self { policy: HeaderValue::try_from(policies.join(", ")).ok() }
    }

    /// Puts up what is left.
    pub(super) fn show<B>(&self, allowance: Option<Allowance>, mut response: Response<B>) -> Response<B> {
        if let Some(Allowance { rate, left, wait }) = allowance {
            self.put_up(Some(rate), left, wait, response.headers_mut());
        }
        response
    }

    /// Refuses a call, and puts up that nothing is left when that is why.
    pub(super) fn refusal(&self, error: Error) -> Status {
        let refused = match &error {
            Error::RateLimited { rate, retry_after, .. } => Some((*rate, *retry_after)),
            _ => None,
        };
        let mut status = Status::from(error);
        if let Some((rate, retry_after)) = refused {
            self.put_up(rate, 0, retry_after, status.metadata_mut().as_mut());
        }
        status
    }

    fn put_up(&self, rate: Option<Rate>, left: u32, wait: Duration, headers: &mut HeaderMap) {
        headers.extend(rate.map(|rate| (LIMIT, HeaderValue::from(rate.limit))));
        headers.insert(REMAINING, HeaderValue::from(left));
        headers.insert(RESET, HeaderValue::from(seconds(wait)));
        headers.extend(self.policy.clone().map(|policy| (POLICY, policy)));
    }
}

/// Rounded up: who comes back a moment too early is refused again.
fn seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}
