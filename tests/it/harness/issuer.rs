//! An issuer of tokens outside the server: keys of its own, published over HTTP, and tokens signed with them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    crypto::{CryptoProvider, aws_lc},
    jwk::Jwk,
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::http_server::{self, HttpServer};

/// What its tokens name it.
pub(crate) const ISSUER: &str = "https://login.example";
/// Whom its tokens are for.
pub(crate) const AUDIENCE: &str = "colloquy-tests";

/// An issuer that publishes keys.
pub(crate) struct Issuer {
    server: HttpServer,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    keys: Mutex<Vec<Value>>,
    fetches: AtomicUsize,
    is_down: AtomicBool,
}

/// A key of an issuer's.
pub(crate) struct IssuerKey {
    id: String,
    algorithm: Algorithm,
    encoding: EncodingKey,
    /// As it is published.
    pub(crate) public: Value,
}

impl Issuer {
    /// An issuer that has published these keys.
    pub(crate) async fn start(keys: &[&IssuerKey]) -> Self {
        let state = Arc::<State>::default();
        let served = state.clone();
        let server = HttpServer::answering(move |stream| answer(stream, served.clone())).await;
        let issuer = Self { server, state };
        issuer.publish(keys.iter().map(|key| key.public.clone()).collect());
        issuer
    }

    /// The part of a configuration file that trusts it.
    pub(crate) fn trusted(&self) -> String {
        let url = format!("{}/keys", self.server.origin());
        format!("[[issuers]]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_url = \"{url}\"\n")
    }

    /// Publishes these in place of those before.
    pub(crate) fn publish(&self, keys: Vec<Value>) {
        *self.state.keys.lock().unwrap() = keys;
    }

    /// Answers nobody any more, or again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How often its keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }
}

impl IssuerKey {
    /// A new key of this name, which signs so.
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        // A server that is started later does the same.
        let _ = CryptoProvider::install_default(&aws_lc::DEFAULT_PROVIDER);
        let random = SystemRandom::new();
        let encoding = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&random).unwrap().as_ref()),
            Algorithm::ES256 => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_der(document.as_ref())
            }
            Algorithm::RS256 | Algorithm::RS512 => {
                let pair = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let document: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                let lines = STANDARD.encode(document.as_ref());
                let pem = format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n");
                EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
            }
            Algorithm::HS256 => EncodingKey::from_secret(b"a secret that is published"),
            other => panic!("no keys are made for {other:?}"),
        };
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&encoding, algorithm).unwrap()).unwrap();
        public["kid"] = json!(id);
        public["use"] = json!("sig");
        Self { id: id.to_owned(), algorithm, encoding, public }
    }

    /// A token that says this.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_as(self.algorithm, claims)
    }

    /// A token whose header names another algorithm of the same family.
    pub(crate) fn token_as(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
    }
}

async fn answer(mut stream: TcpStream, state: Arc<State>) {
    if http_server::head(&mut stream).await.is_none() {
        return;
    }
    state.fetches.fetch_add(1, Ordering::SeqCst);
    if state.is_down.load(Ordering::SeqCst) {
        return;
    }
    let body = json!({ "keys": *state.keys.lock().unwrap() }).to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes()).await;
}
