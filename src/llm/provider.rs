//! One configured provider: makes calls, and makes them again for as long as nobody has seen anything of the answer.

use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use metrics::{counter, histogram};
use reqwest::{Client, Url, redirect};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span, info, warn};

use super::{
    backoff,
    breaker::{Breaker, Pass},
    call::Call,
    failure::{Failure, Reason, Retry},
    piece::{Piece, Usage},
    prompt::Prompt,
    settings::{ProviderConfig, SettingsError, Timers},
    span,
};
use crate::trace;

/// A provider that is ready to be called.
pub(super) struct Provider {
    config: ProviderConfig,
    url: Url,
    client: Client,
    breaker: Arc<Breaker>,
}

/// An answer that has begun: what was held back until its first visible piece, then what follows. Since it exists only
/// from that piece on, nothing can be retried once it does.
pub(super) struct Answer {
    held: VecDeque<Piece>,
    call: Call,
    attempt: Attempt,
}

impl Provider {
    /// Checks the settings and sets up the HTTP client; nothing is sent.
    pub(super) fn new(config: ProviderConfig) -> Result<Self, SettingsError> {
        let url = endpoint(&config)?;
        let Timers { connect, first_piece, silence, total } = config.timers;
        if [connect, first_piece, silence, total].contains(&Duration::ZERO) {
            return Err(config.error("timers", "0", "every timer must be longer than zero"));
        }
        if config.breaker_failures == 0 {
            return Err(config.error("breaker_failures", "0", "at least 1"));
        }
        if config.max_output_tokens == 0 {
            return Err(config.error("max_output_tokens", "0", "at least 1"));
        }
        let headers = config.kind.headers(&config);
        let headers = headers.map_err(|_| config.error("api_key or version", "", "visible ASCII characters only"))?;
        // HTTP/1 gives each answer a connection of its own: closing it cancels that answer and nothing else. There is
        // no timeout for a whole exchange because it would cut long answers that are doing well.
        let client = Client::builder()
            .http1_only()
            .connect_timeout(connect)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("colloquy/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers);
        let client = if is_loopback(&url) { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| config.error("HTTP client", "", error.to_string()))?;
        let breaker = Breaker::new(config.breaker_failures, config.breaker_open);
        Ok(Self { config, url, client, breaker })
    }

    pub(super) fn config(&self) -> &ProviderConfig {
        &self.config
    }

    /// Calls until an answer begins, the failure is final or the retries are used up.
    pub(super) async fn begin(&self, model: &str, prompt: &Prompt) -> Result<Answer, Failure> {
        let body = self.config.kind.body(&self.config, model, prompt);
        let total = Instant::now() + self.config.timers.total;
        let mut retry = 0;
        loop {
            let span = span::begin(&self.config, &self.url, model, retry);
            let failure = match self.attempt(&body, total, &span).instrument(span.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            span::fail(&span, failure.kind());
            let wait = backoff::wait(&failure, retry, rand::random::<f64>());
            let wait = wait.filter(|wait| retry < self.config.retries && Instant::now() + *wait < total);
            let Some(wait) = wait else { return Err(failure) };
            retry += 1;
            sleep(wait).await;
        }
    }

    async fn attempt(&self, body: &Value, total: Instant, span: &Span) -> Result<Answer, Failure> {
        let pass = self.breaker.enter().map_err(breaker_open)?;
        let mut attempt = Attempt::new(self.config.name.clone(), span.clone(), pass);
        match self.first_piece(body, total).await {
            Ok((call, held)) => {
                attempt.alive();
                Ok(Answer { held, call, attempt })
            }
            Err(failure) => {
                attempt.failed(&failure);
                Err(failure)
            }
        }
    }

    /// Sends the request and reads until there is something to see.
    async fn first_piece(&self, body: &Value, total: Instant) -> Result<(Call, VecDeque<Piece>), Failure> {
        let request = self.client.post(self.url.clone()).headers(trace::header(&Span::current())).json(body);
        let mut call = Call::open(request, self.config.kind.reader(), &self.config.timers, total).await?;
        let mut held = VecDeque::new();
        while let Some(piece) = call.next().await? {
            let hidden = matches!(piece, Piece::Usage(_));
            held.push_back(piece);
            if !hidden {
                break;
            }
        }
        Ok((call, held))
    }
}

impl Answer {
    /// The next piece, or `None` after `End`.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Failure> {
        if let Some(piece) = self.held.pop_front() {
            self.attempt.saw(&piece);
            return Ok(Some(piece));
        }
        let result = self.call.next().instrument(self.attempt.span.clone()).await;
        match &result {
            Ok(Some(piece)) => self.attempt.saw(piece),
            Ok(None) => {}
            Err(failure) => {
                span::fail(&self.attempt.span, failure.kind());
                self.attempt.failed(failure);
            }
        }
        result
    }
}

/// One call's account: reports to the breaker, the metrics and the log how it went. Dropped before it is settled, the
/// caller has given the call up, which tells nothing about the provider.
struct Attempt {
    provider: String,
    span: Span,
    started: Instant,
    usage: Usage,
    /// `None` once settled.
    pass: Option<Pass>,
}

impl Attempt {
    fn new(provider: String, span: Span, pass: Pass) -> Self {
        Self { provider, span, started: Instant::now(), usage: Usage::default(), pass: Some(pass) }
    }

