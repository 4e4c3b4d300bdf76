//! How much is allowed, and to whom at one address.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

/// The client's address as limits see it: of IPv6 the network, since a host has as many addresses as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl FromStr for Network {
    type Err = std::net::AddrParseError;

    fn from_str(address: &str) -> Result<Self, Self::Err> {
        Ok(Self(match address.parse::<IpAddr>()?.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        }))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// So many within any window of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub limit: u32,
    /// Within how long.
    pub window: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {} s", self.limit, self.window.as_secs_f64())
    }
}

/// What somebody has used of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The limit.
    pub rate: Rate,
    /// How many in the last window.
    pub count: u32,
}

/// Somebody who sent too much lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `user:…` or `address:…`.
    pub identifier: String,
    /// How many times.
    pub count: u32,
    /// How long it is remembered yet.
    pub ttl: Duration,
}

/// What is left of the limit that is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The limit, a bonus included.
    pub rate: Rate,
    /// How many are left of it.
    pub left: u32,
    /// After how long some of what was counted counts no more; zero when nothing was.
    pub wait: Duration,
}

impl Allowance {
    /// The nearer of two.
    #[must_use]
    pub fn nearer(self, other: Self) -> Self {
        let is_nearer = (other.left, self.wait) < (self.left, other.wait);
        if is_nearer { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one() {
        let network = |text: &str| text.parse::<Network>().ok();
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.2"), network("192.0.2.1"));
        assert_eq!(network(""), None);
    }
}
