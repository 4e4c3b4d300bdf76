//! Notifications: stored first, delivered second, and brought on return to whom they did not reach.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as Turn, Notify},
    time::{MissedTickBehavior, interval},
};

use super::{
    content,
    push::Pushes,
    text::{body_fault, label_fault},
};
use crate::{
    config::ContentPolicy,
    error::{Error, Result},
    lifecycle::Lifecycle,
    live::bus::Bus,
    model::{
        caller::Caller,
        clock::Clock,
        event::{Draft, Happening},
        ids::{NotificationId, UserId},
        notification::{NewNotification, Notification, NotificationFilter},
        page::NumberedRequest,
        topic::Topic,
        user::Role,
    },
    store::{Listed, Store},
};

/// How often it is stored what has reached its user; sooner when somebody leaves.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Notifications noted at most; of others nothing is, and they come once more.
const MAX_NOTES: usize = 100_000;

/// Keeps notifications. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifications(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    bus: Bus,
    pushes: Pushes,
    clock: Clock,
    policy: ContentPolicy,
    /// What has reached its user and is not stored as such.
    notes: Mutex<HashSet<NotificationId>>,
    /// Held while notes are being stored.
    storing: Turn<()>,
    hurried: Notify,
}

impl Notifications {
    /// Keeps them in the store, tells the bus, and pushes to whom the bus does not reach.
    pub fn new(store: Store, bus: Bus, pushes: Pushes, clock: Clock, policy: ContentPolicy) -> Self {
        let (notes, storing, hurried) = (Mutex::default(), Turn::default(), Notify::new());
        Self(Arc::new(Inner { store, bus, pushes, clock, policy, notes, storing, hurried }))
    }

    /// Notifies a user, once for each key. For admins and services.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`], faults of the fields, [`Error::NotFound`] when there is no such user.
    pub(crate) async fn create(&self, caller: &Caller, new: NewNotification) -> Result<Notification> {
        if caller.role == Role::User {
            return Err(Error::ROLE);
        }
        let action = new.action.as_ref().map(ToString::to_string).unwrap_or_default();
        let entity_type = new.related.entity_type.as_deref().unwrap_or_default();
        let entity_id = new.related.entity_id.as_deref().unwrap_or_default();
        let key = new.idempotency_key.as_deref().unwrap_or_default();
        Error::of_faults([
            ("title", label_fault(&new.title, 1..=255, "must have 1 to 255 characters")),
            ("content", body_fault(&new.content)),
            ("notification_type", label_fault(&new.notification_type, 1..=50, "must have 1 to 50 characters")),
            ("action", body_fault(&action)),
            ("related_entity_type", label_fault(entity_type, 0..=50, "must have at most 50 characters")),
            ("related_entity_id", label_fault(entity_id, 0..=255, "must have at most 255 characters")),
            ("idempotency_key", label_fault(key, 0..=128, "must have at most 128 characters")),
        ])?;
        for (field, text) in [("title", &new.title), ("content", &new.content), ("action", &action)] {
            content::check(self.0.policy, field, text)?;
        }
        let (notification, is_new) = self.0.store.insert_notification(new, self.0.clock.now()).await?;
        if is_new {
            metrics::counter!("colloquy_notifications_total").increment(1);
            let topic = Topic::User(notification.user_id);
            let happening = Happening::Notification(Box::new(notification.clone()));
            self.0.bus.publish(topic, Draft::apart(happening)).await;
            self.0.pushes.push(&notification);
        }
        Ok(notification)
    }

    /// A page of the caller's notifications, newest first.
    ///
    /// # Errors
    /// A token of another list.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        filter: &NotificationFilter,
        request: &NumberedRequest,
    ) -> Result<Listed> {
        self.0.store.notifications(caller.user_id, filter, request).await
    }

    /// How many of the caller's notifications are unread.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn unread(&self, caller: &Caller) -> Result<i64> {
        self.0.store.unread_notifications(caller.user_id).await
    }

    /// Marks one of the caller's notifications as read.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the caller has no such notification.
    pub(crate) async fn read(&self, caller: &Caller, id: NotificationId) -> Result<Notification> {
        let read = self.0.store.read_notification(caller.user_id, id, self.0.clock.now()).await?;
        read.ok_or(Error::NotFound("notification"))
    }

    /// Marks all the caller's notifications as read; returns how many were unread.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn read_all(&self, caller: &Caller) -> Result<usize> {
        self.0.store.read_notifications(caller.user_id, self.0.clock.now()).await
    }

    /// Deletes one of the caller's notifications.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the caller has no such notification.
    pub(crate) async fn delete(&self, caller: &Caller, id: NotificationId) -> Result<()> {
        let is_deleted = self.0.store.delete_notification(caller.user_id, id).await?;
        if is_deleted { Ok(()) } else { Err(Error::NotFound("notification")) }
    }

    /// What waits for a user, oldest first, after this one; at most so many.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn waiting(
        &self,
        user: UserId,
        after: Option<NotificationId>,
        limit: usize,
    ) -> Result<Vec<Notification>> {
        // What this node has handed over is not handed over again.
        self.flush().await?;
        self.0.store.undelivered_notifications(user, after, i64::try_from(limit).unwrap_or(i64::MAX)).await
    }

    /// A notification has reached its user.
    pub fn note(&self, id: NotificationId) {
        let mut notes = self.notes();
        if notes.len() < MAX_NOTES {
            notes.insert(id);
        }
    }

    /// Has the notes stored soon: somebody leaves, and may come back elsewhere.
    pub fn hurry(&self) {
        self.0.hurried.notify_one();
    }

    /// Stores notes, until the hard stop; what is noted then is stored as well.
    pub async fn keep(self, lifecycle: Lifecycle) {
        let mut ticks = interval(FLUSH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut goes_on = true;
        while goes_on {
            goes_on = tokio::select! {
                _ = ticks.tick() => true,
                () = self.0.hurried.notified() => true,
                () = lifecycle.stopped().cancelled() => false,
            };
            if let Err(error) = self.flush().await {
                tracing::warn!(error = format!("{error:?}"), "cannot store which notifications were delivered");
            }
        }
    }

    async fn flush(&self) -> Result<()> {
        let _turn = self.0.storing.lock().await;
        let notes: Vec<NotificationId> = self.notes().iter().copied().collect();
        if notes.is_empty() {
            return Ok(());
        }
        self.0.store.deliver_notifications(&notes, self.0.clock.now()).await?;
        let mut left = self.notes();
        notes.iter().for_each(|id| _ = left.remove(id));
        if left.is_empty() {
            // Many may have been noted at once, and never again.
            *left = HashSet::new();
        }
        Ok(())
    }

    fn notes(&self) -> MutexGuard<'_, HashSet<NotificationId>> {
        // A panic elsewhere leaves a set that is whole.
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
