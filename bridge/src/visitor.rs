//! Who asks: what the core is told of a request besides its message.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Once,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::trace::Trace;

/// Names a request in the bridge's answer, its logs and the core's.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The address of the client, as far as the bridge knows it.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The client's own description; `user-agent` itself is the bridge's towards the core.
const USER_AGENT: HeaderName = HeaderName::from_static("colloquy-user-agent");

/// The longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 128;

/// The sender of a request, made once from the request's head.
#[derive(Clone)]
pub(crate) struct Visitor {
    request_id: HeaderValue,
    address: IpAddr,
    credential: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    trace: Trace,
}

impl Visitor {
    /// Reads who sent `headers` from `peer`, which is a proxy when `trust_forwarded_for`.
    pub(crate) fn new(headers: &HeaderMap, peer: SocketAddr, trust_forwarded_for: bool) -> Self {
        let forwarded = if trust_forwarded_for { forwarded_for(headers) } else { None };
        Self {
            request_id: headers.get(REQUEST_ID).filter(|id| is_request_id(id)).cloned().unwrap_or_else(new_request_id),
            address: forwarded.unwrap_or(peer.ip()),
            credential: headers.get(header::AUTHORIZATION).cloned(),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            trace: Trace::default(),
        }
    }

    /// The id given or made.
    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// Whether the request shows a credential.
    pub(crate) fn has_credential(&self) -> bool {
        self.credential.is_some()
    }

    /// The same visitor, showing a bearer token that came by another way than the header.
    pub(crate) fn with_credential(self, credential: HeaderValue) -> Self {
        Self { credential: Some(credential), ..self }
    }

    /// The same visitor, whose calls belong to a trace.
    pub(crate) fn within(self, trace: Trace) -> Self {
        Self { trace, ..self }
    }

    /// What the core is told. Only what is listed here passes: no header of the client's can pose as one of the bridge's.
    pub(crate) fn metadata(&self) -> MetadataMap {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(REQUEST_ID, self.request_id.clone());
        if let Ok(address) = HeaderValue::try_from(self.address.to_string()) {
            headers.insert(FORWARDED_FOR, address);
        }
        let optional = [(header::AUTHORIZATION, &self.credential), (USER_AGENT, &self.user_agent)];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        self.trace.write(&mut headers);
        MetadataMap::from_headers(headers)
    }
}

/// The last address of the list: the one that the proxy next to us has seen itself. All before it is hearsay.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    // One line is enough: a proxy that writes what cannot be read does so for every request.
    static UNREADABLE: Once = Once::new();
    let list = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let last = list.to_str().ok().and_then(|list| list.rsplit(',').next()).map(str::trim);
    let address = last.and_then(address);
    if address.is_none() {
        UNREADABLE.call_once(|| {
            tracing::warn!(last, "the proxy's X-Forwarded-For does not end with an address: its own is taken");
        });
    }
    address
}

/// An address, with or without a port; one of IPv6 with a port stands in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

fn is_request_id(id: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new_request_id() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let id = Uuid::now_v7().as_hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(headers: &[(&'static str, &str)], trust: bool) -> Visitor {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect::<HeaderMap>();
        Visitor::new(&headers, SocketAddr::from(([10, 0, 0, 9], 4711)), trust)
    }

    #[test]
    fn a_request_id_is_kept_when_it_is_short_and_visible() {
        assert_eq!(visitor(&[("x-request-id", "abc-1")], false).request_id(), "abc-1");
        for bad in ["", "two words", &"x".repeat(129)] {
            let made = visitor(&[("x-request-id", bad)], false).request_id().clone();
            assert_eq!(Uuid::parse_str(made.to_str().unwrap()).unwrap().get_version_num(), 7, "{bad:?}");
        }
    }

    #[test]
    fn a_forwarded_address_counts_only_when_the_proxy_is_trusted() {
        let headers = [("x-forwarded-for", "6.6.6.6, 203.0.113.7")];
        assert_eq!(visitor(&headers, true).metadata().get("x-forwarded-for").unwrap(), "203.0.113.7");
        assert_eq!(visitor(&headers, false).metadata().get("x-forwarded-for").unwrap(), "10.0.0.9");
    }

    #[test]
    fn a_forwarded_address_may_have_a_port_and_the_proxys_stands_in_for_what_is_none() {
        let table = [
            ("203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("6.6.6.6, [2001:db8::1]:4711", "2001:db8::1"),
            ("rubbish", "10.0.0.9"),
            ("203.0.113.7, unknown", "10.0.0.9"),
            ("203.0.113.7:", "10.0.0.9"),
        ];
        for (forwarded, address) in table {
            let told = visitor(&[("x-forwarded-for", forwarded)], true).metadata();
            assert_eq!(told.get("x-forwarded-for").unwrap(), address, "{forwarded}");
        }
    }

    #[test]
    fn only_known_headers_reach_the_core() {
        let visitor = visitor(
            &[
                ("authorization", "Bearer t"),
                ("user-agent", "curl"),
                ("colloquy-bridge-key", "stolen"),
                ("cookie", "c"),
            ],
            false,
        );
        let metadata = visitor.metadata();
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer t");
        assert_eq!(metadata.get("colloquy-user-agent").unwrap(), "curl");
        assert!(metadata.get("colloquy-bridge-key").is_none());
        assert!(metadata.get("cookie").is_none());
    }
}
