//! Opaque credentials: random texts that tell by their prefix what they are, and that the server keeps as digests only.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// How refresh tokens begin.
pub const REFRESH_TOKEN: &str = "clq_rt_";
/// How tickets begin.
pub const TICKET: &str = "clq_tk_";
/// How API keys begin.
pub const API_KEY: &str = "clq_ak_";

/// A new credential of 256 random bits.
pub fn generate(prefix: &str) -> String {
    let bits: [u8; 32] = rand::random();
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bits))
}

/// What the server keeps of a credential: its SHA-256. Random bits need no salt and no slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a credential.
    pub fn of(credential: &str) -> Self {
        Self(Sha256::digest(credential).into())
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_differ_and_tell_what_they_are() {
        let (one, other) = (generate(TICKET), generate(TICKET));
        assert!(one.starts_with("clq_tk_") && one.len() == TICKET.len() + 43, "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn a_digest_never_shows_in_debug_output() {
        assert_eq!(format!("{:?}", Digest::of("clq_rt_x")), "[redacted]");
    }
}
