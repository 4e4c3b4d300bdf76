//! Where pushes may go. Users name the endpoints: none may lead into the network that this server stands in.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use url::Host;

/// Bytes of an endpoint at most.
const MAX_ENDPOINT: usize = 2048;

/// Networks of IPv4 that nobody reaches from elsewhere, or that lead back (IANA's registry of special purposes).
const CLOSED_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The networks of IPv6 that are given out; others are local, mapped or translated.
const OPEN_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Those among them that are no place: protocols, tunnels of IPv4, examples.
const CLOSED_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Public addresses, and hosts that the operator has named. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reach(Arc<[String]>);

impl Reach {
    /// Lets pushes go to public addresses, and to these hosts wherever they are.
    pub fn new(hosts: Vec<String>) -> Self {
        Self(hosts.into())
    }

    /// Reads an endpoint.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn endpoint(&self, text: &str) -> Result<Url, &'static str> {
        const FORM: &str = "must be an https:// address of at most 2048 bytes";
        // As browsers write it: other characters would be mended on the way, and the address be another than the one that is kept.
        if text.len() > MAX_ENDPOINT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(FORM);
        }
        let url = Url::parse(text).map_err(|_| FORM)?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("must hold no user, password or fragment");
        }
        let (is_public, is_here) = match url.host().ok_or(FORM)? {
            Host::Ipv4(address) => (is_public(address.into()), address.is_loopback()),
            Host::Ipv6(address) => (is_public(address.into()), address.is_loopback()),
            Host::Domain(name) => (!is_local(name), is_local(name)),
        };
        let is_named = url.host_str().is_some_and(|host| self.names(host));
        match url.scheme() {
            "https" if is_public || is_named => Ok(url),
            // Nobody listens between this machine and itself.
            "http" if is_here && is_named => Ok(url),
            "https" | "http" if !is_public => Err("must be at a public address"),
            _ => Err(FORM),
        }
    }

    fn names(&self, host: &str) -> bool {
        let bare = |host: &str| host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|named| bare(named) == bare(host))
    }
}

impl Resolve for Reach {
    /// Looks a name up for the connection that is about to be made, so that no later answer can lead elsewhere.
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.clone();
        Box::pin(async move {
            let is_named = reach.names(name.as_str());
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let open: Vec<SocketAddr> = found.filter(|address| is_named || is_public(address.ip())).collect();
            if open.is_empty() {
                return Err("the host has no public address".into());
            }
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

/// Whether a name means this machine wherever it is looked up.
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address is one of the whole internet's.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !CLOSED_V4.iter().any(|(network, bits)| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0)
        }
        IpAddr::V6(address) => {
            let is_in =
                |(network, bits): &(Ipv6Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0;
            is_in(&OPEN_V6) && !CLOSED_V6.iter().any(is_in)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        for open in
            ["1.1.1.1", "100.63.255.255", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1", "2a00::1"]
        {
            assert!(is_public(open.parse().unwrap()), "{open}");
        }
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:1.1.1.1",
            "64:ff9b::a00:1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(closed.parse().unwrap()), "{closed}");
        }
    }

    #[test]
    fn an_endpoint_is_encrypted_and_somewhere_else() {
        let reach = Reach::new(Vec::new());
        assert!(reach.endpoint("https://updates.push.services.mozilla.com/wpush/v2/abc").is_ok());
        for wrong in [
            "",
            "push",
            "https://",
            "http://push.example/1",
            "ftp://push.example/1",
            "https://me:secret@push.example/1",
            "https://push.example/1#2",
            "https://127.0.0.1/1",
            "https://2130706433/1",
            "https://0x7f.1/1",
            "https://[::1]/1",
            "https://[::ffff:127.0.0.1]/1",
            "https://localhost/1",
            "https://a.localhost./1",
            "https://169.254.169.254/1",
            "https://push.example/\0",
            " https://push.example/1",
        ] {
            assert!(reach.endpoint(wrong).is_err(), "{wrong}");
        }
        assert!(reach.endpoint(&format!("https://push.example/{}", "x".repeat(MAX_ENDPOINT))).is_err());
    }

    #[test]
    fn hosts_that_are_named_are_reached_wherever_they_are() {
        let reach = Reach::new(["10.0.0.7", "::1", "Push.lan", "127.0.0.1"].map(str::to_owned).into());
        let named = [
            "https://10.0.0.7/1",
            "https://[::1]/1",
            "http://[::1]:80/1",
            "https://push.lan/1",
            "http://127.0.0.1:8080/1",
        ];
        for named in named {
            assert!(reach.endpoint(named).is_ok(), "{named}");
        }
        for other in ["https://10.0.0.8/1", "http://10.0.0.7/1", "http://push.lan/1", "https://127.0.0.2/1"] {
            assert!(reach.endpoint(other).is_err(), "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_no_private_address() {
        let resolve = async |hosts: &[&str]| {
            let reach = Reach::new(hosts.iter().map(|host| (*host).to_owned()).collect());
            reach.resolve("localhost".parse().unwrap()).await.map(Iterator::count)
        };
        assert!(resolve(&[]).await.is_err());
        assert!(resolve(&["localhost"]).await.is_ok_and(|count| count > 0));
    }
}