    /// The first visible piece is here.
    fn alive(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.alive();
        }
        let name = "colloquy_provider_first_piece_seconds";
        histogram!(name, "provider" => self.provider.clone()).record(self.started.elapsed());
    }

    fn saw(&mut self, piece: &Piece) {
        match piece {
            Piece::Usage(usage) => self.usage = *usage,
            Piece::End(_) => {
                if let Some(pass) = self.pass.take() {
                    pass.succeeded();
                    self.settle("ok");
                }
            }
            Piece::Model(_) | Piece::Thinking(_) | Piece::Text(_) | Piece::ToolCall(_) => {}
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let Some(mut pass) = self.pass.take() else { return };
        match failure {
            // The provider is well; the request is not, or the account that asks.
            Failure::UnknownModel(_) | Failure::Rejected(_) | Failure::Denied(_) => pass.alive(),
            Failure::Unavailable { .. } | Failure::Timeout(_) | Failure::Protocol(_) => pass.failed(),
        }
        let error: &dyn std::error::Error = failure;
        self.span.in_scope(|| {
            warn!(error.kind = failure.kind(), error.cause = error.source(), "provider call failed: {failure}")
        });
        self.settle(failure.kind());
    }

    fn settle(&self, outcome: &'static str) {
        let elapsed = self.started.elapsed();
        span::end(&self.span, self.usage);
        let Usage { input_tokens, output_tokens } = self.usage;
        let provider = &self.provider;
        counter!("colloquy_provider_calls_total", "provider" => provider.clone(), "outcome" => outcome).increment(1);
        for (direction, tokens) in [("input", input_tokens), ("output", output_tokens)] {
            let name = "colloquy_provider_tokens_total";
            counter!(name, "provider" => provider.clone(), "direction" => direction).increment(tokens);
        }
        self.span.in_scope(|| {
            info!(outcome, elapsed_ms = elapsed.as_millis() as u64, input_tokens, output_tokens, "provider call ended");
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.pass.is_some() {
            self.settle("cancelled");
        }
    }
}

/// The address that calls go to.
fn endpoint(config: &ProviderConfig) -> Result<Url, SettingsError> {
    let wanted = "an http or https URL without query, such as https://api.example.com/v1";
    let base = config.base_url.trim_end_matches('/');
    let url = Url::parse(&format!("{base}{}", config.kind.path())).ok();
    let fits =
        |url: &Url| matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    url.filter(fits).ok_or_else(|| config.error("base_url", &config.base_url, wanted))
}

/// Whether the provider is on this machine, where a proxy meant for the world is of no use.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

fn breaker_open(left: Duration) -> Failure {
    Failure::Unavailable { reason: Reason::BreakerOpen, retry: Retry::After(left), source: None }
}
