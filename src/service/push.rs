//! Web Push: whoever has no connection is notified in the browser.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use moka::future::Cache;
use tokio::{sync::Semaphore, time::sleep};
use tracing::{Instrument as _, field};

use super::text::nul_fault;
use crate::{
    error::{Error, Result},
    lifecycle::Lifecycle,
    live::presence::Presence,
    model::{
        caller::Caller,
        clock::{Clock, Timestamp},
        ids::NotificationId,
        notification::Notification,
        push::{BrowserKeys, PushSubscription},
    },
    push::{Failure, Sender, browser_key, browser_secret, payload},
    store::Store,
    trace,
};

/// Browsers of a user at most; of more the oldest goes.
const MAX_BROWSERS: i64 = 20;
/// Notifications that are being pushed at most; further ones wait for their users' return alone.
const MAX_UNDER_WAY: usize = 1000;
/// Pushes that are being sent at once.
const AT_ONCE: usize = 256;
/// Pushes that are being sent to one service at once: one that is slow holds up its own.
const AT_ONCE_TO_ONE: usize = 16;
/// Pushes that one service is still to get; of one that takes nothing further ones are dropped, and nobody else's.
const PLACES_OF_ONE: usize = 100;
/// Services that this is counted of at most, and for how long after the last push.
const SERVICES: (u64, Duration) = (10_000, Duration::from_secs(60));
/// How often a push is tried.
const TRIES: u32 = 4;
/// The pause after the first try; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A service that asks for a longer pause is not asked again.
const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// Pushes notifications to browsers. Cheap to clone.
#[derive(Clone)]
pub struct Pushes(Arc<Inner>);

/// What pushes are made of.
pub struct Parts {
    /// Keeps the browsers.
    pub store: Store,
    /// Knows who is connected.
    pub presence: Presence,
    /// Sends; `None` where Web Push is switched off.
    pub sender: Option<Sender>,
    /// Tells the time.
    pub clock: Clock,
    /// Runs what is sent.
    pub lifecycle: Lifecycle,
}

struct Inner {
    parts: Parts,
    under_way: Arc<Semaphore>,
    at_once: Semaphore,
    services: Cache<String, Arc<OneService>>,
}

/// What is on its way to one push service.
struct OneService {
    places: Semaphore,
    at_once: Semaphore,
}

