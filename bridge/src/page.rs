//! `/docs`: a page that shows `/openapi.json` and lets one try its calls. It loads nothing from elsewhere.

use http::{HeaderName, HeaderValue, header};
use warp::reply::{Reply, Response};

use crate::openapi::OpenApi;

const PAGE: &str = include_str!("page.html");

/// The page may run its own script and talk to the bridge, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// The page.
pub(crate) fn docs() -> Response {
    let mut response = warp::reply::html(PAGE).into_response();
    response.headers_mut().insert(HeaderName::from_static("content-security-policy"), POLICY);
    response
}

/// The document that it shows.
pub(crate) fn document(openapi: &OpenApi) -> Response {
    let mut response = Response::new(openapi.document().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The way from `/`.
pub(crate) fn index() -> impl Reply {
    warp::redirect::see_other(http::Uri::from_static("/docs"))
}
