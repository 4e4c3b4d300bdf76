//! Sends a push to its service, once.

use std::{fmt, time::Duration};

use reqwest::{
    Client, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
    redirect,
};

use super::{encryption, reach::Reach, vapid::VapidKey};
use crate::{
    error::Error,
    model::{ids::NotificationId, push::PushSubscription},
};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a push may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a service shall keep a push for a browser that is off, in seconds: a week.
const TTL: &str = "604800";

/// Why a push was not taken.
#[derive(Debug)]
pub enum Failure {
    /// The subscription has ended: it is to be forgotten.
    Gone,
    /// Too much waits for its service already.
    Crowded,
    /// The same again would be refused again.
    Refused(String),
    /// Another try may do, after this time if the service named one.
    Passing {
        /// What happened.
        what: String,
        /// What the service asks for.
        retry_after: Option<Duration>,
    },
}

/// Sends pushes.
pub struct Sender {
    client: Client,
    reach: Reach,
    key: VapidKey,
}

impl Sender {
    /// Sends what `key` signs to whoever is within `reach`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(key: VapidKey, reach: Reach) -> anyhow::Result<Self> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            // A proxy would look names up by itself, out of our reach.
            .no_proxy()
            .dns_resolver(reach.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self { client, reach, key })
    }

    /// The public key as browsers are told it.
    pub fn public_key(&self) -> &str {
        self.key.public()
    }

    /// The push service of an endpoint: all of it that may be shown.
    ///
    /// # Errors
    /// What is wrong with the endpoint.
    pub fn origin(&self, endpoint: &str) -> Result<String, &'static str> {
        Ok(self.reach.endpoint(endpoint)?.origin().ascii_serialization())
    }

    /// Sends a text about a notification to a browser.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn send(&self, subscription: &PushSubscription, id: NotificationId, text: &[u8]) -> Result<(), Failure> {
        let refused = |error: Error| Failure::Refused(format!("{error:?}"));
        // What the settings allow may have changed since it was registered.
        let url = self.reach.endpoint(&subscription.endpoint).map_err(|wrong| Failure::Refused(wrong.to_owned()))?;
        let authorization = self.key.authorization(&url.origin().ascii_serialization()).map_err(refused)?;
        let sealed = encryption::seal(text, &subscription.keys).map_err(refused)?;
        let request = self
            .client
            .post(url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("ttl", TTL)
            .header("urgency", "normal")
            // A second try takes the place of the first, where that has arrived after all.
            .header("topic", id.as_uuid().simple().to_string());
        match request.body(sealed).send().await {
            Ok(response) => judge(&response),
            // The address is the browser's secret.
            Err(error) => {
                let what = format!("{:#}", anyhow::Error::from(error.without_url()));
                Err(Failure::Passing { what, retry_after: None })
            }
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sender").field("key", &self.key).field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// What an answer means. Its body is whatever somebody wants us to read: it stays unread.
fn judge(response: &Response) -> Result<(), Failure> {
    let status = response.status();
    let what = || format!("the service answers {}", status.as_u16());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Failure::Gone),
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            let asked = response.headers().get(RETRY_AFTER).and_then(|asked| asked.to_str().ok()?.trim().parse().ok());
            Err(Failure::Passing { what: what(), retry_after: asked.map(Duration::from_secs) })
        }
        _ => Err(Failure::Refused(what())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Clock;

    #[tokio::test]
    async fn a_name_that_leads_inward_is_not_called() {
        let key = VapidKey::read(&VapidKey::generate().unwrap(), None, Clock::default()).unwrap();
        let sender = Sender::new(key, Reach::new(Vec::new())).unwrap();
        let error = sender.client.get("https://localhost:1/").send().await.unwrap_err();
        assert!(format!("{:#}", anyhow::Error::from(error)).contains("no public address"));
    }
}
