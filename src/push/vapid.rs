//! Who pushes: a token for each push service, signed with the one key that browsers were told when they subscribed (RFC 8292).

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    crypto::{CryptoProvider, aws_lc},
};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    model::clock::{Clock, Timestamp},
};

/// How long a token is good; a day would be the most.
const TTL: Duration = Duration::from_secs(12 * 3600);
/// How much of that must be left where a token is used again.
const LEFT: Duration = Duration::from_secs(3600);
/// Push services whose tokens are kept at most: users name them.
const MAX_TOKENS: usize = 1000;

/// The key that signs pushes.
pub struct VapidKey {
    encoding: EncodingKey,
    public: String,
    clock: Clock,
    subject: Option<String>,
    /// By origin.
    tokens: Mutex<HashMap<String, Token>>,
}

struct Token {
    text: String,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
}

impl VapidKey {
    /// A new private key, to be kept: PKCS #8.
    ///
    /// # Errors
    /// When none can be made.
    pub fn generate() -> Result<Vec<u8>> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document =
            document.map_err(|_| Error::internal(anyhow::anyhow!("no key could be made that signs pushes")))?;
        Ok(document.as_ref().to_vec())
    }

    /// Reads the key that was kept. Push services that want to complain turn to `subject`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(kept: &[u8], subject: Option<String>, clock: Clock) -> Result<Self> {
        // Another crate of the process may have been first: that is fine.
        let _ = CryptoProvider::install_default(&aws_lc::DEFAULT_PROVIDER);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, kept);
        let pair = pair.map_err(|_| Error::internal(anyhow::anyhow!("the key that signs pushes cannot be read")))?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        Ok(Self { encoding: EncodingKey::from_ec_der(kept), public, clock, subject, tokens: Mutex::default() })
    }

    /// The public key as browsers are told it: the uncompressed point in base64url.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The header `Authorization` of pushes to a service.
    pub(super) fn authorization(&self, origin: &str) -> Result<HeaderValue> {
        let now = self.clock.now();
        // A panic elsewhere leaves a map that is whole.
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.get(origin).is_none_or(|token| token.expires_at < now + LEFT) {
            if tokens.len() >= MAX_TOKENS {
                tokens.clear();
            }
            let expires_at = now + TTL;
            let claims = Claims { aud: origin, exp: expires_at.as_seconds(), sub: self.subject.as_deref() };
            let text = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.encoding);
            tokens.insert(origin.to_owned(), Token { text: text.map_err(Error::internal)?, expires_at });
        }
        let token = tokens.get(origin).map(|token| token.text.as_str()).unwrap_or_default();
        let mut header =
            HeaderValue::try_from(format!("vapid t={token}, k={}", self.public)).map_err(Error::internal)?;
        // No library shows it.
        header.set_sensitive(true);
        Ok(header)
    }
}

impl fmt::Debug for VapidKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("VapidKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64, kept: &[u8]) -> VapidKey {
        VapidKey::read(kept, None, Clock::shifted(hours * 3_600_000_000)).unwrap()
    }

    #[test]
    fn a_service_gets_one_token_until_it_is_old_and_no_other_services() {
        let kept = VapidKey::generate().unwrap();
        let mut key = at(0, &kept);
        let first = key.authorization("https://push.example").unwrap();
        assert_eq!(key.authorization("https://push.example").unwrap(), first);
        assert_ne!(key.authorization("https://other.example").unwrap(), first);
        key.clock = Clock::shifted(10 * 3_600_000_000);
        assert_eq!(key.authorization("https://push.example").unwrap(), first);
        key.clock = Clock::shifted(12 * 3_600_000_000);
        assert_ne!(key.authorization("https://push.example").unwrap(), first);
        assert_eq!(key.public(), at(0, &kept).public(), "it is the key that was kept");
    }

    #[test]
    fn tokens_of_many_services_do_not_pile_up() {
        let key = at(0, &VapidKey::generate().unwrap());
        for number in 0..=MAX_TOKENS {
            key.authorization(&format!("https://{number}.example")).unwrap();
        }
        assert!(key.tokens.lock().unwrap().len() <= MAX_TOKENS);
    }

    #[test]
    fn what_is_no_key_is_not_taken() {
        assert!(VapidKey::read(b"no key", None, Clock::shifted(0)).is_err());
    }
}
