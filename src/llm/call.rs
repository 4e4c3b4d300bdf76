//! One exchange with a provider: a request, then its answer piece by piece, under four clocks.

use std::{future::Future, time::Duration};

use reqwest::{RequestBuilder, Response, header::HeaderMap};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Span;

use super::{
    dialect::{Output, Reader, error_code},
    failure::{Breach, Clock, Failure, Reason, Retry, denied, transient},
    piece::Piece,
    settings::Timers,
    span,
    sse::Decoder,
};

/// The longest stream taken, in bytes: far above any answer, far below the memory of a node.
const MAX_STREAM: usize = 64 << 20;

/// How much of a refusal is read, and for how long, in search of its code.
const MAX_REFUSAL: usize = 64 << 10;
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// For how long the end of a body is awaited after the end of the answer.
const DRAIN_TIME: Duration = Duration::from_millis(50);

/// A call under way. Dropping it closes the connection, which is how a provider learns that it may stop.
pub(super) struct Call {
    response: Response,
    received: usize,
    decoder: Decoder,
    reader: Box<dyn Reader>,
    out: Output,
    clocks: Clocks,
    /// A fault that waits until the pieces before it are taken.
    failure: Option<Failure>,
    ended: bool,
}

/// The clocks that run once the request is made; connecting is timed by the HTTP client.
struct Clocks {
    content: Instant,
    waits_for: Clock,
    silence: Duration,
    total: Instant,
}

impl Call {
    /// Sends the request and waits for success in the response's head.
    pub(super) async fn open(
        request: RequestBuilder,
        reader: Box<dyn Reader>,
        timers: &Timers,
        total: Instant,
    ) -> Result<Self, Failure> {
        let clocks = Clocks {
            content: Instant::now() + timers.first_piece,
            waits_for: Clock::FirstPiece,
            silence: timers.silence,
            total,
        };
        let response = clocks.bound(request.send()).await?.map_err(no_answer)?;
        span::answered(&Span::current(), response.status().as_u16());
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        Ok(Self {
            response,
            received: 0,
            decoder: Decoder::default(),
            reader,
            out: Output::default(),
            clocks,
            failure: None,
            ended: false,
        })
    }

    /// The next piece, or `None` after `End`.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Failure> {
        loop {
            if let Some(piece) = self.out.take() {
                self.ended = matches!(piece, Piece::End(_));
                return Ok(Some(piece));
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.ended {
                self.drain().await;
                return Ok(None);
            }
            if let Some(event) = self.decoder.next()? {
                self.failure = self.reader.read(&event, &mut self.out).err();
                if self.out.take_progress() {
                    self.clocks.progress();
                }
                continue;
            }
            if let Err(failure) = self.receive().await {
                // A provider that gave its reason for finishing and then lost its manners has still finished.
                self.reader.close(&mut self.out).map_err(|_| failure)?;
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        let bytes = match self.clocks.bound(self.response.chunk()).await? {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(Breach::Truncated.into()),
            Err(error) => return Err(Breach::Lost(error.without_url().into()).into()),
        };
        self.received += bytes.len();
        if self.received > MAX_STREAM {
            return Err(Breach::Oversize.into());
        }
        self.decoder.feed(&bytes);
        Ok(())
    }

    /// Reads the body to its end, which follows at once as a rule: only then can the connection serve another call.
    async fn drain(&mut self) {
        let _ = timeout(DRAIN_TIME, async { while let Ok(Some(_)) = self.response.chunk().await {} }).await;
    }
}

impl Clocks {
    /// Waits for `future` until the first of the clocks runs out.
    async fn bound<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        let (until, clock) =
            if self.total < self.content { (self.total, Clock::Total) } else { (self.content, self.waits_for) };
        timeout_at(until, future).await.map_err(|_| Failure::Timeout(clock))
    }

    /// The model has said something.
    fn progress(&mut self) {
        self.content = Instant::now() + self.silence;
        self.waits_for = Clock::Silence;
    }
}

/// Sending failed. The request's URL is left out, since it may hold a password.
fn no_answer(error: reqwest::Error) -> Failure {
    if error.is_connect() && error.is_timeout() {
        return Failure::Timeout(Clock::Connect);
    }
    let source = Some(error.without_url().into());
    Failure::Unavailable { reason: Reason::NoAnswer, retry: Retry::Backoff, source }
}

/// What a response other than success means.
async fn refusal(mut response: Response) -> Failure {
    let status = response.status().as_u16();
    let advice = advice(response.headers());
    let mut body = Vec::new();
    // A code is welcome but not needed, so whatever goes wrong in reading it is let go.
    let reading = async {
        while let Ok(Some(bytes)) = response.chunk().await
            && body.len() + bytes.len() <= MAX_REFUSAL
        {
            body.extend_from_slice(&bytes);
        }
    };
    let _ = timeout(REFUSAL_TIME, reading).await;
    let code = serde_json::from_slice::<Value>(&body).ok().and_then(|body| error_code(&body));
    let reason = Reason::Status(status, code);
    match advice {
        Advice { again: Some(false), .. } if transient(status) => {
            Failure::Unavailable { reason, retry: Retry::Never, source: None }
        }
        Advice { again, after } if transient(status) || again == Some(true) => {
            Failure::Unavailable { reason, retry: after.map_or(Retry::Backoff, Retry::After), source: None }
        }
        _ if denied(status) => Failure::Denied(reason),
        _ => Failure::Rejected(reason),
    }
}

/// What a provider's headers say about another try.
struct Advice {
    again: Option<bool>,
    after: Option<Duration>,
}

/// Reads `x-should-retry`, `retry-after-ms` and `retry-after`, as both vendors' own clients do. A date in the last one
/// is not read: it would need the wall clock, and no provider sends it.
fn advice(headers: &HeaderMap) -> Advice {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name| text(name).and_then(|text| text.trim().parse::<f64>().ok());
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"));
    Advice {
        again: text("x-should-retry").and_then(|text| text.parse().ok()),
        after: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn after(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        advice(&pairs.collect()).after
    }

    #[test]
    fn the_wait_that_a_provider_asks_for_is_read() {
        assert_eq!(after(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(after(&[("retry-after", "2"), ("retry-after-ms", "150")]), Some(Duration::from_millis(150)));
        for nonsense in ["-1", "NaN", "1e300", "Wed, 21 Oct 2026 07:28:00 GMT", ""] {
            assert_eq!(after(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }
}
