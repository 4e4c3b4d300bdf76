//! A push service and the browsers that it pushes to: it keeps what it is sent, and they decrypt it (RFC 8030, 8188, 8291).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey},
    hmac::{self, HMAC_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};

use super::{
    http_server::{self, HttpServer},
    soon,
};

/// A push service on this machine.
pub(crate) struct PushService {
    server: HttpServer,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    received: Mutex<VecDeque<Push>>,
    arrived: Notify,
    /// What the next pushes are answered; 201 after the last.
    answers: Mutex<VecDeque<String>>,
}

/// What was sent to an endpoint.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl PushService {
    pub(crate) async fn start() -> Self {
        let state = Arc::<State>::default();
        let served = state.clone();
        let server = HttpServer::answering(move |stream| answer(stream, served.clone())).await;
        Self { server, state }
    }

    /// As pushes name whom they are for.
    pub(crate) fn origin(&self) -> String {
        self.server.origin()
    }

    /// A browser that is subscribed here.
    pub(crate) fn browser(&self, name: &str) -> Browser {
        Browser::new(format!("{}/push/{name}", self.origin()))
    }

    /// Answers the next pushes so, each by a status line and headers.
    pub(crate) fn will_answer(&self, answers: &[&str]) {
        self.state.answers.lock().unwrap().extend(answers.iter().map(|&answer| answer.to_owned()));
    }

    /// The next push that came, or comes.
    pub(crate) async fn next(&self) -> Push {
        let next = async {
            loop {
                if let Some(push) = self.state.received.lock().unwrap().pop_front() {
                    return push;
                }
                self.state.arrived.notified().await;
            }
        };
        soon("a push", next).await
    }

    /// Whether all that came was taken by [`PushService::next`].
    pub(crate) fn is_idle(&self) -> bool {
        self.state.received.lock().unwrap().is_empty()
    }
}

/// A browser's subscription.
pub(crate) struct Browser {
    pub(crate) endpoint: String,
    key: PrivateKey,
    public: Vec<u8>,
    secret: [u8; 16],
}

impl Browser {
    fn new(endpoint: String) -> Self {
        let key = PrivateKey::generate(&ECDH_P256).unwrap();
        let public = key.compute_public_key().unwrap().as_ref().to_vec();
        Self { endpoint, key, public, secret: rand::random() }
    }

    /// What `PushSubscription.toJSON()` gives.
    pub(crate) fn json(&self) -> Value {
        let keys =
            json!({ "p256dh": URL_SAFE_NO_PAD.encode(&self.public), "auth": URL_SAFE_NO_PAD.encode(self.secret) });
        json!({ "endpoint": self.endpoint, "expirationTime": null, "keys": keys })
    }

    /// What a push says, if it was encrypted for this browser.
    pub(crate) fn read(&self, push: &Push) -> Option<Value> {
        let (salt, rest) = push.body.split_at(16);
        let (size, rest) = rest.split_at(4);
        assert_eq!(u32::from_be_bytes(size.try_into().unwrap()), 4096);
        let (theirs, record) = rest[1..].split_at(rest[0].into());
        let shared =
            agreement::agree(&self.key, UnparsedPublicKey::new(&ECDH_P256, theirs), (), |shared| Ok(shared.to_vec()));
        let info = [b"WebPush: info\0", &self.public[..], theirs].concat();
        let ikm = derive(&self.secret, &shared.unwrap(), &info);
        let key = derive(salt, &ikm, b"Content-Encoding: aes128gcm\0");
        let nonce = derive(salt, &ikm, b"Content-Encoding: nonce\0");
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key[..16]).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&nonce[..12]).unwrap();
        let mut record = record.to_vec();
        let plain = key.open_in_place(nonce, Aad::empty(), &mut record).ok()?;
        let (delimiter, plain) = plain.split_last().unwrap();
        assert_eq!(*delimiter, 2, "it is the last record");
        Some(serde_json::from_slice(plain).unwrap())
    }
}

/// HKDF with SHA-256 (RFC 5869), its first 32 bytes.
fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> Vec<u8> {
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text).as_ref().to_vec();
    sign(&sign(salt, secret), &[info, &[1]].concat())
}

async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let Some(head) = http_server::head(&mut stream).await else { return };
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let answer = state.answers.lock().unwrap().pop_front().unwrap_or_else(|| "201 Created".to_owned());
    state.received.lock().unwrap().push_back(Push { path, headers, body });
    state.arrived.notify_one();
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}
