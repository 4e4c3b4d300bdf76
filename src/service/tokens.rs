//! Access tokens: JWTs, and the keys that sign them, kept in the store and renewed when they are old.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, aws_lc},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    model::{
        clock::{Clock, Timestamp},
        ids::{KeyId, SessionId, UserId},
        key::{PublicKey, PublicMaterial, SigningAlgorithm, SigningKey},
    },
    store::Store,
};

/// How far clocks of nodes may differ.
const LEEWAY: Duration = Duration::from_secs(5);
/// What the caller learns about a token that is none of ours, whatever is wrong with it.
const REFUSED: Error = Error::Unauthenticated("the access token is not valid");

/// How tokens are made.
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// How new keys sign.
    pub algorithm: SigningAlgorithm,
    /// The issuer that tokens name.
    pub issuer: String,
    /// How long a token is good.
    pub token_ttl: Duration,
    /// How long a key signs.
    pub key_ttl: Duration,
}

/// What a token that verifies says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The account.
    pub(crate) user_id: UserId,
    /// The signed-in session.
    pub(crate) session_id: SessionId,
    /// When the token expires.
    pub(crate) expires_at: Timestamp,
}

/// The claims of RFC 7519, and the session.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Signs and verifies access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    policy: TokenPolicy,
    ring: RwLock<Ring>,
    /// Held by the one who reads keys anew.
    reading: Mutex<()>,
}

/// The keys of the store, ready for use, as they were then; newest first.
#[derive(Clone)]
struct Ring {
    keys: Arc<[Key]>,
    read_at: Instant,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    algorithm: SigningAlgorithm,
    created_at: Timestamp,
    encoding: EncodingKey,
    decoding: DecodingKey,
    public: Option<PublicMaterial>,
}

impl Tokens {
    /// Reads the keys, and makes the first one when there is none.
    ///
    /// # Errors
    /// When the store fails or holds a key that cannot be read.
    pub async fn open(store: Store, clock: Clock, policy: TokenPolicy) -> Result<Self> {
        // Another crate of the process may have been first, or have switched on a second provider: either is fine.
        let _ = CryptoProvider::install_default(&aws_lc::DEFAULT_PROVIDER);
        let ring = RwLock::new(Ring { keys: Arc::new([]), read_at: Instant::now() });
        let tokens = Self(Arc::new(Inner { store, clock, policy, ring, reading: Mutex::default() }));
        tokens.read_keys().await?;
        tokens.signer().await?;
        Ok(tokens)
    }

    /// How long a token is good.
    pub(crate) fn ttl(&self) -> Duration {
        self.0.policy.token_ttl
    }

    /// A token for the session.
    pub(crate) async fn sign(&self, user: UserId, session: SessionId) -> Result<String> {
        let key = self.signer().await?;
        let now = self.0.clock.now();
        let claims = Claims {
            iss: self.0.policy.issuer.clone(),
            sub: user.to_string(),
            sid: session.to_string(),
            iat: now.as_seconds(),
            exp: (now + self.ttl()).as_seconds(),
            jti: Uuid::now_v7().to_string(),
        };
        let header = Header { kid: Some(key.id.to_string()), ..Header::new(jose(key.algorithm)) };
        jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(Error::internal)
    }

