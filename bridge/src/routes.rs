//! The filters: which request goes to which room.

use std::{convert::Infallible, sync::Arc};

use bytes::Buf;
use futures_util::Stream;
use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use warp::{
    Filter, Rejection,
    filters::BoxedFilter,
    path::FullPath,
    reply::{Reply, Response},
};

use crate::{
    edge::RouteName,
    health::Health,
    openapi::OpenApi,
    page,
    problem::Problem,
    refusal::{Reason, Refusal},
    rest::{Head, Rest},
    visitor::Visitor,
    ws::{Handshake, Sockets},
};

/// Every request's way. What is not found in one group is looked for in the next; the contract's routes come last and answer
/// everything.
pub(crate) fn all(
    sockets: Sockets,
    health: Health,
    openapi: OpenApi,
    rest: Rest,
) -> impl Filter<Extract = (impl Reply + use<>,), Error = Infallible> + Clone + Send + Sync + 'static {
    ws(sockets).or(pages(health)).unify().or(docs(openapi)).unify().or(contract(rest)).unify().recover(rejected)
}

fn ws(sockets: Sockets) -> BoxedFilter<(Response,)> {
    let unnamed = warp::path!("api" / "v1" / "ws").or(warp::path!("api" / "ws")).unify().map(|| None);
    let named = warp::path!("api" / "v1" / "ws" / String).or(warp::path!("api" / "ws" / String)).unify().map(Some);
    warp::get()
        .and(unnamed.or(named).unify())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Visitor>())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(move |name, query, headers, visitor, upgrade| {
            let handshake = Handshake { headers, query, name, visitor, upgrade };
            named_route("/api/v1/ws", sockets.clone().upgrade(handshake))
        })
        .boxed()
}

fn pages(health: Health) -> BoxedFilter<(Response,)> {
    let visitor = warp::ext::get::<Visitor>;
    let with_health = warp::any().map(move || health.clone());

    let live = warp::path!("health")
        .or(warp::path!("api" / "v1" / "health"))
        .unify()
        .map(|| named_route("/health", Health::live()));
    let ready = warp::path!("api" / "v1" / "health" / "ready")
        .and(with_health.clone())
        .and(visitor())
        .then(async |health: Health, visitor| named_route("/api/v1/health/ready", health.ready(visitor).await));
    let detailed = warp::path!("api" / "health" / "detailed")
        .and(with_health.clone())
        .and(visitor())
        .then(async |health: Health, visitor| named_route("/api/health/detailed", health.detailed(visitor).await));
    let metrics = warp::path!("metrics")
        .and(with_health)
        .and(visitor())
        .then(async |health: Health, visitor| named_route("/metrics", health.metrics(visitor).await));
    reads().and(live.or(ready).unify().or(detailed).unify().or(metrics).unify()).boxed()
}

fn docs(openapi: OpenApi) -> BoxedFilter<(Response,)> {
    let index = warp::path::end().map(|| named_route("/", page::index()));
    let docs = warp::path!("docs").map(|| named_route("/docs", page::docs()));
    let document = warp::path!("openapi.json").map(move || named_route("/openapi.json", page::document(&openapi)));
    reads().and(index.or(docs).unify().or(document).unify()).boxed()
}

fn contract(rest: Rest) -> BoxedFilter<(Response,)> {
    warp::any().map(move || rest.clone()).and(head()).and(warp::body::stream()).then(answer).boxed()
}

/// A named function, because a closure's signature cannot say what a body is.
async fn answer(
    rest: Rest,
    head: Head,
    body: impl Stream<Item = Result<impl Buf + Send, warp::Error>> + Send,
) -> Response {
    rest.answer(head, body).await
}

fn head() -> impl Filter<Extract = (Head,), Error = Rejection> + Clone {
    warp::method()
        .and(warp::path::full())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Visitor>())
        .map(|method: Method, path: FullPath, query: String, headers: HeaderMap, visitor: Visitor| Head {
            method,
            path,
            query,
            headers,
            visitor,
        })
}

/// Requests that change nothing.
fn reads() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::get().or(warp::head()).unify()
}

/// The query as it was sent; empty without one.
fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

fn named_route(route: &'static str, reply: impl Reply) -> Response {
    let mut response = reply.into_response();
    response.extensions_mut().insert(RouteName(Arc::from(route)));
    response
}

/// Only a fault of the bridge's own gets here: every request is answered by some filter.
async fn rejected(rejection: Rejection) -> Result<Response, Infallible> {
    tracing::error!(?rejection, "no filter took a request");
    Ok(Problem::from(Refusal::new(Reason::ProcessingError, "the server failed")).into_response())
}