/// A browser, as its user's page tells of it.
#[derive(Clone, Debug)]
pub(crate) struct NewBrowser {
    pub(crate) endpoint: String,
    pub(crate) p256dh: String,
    pub(crate) auth: String,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Pushes {
    /// Pushes by these parts.
    pub fn new(parts: Parts) -> Self {
        let (services, idle) = SERVICES;
        let (under_way, at_once) = (Arc::new(Semaphore::new(MAX_UNDER_WAY)), Semaphore::new(AT_ONCE));
        let services = Cache::builder().max_capacity(services).time_to_idle(idle).build();
        Self(Arc::new(Inner { parts, under_way, at_once, services }))
    }

    /// The key that browsers subscribe to.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] where Web Push is switched off.
    pub(crate) fn key(&self) -> Result<&str> {
        Ok(self.sender()?.public_key())
    }

    /// Registers a browser of the caller's.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] where Web Push is switched off, and faults of the fields.
    pub(crate) async fn register(&self, caller: &Caller, new: NewBrowser) -> Result<PushSubscription> {
        let (sender, now) = (self.sender()?, self.0.parts.clock.now());
        let (origin, p256dh, auth) =
            (sender.origin(&new.endpoint), browser_key(&new.p256dh), browser_secret(&new.auth));
        let is_over = new.expires_at.is_some_and(|expires_at| expires_at <= now);
        Error::of_faults([
            ("endpoint", origin.err()),
            ("expiration_time", is_over.then_some("must lie in the future")),
            ("keys.p256dh", p256dh.as_ref().err().copied()),
            ("keys.auth", auth.as_ref().err().copied()),
        ])?;
        let subscription = PushSubscription {
            user_id: caller.user_id,
            endpoint: new.endpoint,
            keys: BrowserKeys { p256dh: p256dh.unwrap_or_default(), auth: auth.unwrap_or_default() },
            created_at: now,
            expires_at: new.expires_at,
        };
        self.0.parts.store.register_push_subscription(&subscription, MAX_BROWSERS).await?;
        Ok(subscription)
    }

    /// Ends the registration of one of the caller's browsers.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the caller has no such browser.
    pub(crate) async fn delete(&self, caller: &Caller, endpoint: &str) -> Result<()> {
        Error::of_faults([("endpoint", nul_fault(endpoint))])?;
        let is_deleted = self.0.parts.store.delete_push_subscription(caller.user_id, endpoint).await?;
        if is_deleted { Ok(()) } else { Err(Error::NotFound("push subscription")) }
    }

    /// Has a notification pushed, unless its user is connected. Nobody waits for it, and nothing fails by it.
    pub(super) fn push(&self, notification: &Notification) {
        if self.0.parts.sender.is_none() {
            return;
        }
        let Ok(place) = self.0.under_way.clone().try_acquire_owned() else { return count("dropped") };
        // Of its own: whoever made the notification does not wait for it.
        let span = tracing::info_span!("push", notification.id = %notification.id, span_id = field::Empty);
        trace::begin(&span);
        let (pushes, notification) = (self.clone(), notification.clone());
        let push = async move {
            if let Err(error) = pushes.push_to_browsers(&notification).await {
                let (id, error) = (notification.id, format!("{error:?}"));
                tracing::warn!(notification.id = %id, error, "cannot push a notification");
                count("failed");
            }
            drop(place);
        };
        let stopped = self.0.parts.lifecycle.stopped().clone();
        self.0.parts.lifecycle.spawn(stopped.run_until_cancelled_owned(push).instrument(span));
    }

    async fn push_to_browsers(&self, notification: &Notification) -> Result<()> {
        let Parts { store, presence, clock, .. } = &self.0.parts;
        if presence.is_connected(notification.user_id).await {
            return Ok(());
        }
        let browsers = store.push_subscriptions(notification.user_id, clock.now()).await?;
        let text = payload(notification)?;
        join_all(browsers.iter().map(|browser| self.push_to(browser, notification.id, &text))).await;
        Ok(())
    }

    /// Pushes to one browser; one whose service says that it is gone is forgotten.
    async fn push_to(&self, browser: &PushSubscription, id: NotificationId, text: &[u8]) {
        let Ok(sender) = self.sender() else { return };
        let service = sender.origin(&browser.endpoint).unwrap_or_default();
        let result = match self.insist(sender, &service, browser, id, text).await {
            Ok(()) => "taken",
            Err(Failure::Gone) => {
                let forgotten = self.0.parts.store.delete_push_subscription(browser.user_id, &browser.endpoint).await;
                if let Err(error) = forgotten {
                    tracing::warn!(push.service = service, error = format!("{error:?}"), "cannot forget a browser");
                }
                "gone"
            }
            Err(Failure::Crowded) => "dropped",
            Err(Failure::Refused(error)) => {
                tracing::warn!(notification.id = %id, push.service = service, error, "a push was refused");
                "refused"
            }
            Err(Failure::Passing { what: error, .. }) => {
                tracing::warn!(notification.id = %id, push.service = service, error, "a push was not taken");
                "failed"
            }
        };
        count(result);
    }

    /// Tries a push again where that may help, until it is taken, the tries are used up or the node stops.
    async fn insist(
        &self,
        sender: &Sender,
        service: &str,
        browser: &PushSubscription,
        id: NotificationId,
        text: &[u8],
    ) -> Result<(), Failure> {
        let (places, at_once) = (Semaphore::new(PLACES_OF_ONE), Semaphore::new(AT_ONCE_TO_ONE));
        let own =
            self.0.services.get_with(service.to_owned(), async { Arc::new(OneService { places, at_once }) }).await;
        // Whoever waits for a slow service holds up nobody else.
        let Ok(_place) = own.places.try_acquire() else { return Err(Failure::Crowded) };
        let mut tries = 0;
        loop {
            let turns = async { (own.at_once.acquire().await, self.0.at_once.acquire().await) };
            let Some(turns) = self.0.parts.lifecycle.stopping().run_until_cancelled(turns).await else {
                return Err(Failure::Passing { what: "the node stops".to_owned(), retry_after: None });
            };
            let sent = sender.send(browser, id, text).await;
            drop(turns);
            tries += 1;
            let pause = match &sent {
                Err(Failure::Passing { retry_after, .. }) => pause(tries, *retry_after, rand::random()),
                _ => None,
            };
            let Some(pause) = pause else { return sent };
            if self.0.parts.lifecycle.stopping().run_until_cancelled(sleep(pause)).await.is_none() {
                return sent;
            }
        }
    }

    fn sender(&self) -> Result<&Sender> {
        let sender = self.0.parts.sender.as_ref();
        sender.ok_or(Error::FailedPrecondition("web push is switched off here, by the setting web_push"))
    }
}

impl fmt::Debug for Pushes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pushes").field("sender", &self.0.parts.sender).finish_non_exhaustive()
    }
}

/// How long to wait after so many tries; `None` when another one is useless. `random` in 0..1 adds a quarter at most, so
/// that what failed together does not come back together.
fn pause(tries: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
    let own = FIRST_PAUSE * 4_u32.pow(tries.saturating_sub(1));
    match asked {
        _ if tries >= TRIES => None,
        Some(asked) if asked > LONGEST_ASKED => None,
        asked => Some(own.max(asked.unwrap_or_default()).mul_f64(1.0 + random / 4.0)),
    }
}

fn count(result: &'static str) {
    metrics::counter!("colloquy_push_total", "result" => result).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_the_service_is_heard_and_all_of_it_ends() {
        let seconds = Duration::from_secs;
        let pauses: Vec<Option<Duration>> = (1..=4).map(|tries| pause(tries, None, 0.0)).collect();
        assert_eq!(pauses, [Some(seconds(1)), Some(seconds(4)), Some(seconds(16)), None]);
        assert_eq!(pause(1, Some(seconds(30)), 0.0), Some(seconds(30)));
        assert_eq!(pause(2, Some(seconds(0)), 1.0), Some(seconds(5)));
        assert_eq!(pause(1, Some(seconds(121)), 0.0), None);
        assert_eq!(pause(4, Some(seconds(1)), 0.0), None);
    }
}
