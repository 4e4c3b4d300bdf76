//! `/metrics` at an address of its own, for a scraper that has no account.

use std::{convert::Infallible, future::ready, net::SocketAddr, time::Duration};

use colloquy_bridge::{ConnectionLimits, METRICS_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use metrics_exporter_prometheus::PrometheusHandle;
use tower::service_fn;

use super::serve;
use crate::{config::Settings, lifecycle::Lifecycle};

/// A scraper asks at once, and reads.
const LIMITS: ConnectionLimits = ConnectionLimits {
    handshake_timeout: Duration::from_secs(10),
    drain_limit: Duration::from_secs(10),
    max_streams: 8,
};

/// Shows the page where the settings say, until the lifecycle ends; returns the address, if there is one.
///
/// # Errors
/// When the address is taken.
pub(super) fn show(
    settings: &Settings,
    metrics: PrometheusHandle,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(address) = settings.metrics_addr else { return Ok(None) };
    let listener = serve::listen(address)?;
    let address = listener.local_addr()?;
    let service = service_fn(move |request| ready(Ok::<_, Infallible>(answer(&metrics, &request))));
    let (stopping, stopped) = (lifecycle.stopping().clone(), lifecycle.stopped().clone().cancelled_owned());
    serve::supervise(lifecycle, "metrics", async move {
        colloquy_bridge::accept(listener, None, service, LIMITS, stopping, stopped).await;
        Ok(())
    });
    Ok(Some(address))
}

fn answer<B>(metrics: &PrometheusHandle, request: &Request<B>) -> Response<String> {
    let mut response = Response::new(String::new());
    if request.uri().path() == "/metrics" {
        *response.body_mut() = metrics.render();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}
