//! Access tokens as others see them: keys, algorithms, forgeries.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use colloquy::proto::{GetJwksRequest, JsonWebKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, jwk::Jwk};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Actor, PASSWORD, Server};

#[tokio::test(flavor = "multi_thread")]
async fn anybody_verifies_a_token_by_the_published_keys() {
    for (name, algorithm) in [("EdDSA", Algorithm::EdDSA), ("RS256", Algorithm::RS256)] {
        let server = Server::with(&[("jwt_algorithm", name), ("jwt_issuer", "https://chat.example")]).await;
        let alice = server.register("alice").await;
        let header = jsonwebtoken::decode_header(&alice.access_token).unwrap();
        let keys = published_keys(&server).await;
        let key = keys.iter().find(|key| Some(&key.kid) == header.kid.as_ref()).unwrap();
        assert_eq!((header.alg, key.alg.as_str(), key.r#use.as_str()), (algorithm, name, "sig"));

        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&["https://chat.example"]);
        let key = DecodingKey::from_jwk(&jwk(key)).unwrap();
        let claims = jsonwebtoken::decode::<Value>(&alice.access_token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], json!(alice.me().await.unwrap().id));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symmetric_key_works_and_is_not_published() {
    let server = Server::with(&[("jwt_algorithm", "HS256")]).await;
    let alice = server.register("alice").await;
    assert_eq!(jsonwebtoken::decode_header(&alice.access_token).unwrap().alg, Algorithm::HS256);
    alice.me().await.unwrap();
    assert_eq!(published_keys(&server).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_one_key_even_when_they_start_at_once() {
    let first = Server::start().await;
    first.data().sql("DELETE FROM signing_keys");
    let (one, other) = tokio::join!(first.beside(&[]), first.beside(&[]));
    let alice = one.register("alice").await;
    alice.at(&other).me().await.unwrap();
    assert_eq!(published_keys(&one).await.len(), 1);
    assert_eq!(published_keys(&one).await, published_keys(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_takes_over_and_tokens_of_the_old_one_stay_good() {
    let restless = [("signing_key_ttl", "0")];
    let server = Server::with(&restless).await;
    let other_node = server.beside(&restless).await;
    let before = server.register("alice").await;
    let after = before.login("alice", PASSWORD).await.unwrap();
    assert_ne!(key_of(&before), key_of(&after));

    for node in [&server, &other_node] {
        before.at(node).me().await.unwrap();
        after.at(node).me().await.unwrap();
        let published: Vec<_> = published_keys(node).await.into_iter().map(|key| key.kid).collect();
        assert!(published.contains(&key_of(&before)) && published.contains(&key_of(&after)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_algorithm_leaves_old_tokens_good() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let changed = server.beside(&[("jwt_algorithm", "RS256")]).await;
    alice.at(&changed).me().await.unwrap();
    alice.at(&changed).login("alice", PASSWORD).await.unwrap().at(&server).me().await.unwrap();
    assert_eq!(published_keys(&changed).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_dropped_when_none_of_its_tokens_can_live() {
    let server = Server::with(&[("signing_key_ttl", "3600")]).await;
    let alice = server.register("alice").await;
    let later = server.beside(&[("signing_key_ttl", "3600"), ("clock_ahead_micros", "4600000000")]).await;
    assert_eq!(alice.at(&later).me().await.unwrap_err().code(), Code::Unauthenticated);
    let published: Vec<_> = published_keys(&later).await.into_iter().map(|key| key.kid).collect();
    assert!(published.len() == 1 && !published.contains(&key_of(&alice)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let late = server.beside(&[("clock_ahead_micros", "906000000")]).await;
    let expired = alice.at(&late).me().await.unwrap_err();
    assert_eq!((expired.code(), expired.message()), (Code::Unauthenticated, "the access token has expired"));
    alice.at(&late).refresh().await.unwrap().me().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_issuer_is_refused_though_the_key_is_ours() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let renamed = server.beside(&[("jwt_issuer", "https://elsewhere.example")]).await;
    assert_eq!(alice.at(&renamed).me().await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn forgeries_are_refused() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let stranger = Server::start().await.register("alice").await;
    let key = published_keys(&server).await.remove(0);
    let token = &alice.access_token;
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("not a JWT: {token}") };
    let claimed: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let own_key = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
    let hmac = |secret: &[u8]| jsonwebtoken::encode(&own_key, &claimed, &EncodingKey::from_secret(secret)).unwrap();
    let public_key = key.x.unwrap();

    let forgeries = [
        ("the public key as an HMAC secret", hmac(&URL_SAFE_NO_PAD.decode(&public_key).unwrap())),
        ("the public key's text as an HMAC secret", hmac(public_key.as_bytes())),
        ("no algorithm", format!("{}.{claims}.", part(&json!({"alg": "none", "kid": key.kid})))),
        ("no algorithm, capitals", format!("{}.{claims}.", part(&json!({"alg": "NONE", "kid": key.kid})))),
        ("no key named", format!("{}.{claims}.{signature}", part(&json!({"alg": "EdDSA"})))),
        ("a key that is not there", {
            format!("{}.{claims}.{signature}", part(&json!({"alg": "EdDSA", "kid": alice.me().await.unwrap().id})))
        }),
        ("another server's key", stranger.access_token),
        ("another's claims", format!("{header}.{}.{signature}", bob.access_token.split('.').nth(1).unwrap())),
        ("no signature", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        ("five parts", format!("{token}.{claims}.{claims}")),
        ("dots", "..".to_owned()),
        ("words", "let me in".to_owned()),
        ("a refresh token", alice.refresh_token.clone()),
    ];
    for (what, forgery) in forgeries {
        assert_eq!(alice.with_token(forgery).me().await.unwrap_err().code(), Code::Unauthenticated, "{what}");
    }
    alice.me().await.unwrap();
}

async fn published_keys(server: &Server) -> Vec<JsonWebKey> {
    server.visitor().auth().get_jwks(GetJwksRequest {}).await.unwrap().into_inner().keys
}

/// The key as somebody reads it who has the JSON only.
fn jwk(key: &JsonWebKey) -> Jwk {
    let JsonWebKey { kty, kid, r#use, alg, crv, x, n, e } = key;
    let members = json!({"kty": kty, "kid": kid, "use": r#use, "alg": alg, "crv": crv, "x": x, "n": n, "e": e});
    let present = members.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    serde_json::from_value(present.map(|(name, value)| (name.clone(), value.clone())).collect()).unwrap()
}

fn key_of(actor: &Actor) -> String {
    jsonwebtoken::decode_header(&actor.access_token).unwrap().kid.unwrap()
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}
