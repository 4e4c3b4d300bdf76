//! Serving: the rooms, the layers around them, and the listener.

use std::{io, sync::Arc, time::Duration};

use http::{HeaderValue, Method, header};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{ServiceBuilder, layer::layer_fn};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowHeaders, Any, CorsLayer},
    set_header::SetResponseHeaderLayer,
};

use crate::{
    client::Client,
    config::{AllowedOrigins, Settings},
    connections::{ConnectionLimits, accept},
    edge::{self, Edge},
    health::Health,
    limits,
    openapi::OpenApi,
    rest::Rest,
    routes,
    schema::Schema,
    upstream::Upstream,
    visitor::REQUEST_ID,
    ws::Sockets,
};

/// How many requests an HTTP/2 connection may have underway.
const MAX_STREAMS: u32 = 256;
/// How long a browser may remember what other origins are allowed.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);

/// For how long a browser shall ask for this host by TLS alone: a year.
const STRICT: &str = "max-age=31536000";

/// Serves HTTP on `listener` until `shutdown`, and returns when the last request and the last socket have ended.
///
/// From `shutdown` on requests, event streams and sockets have [`Settings::shutdown_grace`] to end in their own way; event
/// streams that last longer are told to come back.
pub async fn serve(
    listener: TcpListener,
    upstream: Upstream,
    settings: Settings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let schema = Arc::new(Schema::load().map_err(io::Error::other)?);
    let client = Client::new(upstream, &settings);
    let tracker = TaskTracker::new();
    let sockets = Sockets::new(&schema, client.clone(), &settings, tracker.clone(), shutdown.clone())
        .map_err(io::Error::other)?;
    let health = Health::new(client.clone(), sockets.clone(), &settings);
    let openapi = OpenApi::new(schema.clone());
    let rest = Rest::new(schema, client, &settings, shutdown.clone());

    // Compression sees what the edge has written; a preflight has an id too, and a panic is a problem like any other.
    let service = ServiceBuilder::new()
        .layer(CompressionLayer::new())
        .layer(SetResponseHeaderLayer::overriding(
            header::STRICT_TRANSPORT_SECURITY,
            settings.tls.is_some().then(|| HeaderValue::from_static(STRICT)),
        ))
        .layer(layer_fn(|inner| Edge::new(inner, settings.trust_forwarded_for)))
        .layer(cors(&settings.allowed_origins))
        .layer(CatchPanicLayer::custom(edge::panicked))
        .service(warp::service(routes::all(sockets, health, openapi, rest)));

    let limits = ConnectionLimits {
        handshake_timeout: settings.handshake_timeout,
        drain_limit: settings.drain_limit,
        max_streams: MAX_STREAMS,
    };
    let grace = async { tokio::time::sleep(settings.shutdown_grace).await };
    accept(listener, settings.tls, service, limits, shutdown, grace).await;
    // What became sockets has the same grace and ends by itself.
    tracker.close();
    tracker.wait().await;
    Ok(())
}

fn cors(allowed: &AllowedOrigins) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // A wildcard would not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID, header::RETRY_AFTER].into_iter().chain(limits::HEADERS).collect::<Vec<_>>())
        .max_age(PREFLIGHT_AGE);
    match allowed {
        AllowedOrigins::Any => layer.allow_origin(Any),
        AllowedOrigins::Only(origins) => layer.allow_origin(origins.clone()),
    }
}
