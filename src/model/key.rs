//! Keys that sign access tokens.

use std::{fmt, str::FromStr};

use super::{clock::Timestamp, ids::KeyId};

/// How access tokens are signed (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// Ed25519.
    EdDsa,
    /// RSA with SHA-256.
    Rs256,
    /// HMAC with SHA-256; there are no public keys then.
    Hs256,
}

impl SigningAlgorithm {
    /// As it is stored, and as JOSE names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }
}

impl FromStr for SigningAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "EdDSA" => Ok(Self::EdDsa),
            "RS256" => Ok(Self::Rs256),
            "HS256" => Ok(Self::Hs256),
            other => Err(format!("unknown signing algorithm {other:?}")),
        }
    }
}

/// A key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Names the key in the header of tokens.
    pub id: KeyId,
    /// What it signs with.
    pub algorithm: SigningAlgorithm,
    /// PKCS #8; of HS256 the secret itself.
    pub private_key: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The public part of a key, by which anybody verifies its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Names the key in the header of tokens.
    pub id: KeyId,
    /// The key itself.
    pub material: PublicMaterial,
}

/// What a public key consists of; numbers are big-endian bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicMaterial {
    /// Of Ed25519.
    Ed25519 {
        /// The public key.
        x: Vec<u8>,
    },
    /// Of RSA.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
}
