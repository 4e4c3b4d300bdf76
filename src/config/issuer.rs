//! Outside issuers of the file's `[[issuers]]`.

use super::SettingError;

/// An issuer whose tokens are let in besides our own.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// As its tokens name it (`iss`).
    pub issuer: String,
    /// Whom its tokens must be for (`aud`).
    pub audience: String,
    /// Where its keys are, as a JSON Web Key Set.
    pub jwks_url: String,
}

/// Checks the issuers beside each other, and that none of them is `own`.
pub(super) fn check(issuers: &[Issuer], own: &str) -> Result<(), SettingError> {
    for (at, issuer) in issuers.iter().enumerate() {
        let wrong = |wanted: &str| {
            let value = issuer.issuer.clone();
            Err(SettingError { name: "issuers".to_owned(), value, wanted: wanted.to_owned() })
        };
        if issuer.issuer.is_empty() || issuer.audience.is_empty() {
            return wrong("an issuer and its audience must be named");
        }
        if issuer.issuer == own {
            return wrong("this is the name of our own tokens, jwt_issuer");
        }
        if issuers[..at].iter().any(|other| other.issuer == issuer.issuer) {
            return wrong("two issuers have this name");
        }
        if !is_safe(&issuer.jwks_url) {
            return wrong("jwks_url must be https://…, or http:// to this machine");
        }
    }
    Ok(())
}

/// Whether nobody on the way can put keys of their own in place of those that are fetched.
fn is_safe(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(url::Host::Domain(name))) => name == "localhost",
        ("http", Some(url::Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(url::Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_tls_or_from_this_machine() {
        for safe in ["https://login.example/keys", "http://127.0.0.1:80/keys", "http://[::1]/", "http://localhost/keys"]
        {
            assert!(is_safe(safe), "{safe}");
        }
        for open in
            ["http://login.example/keys", "http://10.0.0.1/", "file:///keys", "keys", "http://localhost.example/"]
        {
            assert!(!is_safe(open), "{open}");
        }
    }

    #[test]
    fn issuers_are_told_apart() {
        let issuer = |name: &str| Issuer {
            issuer: name.to_owned(),
            audience: "colloquy".to_owned(),
            jwks_url: "https://login.example/keys".to_owned(),
        };
        assert!(check(&[issuer("a"), issuer("b")], "colloquy").is_ok());
        for wrong in [vec![issuer("a"), issuer("a")], vec![issuer("colloquy")], vec![issuer("")]] {
            assert!(check(&wrong, "colloquy").is_err(), "{wrong:?}");
        }
    }
}
