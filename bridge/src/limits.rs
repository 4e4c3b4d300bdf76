//! What the core says of its limits on calls, handed on to the client as it is.

use http::{HeaderMap, HeaderName};
use tonic::metadata::MetadataMap;

/// The headers about limits: those of the IETF's draft with one field for each number.
pub(crate) const HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    HeaderName::from_static("ratelimit-policy"),
];

/// Hands on what a call's metadata says of limits.
pub(crate) fn hand_on(metadata: &MetadataMap, headers: &mut HeaderMap) {
    for name in HEADERS {
        if let Some(value) = metadata.as_ref().get(&name) {
            headers.insert(name, value.clone());
        }
    }
}
