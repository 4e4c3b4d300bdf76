//! The keys of an outside issuer: fetched when they are first needed, kept, and fetched anew as they age or change.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::REFUSED;
use crate::error::{Error, Result};

/// How old keys are when they are fetched anew although they serve.
const FRESH_FOR: Duration = Duration::from_secs(600);
/// How old keys may become while their issuer does not answer.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// The pause between two fetches, whoever asks for keys that nobody has.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a set of keys at most.
const MAX_BYTES: usize = 256 << 10;

/// A key that verifies tokens, and how: that is the key's to say, never the token's.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// An issuer's keys.
pub(super) struct Keys {
    client: Client,
    url: Url,
    /// The address as it may be logged.
    shown: String,
    known: RwLock<Known>,
    /// Held by the one who fetches.
    fetching: Mutex<()>,
}

/// What was fetched, and when.
#[derive(Clone, Default)]
struct Known {
    keys: Arc<HashMap<String, Key>>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
    /// Why the last fetch brought nothing.
    fault: Option<Arc<str>>,
}

/// A set of keys as it is published (RFC 7517, §5). Each is read by itself: one of a kind that is strange spoils no other.
#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl Keys {
    pub(super) fn new(client: Client, url: Url) -> Self {
        let shown = format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
        Self { client, url, shown, known: RwLock::default(), fetching: Mutex::default() }
    }

    /// The key of this name.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when the issuer has none, [`Error::Unavailable`] when it does not answer.
    pub(super) async fn find(&self, id: &str) -> Result<Key> {
        let known = self.known();
        match known.keys.get(id).filter(|_| known.is_younger_than(GOOD_FOR)) {
            Some(key) if known.is_younger_than(FRESH_FOR) => return Ok(key.clone()),
            // One looks whether it still is a key; the others need not wait.
            Some(key) => match self.fetching.try_lock() {
                Ok(_turn) => self.renew().await,
                Err(_) => return Ok(key.clone()),
            },
            None => {
                let _turn = self.fetching.lock().await;
                self.renew().await;
            }
        }
        let known = self.known();
        match (known.keys.get(id).filter(|_| known.is_younger_than(GOOD_FOR)), known.fault) {
            (Some(key), _) => Ok(key.clone()),
            (None, None) => Err(REFUSED),
            (None, Some(fault)) => {
                Err(Error::Unavailable { part: "issuer of the token", source: anyhow::anyhow!("{fault}") })
            }
        }
    }

    /// Fetches the keys, unless that was done a moment ago; to be called by who holds the turn.
    async fn renew(&self) {
        let mut known = self.known();
        if known.tried_at.is_some_and(|tried_at| tried_at.elapsed() < PAUSE) {
            return;
        }
        let fetched = timeout(TIMEOUT, self.fetch()).await.map_err(anyhow::Error::from).and_then(|fetched| fetched);
        let now = Instant::now();
        known.tried_at = Some(now);
        match fetched {
            Ok(keys) => known = Known { keys: Arc::new(keys), fetched_at: Some(now), tried_at: Some(now), fault: None },
            Err(error) => {
                tracing::warn!(url = self.shown, error = format!("{error:#}"), "cannot fetch the keys of an issuer");
                known.fault = Some(format!("{error:#}").into());
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    async fn fetch(&self) -> anyhow::Result<HashMap<String, Key>> {
        let mut response = self.client.get(self.url.clone()).send().await?.error_for_status()?;
        ensure!(response.status().is_success(), "the answer is {}", response.status());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            ensure!(body.len() <= MAX_BYTES, "the set of keys is larger than {MAX_BYTES} bytes");
        }
        let published: Published = serde_json::from_slice(&body).context("the answer is no set of keys")?;
        Ok(published.keys.into_iter().filter_map(readable).collect())
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.fetched_at.is_some_and(|fetched_at| fetched_at.elapsed() < age)
    }
}

/// A key with its name, when it signs tokens by one of the algorithms that are taken.
fn readable(key: Value) -> Option<(String, Key)> {
    let key: Jwk = serde_json::from_value(key).ok()?;
    let algorithm = match &key.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(curve) if curve.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let signs = key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    if !signs || key.common.key_algorithm.is_some_and(|named| named != KeyAlgorithm::from(algorithm)) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&key).ok()?;
    Some((key.common.key_id?, Key { algorithm, decoding }))
}
