//! Outside issuers: whose tokens are let in besides our own, and what they say.

mod keys;

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, Validation,
    crypto::{CryptoProvider, aws_lc},
};
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use serde_json::Value;

use self::keys::Keys;
use crate::{
    error::{Error, Result},
    model::clock::{Clock, Timestamp},
};

/// How far the clocks of issuers may differ from ours.
const LEEWAY: Duration = Duration::from_secs(60);
/// Characters of a subject or of a key's name at most.
const MAX_NAME: usize = 255;
/// What the caller learns about a token that is not good, whatever is wrong with it.
const REFUSED: Error = Error::Unauthenticated("the access token is not valid");

/// An issuer that is trusted.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// As its tokens name it.
    pub issuer: String,
    /// Whom its tokens must be for.
    pub audience: String,
    /// Where its keys are.
    pub jwks_url: Url,
}

/// Reads tokens of outside issuers. Cheap to clone.
#[derive(Clone)]
pub struct Issuers {
    clock: Clock,
    issuers: Arc<[(Trusted, Keys)]>,
}

/// What a token that verifies says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// Who says it.
    pub(crate) issuer: String,
    /// Whom it is about, in the issuer's words.
    pub(crate) subject: String,
    /// Until when.
    pub(crate) expires_at: Timestamp,
    /// The name by which the issuer knows the user, if it tells.
    pub(crate) username: Option<String>,
    /// How the user is called, if it tells.
    pub(crate) display_name: Option<String>,
    /// An email that the issuer has verified, if it has.
    pub(crate) email: Option<String>,
}

/// The claims of RFC 7519 and of OpenID Connect that matter here.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    // Whatever an issuer writes there, the token is good without them.
    preferred_username: Option<Value>,
    name: Option<Value>,
    email: Option<Value>,
    email_verified: Option<Value>,
}

/// What is read of a token before anything is verified.
#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

impl Issuers {
    /// Trusts these; their keys are fetched when a token of theirs is shown.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(trusted: Vec<Trusted>, clock: Clock) -> anyhow::Result<Self> {
        // Another crate of the process may have been first: that is fine.
        let _ = CryptoProvider::install_default(&aws_lc::DEFAULT_PROVIDER);
        let client = Client::builder().redirect(redirect::Policy::none()).build()?;
        let with_keys = |trusted: Trusted| {
            let keys = Keys::new(client.clone(), trusted.jwks_url.clone());
            (trusted, keys)
        };
        Ok(Self { clock, issuers: trusted.into_iter().map(with_keys).collect() })
    }

    /// What a token says; `None` when it names no issuer that is trusted here.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when it does and is not good, [`Error::Unavailable`] when nobody can tell now.
    pub(crate) async fn read(&self, token: &str) -> Result<Option<Vouched>> {
        let named = if self.issuers.is_empty() { None } else { named_issuer(token) };
        let Some(named) = named else { return Ok(None) };
        match self.issuers.iter().find(|(trusted, _)| trusted.issuer == named) {
            Some((trusted, keys)) => self.verify(token, trusted, keys).await.map(Some),
            None => Ok(None),
        }
    }

    async fn verify(&self, token: &str, trusted: &Trusted, keys: &Keys) -> Result<Vouched> {
        // `none` is no algorithm that can be read, and a symmetric one would take a public key for a secret.
        let header = jsonwebtoken::decode_header(token).map_err(|_| REFUSED)?;
        let key_id = header.kid.filter(|id| id.len() <= MAX_NAME).ok_or(REFUSED)?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(REFUSED);
        }
        let key = keys.find(&key_id).await?;
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        validation.set_issuer(&[&trusted.issuer]);
        validation.set_audience(&[&trusted.audience]);
        // Time is judged below, by the clock that everything else goes by.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).map_err(|_| REFUSED)?.claims;

        let now = self.clock.now();
        let (expires_at, begins_at) = (moment(claims.exp), claims.nbf.map(moment));
        if expires_at + LEEWAY <= now {
            return Err(Error::Unauthenticated("the access token has expired"));
        }
        if begins_at.is_some_and(|begins_at| begins_at > now + LEEWAY) {
            return Err(Error::Unauthenticated("the access token is not good yet"));
        }
        let is_name = |text: &str| (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control);
        if !is_name(&claims.sub) {
            return Err(REFUSED);
        }
        let is_verified = [Value::Bool(true), Value::from("true")].map(Some).contains(&claims.email_verified);
        Ok(Vouched {
            issuer: trusted.issuer.clone(),
            subject: claims.sub,
            expires_at,
            username: text(claims.preferred_username),
            display_name: text(claims.name),
            email: text(claims.email).filter(|_| is_verified),
        })
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.issuers.iter().map(|(trusted, _)| &trusted.issuer)).finish()
    }
}

fn text(claim: Option<Value>) -> Option<String> {
    if let Some(Value::String(text)) = claim { Some(text) } else { None }
}

/// The issuer that a token names, right or wrong.
fn named_issuer(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let unverified: Unverified = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some(unverified.iss)
}

/// A date of a token, in seconds since 1970, whole or not.
fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6) as i64).min(Timestamp::NEVER)
}
