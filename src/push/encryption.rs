//! What only the browser can read: RFC 8291 over the content coding `aes128gcm` of RFC 8188, in one record.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, ParsedPublicKey, ParsedPublicKeyFormat, PrivateKey, UnparsedPublicKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};
use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    error::{Error, Result},
    model::push::BrowserKeys,
};

/// Bytes of a push at most: what every push service must take (RFC 8030, §7.2), and so the size of the record.
const MAX_BYTES: usize = 4096;
/// Bytes before what is encrypted: salt, size of the record, length of the key, key.
const HEADER: usize = SALT + 4 + 1 + POINT;
/// Bytes of text that a push holds at most: all but the header, the delimiter and the tag.
pub(super) const MAX_PLAIN: usize = MAX_BYTES - HEADER - 1 - 16;

/// Bytes of an uncompressed point of P-256.
const POINT: usize = 65;
/// Bytes of a salt, and of a browser's secret.
const SALT: usize = 16;
/// Ends the last record.
const LAST: u8 = 2;

/// Base64url as browsers write it, which is without padding, and as some libraries do.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a browser's public key, as the browser writes it.
///
/// # Errors
/// What is wrong with it.
pub fn browser_key(text: &str) -> Result<Vec<u8>, &'static str> {
    let point = BASE64URL.decode(text).unwrap_or_default();
    let parsed = ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, &point));
    let is_point = parsed.is_ok_and(|parsed| parsed.format() == ParsedPublicKeyFormat::Uncompressed);
    if is_point { Ok(point) } else { Err("must be an uncompressed point of P-256 in base64url") }
}

/// Reads a browser's authentication secret, as the browser writes it.
///
/// # Errors
/// What is wrong with it.
pub fn browser_secret(text: &str) -> Result<Vec<u8>, &'static str> {
    let secret = BASE64URL.decode(text).unwrap_or_default();
    if secret.len() == SALT { Ok(secret) } else { Err("must be 16 bytes in base64url") }
}

/// Encrypts a text of at most [`MAX_PLAIN`] bytes for a browser.
pub(super) fn seal(plain: &[u8], keys: &BrowserKeys) -> Result<Vec<u8>> {
    let sealed = PrivateKey::generate(&ECDH_P256).and_then(|own| seal_with(plain, keys, &own, rand::random()));
    sealed.map_err(|_| Error::internal(anyhow::anyhow!("a push could not be encrypted")))
}

/// The same with a key and a salt that serve for this one push alone.
fn seal_with(plain: &[u8], keys: &BrowserKeys, own: &PrivateKey, salt: [u8; SALT]) -> Result<Vec<u8>, Unspecified> {
    let public = own.compute_public_key()?;
    let (public, theirs) = (public.as_ref(), UnparsedPublicKey::new(&ECDH_P256, &keys.p256dh));
    let ikm: [u8; 32] = agreement::agree(own, theirs, Unspecified, |secret| {
        let prk = Salt::new(HKDF_SHA256, &keys.auth).extract(secret);
        expand(&prk, &[b"WebPush: info\0", &keys.p256dh, public])
    })?;
    let prk = Salt::new(HKDF_SHA256, &salt).extract(&ikm);
    let key: [u8; 16] = expand(&prk, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = expand(&prk, &[b"Content-Encoding: nonce\0"])?;

    let mut record = [plain, &[LAST]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;
    Ok([&salt[..], &(MAX_BYTES as u32).to_be_bytes(), &[POINT as u8], public, &record].concat())
}

fn expand<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut key = [0; N];
    prk.expand(info, Bytes(N))?.fill(&mut key)?;
    Ok(key)
}

/// A length, as HKDF wants to be told it.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    fn keys() -> BrowserKeys {
        BrowserKeys { p256dh: browser_key(P256DH).unwrap(), auth: browser_secret(AUTH).unwrap() }
    }

    #[test]
    fn the_example_of_the_standard_comes_out() {
        // RFC 8291, §5.
        let read = |text: &str| BASE64URL.decode(text).unwrap();
        let own = PrivateKey::from_private_key(&ECDH_P256, &read("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"));
        let salt = read("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let sealed = seal_with(b"When I grow up, I want to be a watermelon", &keys(), &own.unwrap(), salt).unwrap();
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz\
                        AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(sealed, read(expected));
    }

    #[test]
    fn the_longest_text_fills_a_push_and_no_two_pushes_are_alike() {
        let [one, two] = [(), ()].map(|()| seal(&[b'x'; MAX_PLAIN], &keys()).unwrap());
        assert_eq!((one.len(), MAX_PLAIN), (MAX_BYTES, 3993));
        assert_ne!(one[HEADER..], two[HEADER..]);
    }

    #[test]
    fn keys_are_a_point_of_the_curve_and_a_secret() {
        assert!(browser_key(&format!("{P256DH}=")).is_ok() && browser_secret(&format!("{AUTH}==")).is_ok());
        for wrong in ["", "%", AUTH, &P256DH.replace("BCVx", "BCVy")] {
            assert!(browser_key(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "%", "BTBZ", P256DH] {
            assert!(browser_secret(wrong).is_err(), "{wrong}");
        }
    }
}
