//! How the text of a setting is read as its value.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use http::Uri;

use crate::model::key::SigningAlgorithm;

/// A text that no log and no `config show` may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Where a Redis server is; it may hold a password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The address with everything that it holds.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&Self::shown(&self.0))
    }
}

/// How somebody who runs this server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(String);

impl fmt::Display for Contact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where a collector of traces takes them over gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(String);

impl CollectorUrl {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value that a setting's text can be read as.
pub(super) trait Value: Sized {
    fn read(text: &str) -> Result<Self, String>;

    /// The text as an error or `config show` may show it.
    fn shown(text: &str) -> String {
        text.to_owned()
    }
}

/// An address without the name and the password that it may hold.
pub fn without_credentials(address: &str) -> String {
    let scheme = address.find("://").map_or(0, |at| at + 3);
    // Passwords of databases may hold whatever; in an address of the web, an `@` may stand in the path.
    let end = match &address[..scheme] {
        "http://" | "https://" => address[scheme..].find(['/', '?', '#']).map_or(address.len(), |at| scheme + at),
        _ => address.len(),
    };
    match address[..end].rfind('@') {
        Some(at) if at >= scheme => format!("{}[redacted]{}", &address[..scheme], &address[at..]),
        _ => address.to_owned(),
    }
}

/// A value that lies between two others, both included.
pub(super) fn bounded<T: Value + PartialOrd>(value: T, least: &str, most: &str) -> Result<T, String> {
    let is_within = T::read(least)? <= value && value <= T::read(most)?;
    if is_within { Ok(value) } else { Err(format!("must be from {least} to {most}")) }
}

macro_rules! values {
    ($($type:ty: $wanted:literal),* $(,)?) => {$(
        impl Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                Self::from_str(text).map_err(|_| concat!("must be ", $wanted).to_owned())
            }
        }
    )*};
}

values! {
    SocketAddr: "an address and port such as 127.0.0.1:8080",
    PathBuf: "a path",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number from 0 to 18446744073709551615",
    usize: "a whole number",
    i64: "a whole number",
    f64: "a number",
    bool: "true or false",
    SigningAlgorithm: "one of EdDSA RS256 HS256",
}

impl Value for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn shown(text: &str) -> String {
        if text.contains("://") { without_credentials(text) } else { text.to_owned() }
    }
}

impl Value for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.ok_or_else(|| "must be a number of seconds such as 30 or 0.5".to_owned())
    }
}

impl Value for Secret {
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn shown(text: &str) -> String {
        if text.is_empty() { String::new() } else { "[redacted]".to_owned() }
    }
}

impl Value for RedisUrl {
    fn read(text: &str) -> Result<Self, String> {
        let host = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
        match host {
            Some(host) if !host.is_empty() => Ok(Self(text.to_owned())),
            _ => Err("must be redis://[user:password@]host[:port][/database], or rediss:// for TLS".to_owned()),
        }
    }

    fn shown(text: &str) -> String {
        without_credentials(text)
    }
}

impl Value for Contact {
    fn read(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("mailto:").or_else(|| text.strip_prefix("https://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(Self(text.to_owned())),
            _ => Err("must be mailto:somebody@example.com or https://…".to_owned()),
        }
    }
}

impl Value for CollectorUrl {
    fn read(text: &str) -> Result<Self, String> {
        let url = text.parse::<Uri>().ok();
        let fits = |url: &Uri| {
            let host = url.authority().is_some_and(|host| !host.as_str().contains('@'));
            url.scheme_str() == Some("http") && host && url.path() == "/" && url.query().is_none()
        };
        url.filter(fits).map(|_| Self(text.to_owned())).ok_or_else(|| "must be http://HOST:PORT".to_owned())
    }

    fn shown(text: &str) -> String {
        without_credentials(text)
    }
}

impl<T: Value> Value for Option<T> {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::read(text).map(Some) }
    }

    fn shown(text: &str) -> String {
        T::shown(text)
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(T::read).collect()
    }
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$choice_doc:meta])* $choice:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$choice_doc])* $choice),*
        }

        impl Value for $name {
            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$choice),)*
                    _ => Err(concat!("must be one of", $(" ", $text),*).to_owned()),
                }
            }
        }
    };
}

choices! {
    /// Whether clients must show a certificate that they are asked for.
    ClientAuth {
        /// One without a certificate is refused.
        Required = "required",
        /// One without a certificate is let in.
        Optional = "optional",
    }
}

choices! {
    /// Who may register.
    Registration {
        /// Everybody.
        Open = "open",
        /// Nobody: an admin makes accounts.
        Closed = "closed",
    }
}

choices! {
    /// What happens to text that holds markup.
    ContentPolicy {
        /// Text is data: whoever renders it escapes it.
        Store = "store",
        /// It is refused.
        Reject = "reject",
    }
}

choices! {
    /// A tool that is built in.
    BuiltInTool {
        /// Tells the time.
        TimeNow = "time.now",
        /// Evaluates expressions.
        Calculator = "calculator",
    }
}

choices! {
    /// How logs are written.
    LogFormat {
        /// For people.
        Pretty = "pretty",
        /// One JSON object a line.
        Json = "json",
    }
}