    /// What the token says, when one of our keys signed it and it has not expired.
    pub(crate) async fn verify(&self, token: &str) -> Result<Claimed> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| REFUSED)?;
        let id = header.kid.as_deref().and_then(|kid| kid.parse().ok()).ok_or(REFUSED)?;
        let key = self.verifier(id).await?;

        // What a token may be signed with is the key's to say, never the token's.
        let mut validation = Validation::new(jose(key.algorithm));
        validation.set_required_spec_claims(&["iss", "sub", "exp"]);
        validation.set_issuer(&[&self.0.policy.issuer]);
        // Time is judged below, by the clock that everything else goes by.
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).map_err(|_| REFUSED)?;

        let claims = decoded.claims;
        let expires_at = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        if expires_at + LEEWAY <= self.0.clock.now() {
            return Err(Error::Unauthenticated("the access token has expired"));
        }
        let user_id = claims.sub.parse().map_err(|_| REFUSED)?;
        let session_id = claims.sid.parse().map_err(|_| REFUSED)?;
        Ok(Claimed { user_id, session_id, expires_at })
    }

    /// The public keys whose tokens may live, newest first.
    pub(crate) async fn public_keys(&self) -> Result<Vec<PublicKey>> {
        // Anybody may ask, and another node may have made a key a moment ago: those who ask at once share one answer.
        self.read_keys().await?;
        let dead = self.dead();
        let keys = self.keys();
        let live = keys.iter().filter(|key| key.created_at >= dead);
        Ok(live.filter_map(|key| Some(PublicKey { id: key.id, material: key.public.clone()? })).collect())
    }

    /// The key that signs: the newest of the algorithm, or a new one when that is old.
    async fn signer(&self) -> Result<Key> {
        let now = self.0.clock.now();
        let young = now - self.0.policy.key_ttl;
        let algorithm = self.0.policy.algorithm;
        let newest = |tokens: &Self| tokens.keys().iter().find(|key| key.algorithm == algorithm).cloned();
        if let Some(key) = newest(self).filter(|key| key.created_at > young) {
            return Ok(key);
        }
        let private_key = tokio::task::spawn_blocking(move || generate(algorithm)).await.map_err(Error::internal)??;
        let new = SigningKey { id: KeyId::generate(), algorithm, private_key, created_at: now };
        self.0.store.rotate_signing_keys(&new, young, self.dead()).await?;
        self.read_keys().await?;
        newest(self).ok_or_else(|| Error::internal(anyhow::anyhow!("the store keeps no key of {algorithm:?}")))
    }

    /// The key with this id. One that is not known here may be another node's new one.
    async fn verifier(&self, id: KeyId) -> Result<Key> {
        let dead = self.dead();
        let find = |tokens: &Self| tokens.keys().iter().find(|key| key.id == id && key.created_at >= dead).cloned();
        if let Some(key) = find(self) {
            return Ok(key);
        }
        self.read_keys().await?;
        find(self).ok_or(REFUSED)
    }

    /// No token lives that was signed by a key made before this.
    fn dead(&self) -> Timestamp {
        self.0.clock.now() - self.0.policy.key_ttl - self.0.policy.token_ttl - 2 * LEEWAY
    }

    fn keys(&self) -> Arc<[Key]> {
        self.0.ring.read().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    /// Reads the keys of the store; of those who ask at the same time, one does it for all.
    async fn read_keys(&self) -> Result<()> {
        let asked_at = Instant::now();
        let _reading = self.0.reading.lock().await;
        let read_at = Instant::now();
        if self.0.ring.read().unwrap_or_else(PoisonError::into_inner).read_at > asked_at {
            return Ok(());
        }
        let keys = self.0.store.signing_keys().await?.into_iter().map(Key::read).collect::<Result<_>>()?;
        *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = Ring { keys, read_at };
        Ok(())
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tokens").field("policy", &self.0.policy).finish_non_exhaustive()
    }
}

impl Key {
    fn read(kept: SigningKey) -> Result<Self> {
        let unreadable = |_| Error::internal(anyhow::anyhow!("signing key {} cannot be read", kept.id));
        let private_key = &kept.private_key;
        let (encoding, decoding, public) = match kept.algorithm {
            SigningAlgorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(private_key).map_err(unreadable)?;
                let x = pair.public_key().as_ref().to_vec();
                let public = PublicMaterial::Ed25519 { x: x.clone() };
                (EncodingKey::from_ed_der(private_key), DecodingKey::from_ed_der(&x), Some(public))
            }
            SigningAlgorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(private_key).map_err(unreadable)?;
                let RsaPublicKeyComponents::<Vec<u8>> { n, e } = pair.public_key().into();
                let decoding = DecodingKey::from_rsa_raw_components(&n, &e);
                // The crate takes RSA's DER as PKCS #1 only, its PEM as PKCS #8 too.
                let encoding = EncodingKey::from_rsa_pem(pem(private_key).as_bytes()).map_err(Error::internal)?;
                (encoding, decoding, Some(PublicMaterial::Rsa { n, e }))
            }
            SigningAlgorithm::Hs256 => {
                (EncodingKey::from_secret(private_key), DecodingKey::from_secret(private_key), None)
            }
        };
        Ok(Self { id: kept.id, algorithm: kept.algorithm, created_at: kept.created_at, encoding, decoding, public })
    }
}

/// A new private key. RSA takes its time: not for a thread that others wait for.
fn generate(algorithm: SigningAlgorithm) -> Result<Vec<u8>> {
    let failed = |_| Error::internal(anyhow::anyhow!("no key of {algorithm:?} could be made"));
    match algorithm {
        SigningAlgorithm::EdDsa => {
            let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(failed)?;
            Ok(document.as_ref().to_vec())
        }
        SigningAlgorithm::Rs256 => {
            let pair = rsa::KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let document: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            Ok(document.as_ref().to_vec())
        }
        SigningAlgorithm::Hs256 => Ok(rand::random::<[u8; 32]>().to_vec()),
    }
}

/// PKCS #8 as text (RFC 7468).
fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// The algorithm as the JWT crate names it.
fn jose(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Hs256 => Algorithm::HS256,
    }
}
