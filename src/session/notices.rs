//! Notifications of a live connection: those that waited for the user come first, in order, each once.

use std::collections::HashSet;

use async_stream::try_stream;
use futures_util::Stream;

use super::{
    command::{Answer, Outgoing},
    connection::Connection,
    mailbox::Letter,
    sessions::Sessions,
    watch::Watch,
};
use crate::{
    error::Result,
    model::{
        caller::Caller,
        event::{Draft, Event, Happening},
        ids::NotificationId,
        notification::Notification,
        topic::Topic,
    },
};

/// Notifications that are read from the store at once.
const PAGE: usize = 20;

/// What a connection knows of its user's notifications.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Those that were shown lately.
    shown: HashSet<NotificationId>,
    /// Whether more may wait in the store: it comes first.
    is_waiting: bool,
    /// Whether the store did not answer, and is to be asked again.
    has_failed: bool,
    /// Up to where the store was read.
    after: Option<NotificationId>,
}

impl Notices {
    /// Whatever waits in the store is to be handed over first.
    fn wait(&mut self) {
        self.is_waiting = true;
    }

    /// Whether more is to be handed over.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Whether the viewer has not been shown this; it has from now on.
    pub(super) fn is_new(&mut self, event: &Event) -> bool {
        event.draft.happening.notification().is_none_or(|notification| self.shown.insert(notification.id))
    }

    /// To be called now and then: what is in no mailbox any more is forgotten, and where the store did not answer it is asked again.
    pub(super) fn refresh(&mut self) {
        if !self.is_waiting {
            self.shown = HashSet::new();
            self.is_waiting = std::mem::take(&mut self.has_failed);
        }
    }

    /// Takes a page of the store over; returns what of it is new to the viewer.
    fn turn(&mut self, page: Vec<Notification>) -> Vec<Notification> {
        self.is_waiting = page.len() == PAGE;
        self.after = page.last().map(|last| last.id).or(self.after);
        page.into_iter().filter(|notification| self.shown.insert(notification.id)).collect()
    }
}

impl Connection {
    /// Joins what concerns the viewer or everyone, whatever it subscribes to. What concerns the viewer stands still until what waits
    /// is handed over.
    pub(super) async fn attend(&mut self) {
        let own = Topic::User(self.caller.user_id);
        self.seat.join(&Topic::System, None, 0).await;
        self.seat.join(&own, None, 0).await;
        self.seat.fall_behind(&own, None);
        self.notices.wait();
    }

    /// Hands over the next notifications that wait; after the last comes what happened meanwhile. Where the store does not answer,
    /// they wait on.
    pub(super) async fn hand_over_notices(&mut self) {
        let (notifications, user, after) =
            (self.sessions.notifications.clone(), self.caller.user_id, self.notices.after);
        match self.sessions.run(async move { notifications.waiting(user, after, PAGE).await }).await {
            Ok(page) => {
                let left = self.receipts.held_notifications();
                let mut page = self.notices.turn(page);
                page.retain(|notification| !left.contains(&notification.id));
                self.ready.extend(page.into_iter().map(|notification| {
                    Outgoing::Draft(Draft::apart(Happening::Notification(Box::new(notification))))
                }));
            }
            Err(error) => {
                (self.notices.is_waiting, self.notices.has_failed) = (false, true);
                self.ready.push_back(Outgoing::Answer(None, Answer::Refused(error)));
            }
        }
        if !self.notices.is_waiting {
            self.recovery.add(self.seat.behind().filter(|topic| matches!(topic, Topic::User(_))).cloned());
        }
    }
}

/// What somebody who watches notifications gets.
#[derive(Debug)]
pub enum Watched {
    /// The watch has begun; so many are unread.
    Begun(i64),
    /// A notification.
    Notification(Box<Notification>),
}

/// Watches the caller's notifications: those that wait, then those that are created. The watch does not count as a connection
/// of the caller's; when it must leave something out, it ends.
pub fn watch(sessions: Sessions, caller: Caller) -> impl Stream<Item = Result<Watched>> + Send {
    try_stream! {
        let notifications = sessions.notifications.clone();
        let mut watch = Watch::begin(&sessions, &caller);
        watch.seat.join(&Topic::User(caller.user_id), None, 0).await;
        yield Watched::Begun(notifications.unread(&caller).await?);
        // What is created meanwhile waits in the mailbox.
        let mut notices = Notices::default();
        notices.wait();
        while notices.is_waiting() {
            for notification in notices.turn(notifications.waiting(caller.user_id, notices.after, PAGE).await?) {
                let id = notification.id;
                yield Watched::Notification(Box::new(notification));
                notifications.note(id);
            }
        }
        loop {
            match watch.next().await? {
                Letter::Event(event) => {
                    let created = event.draft.happening.notification();
                    if let Some(notification) = created.filter(|created| !notices.shown.contains(&created.id)) {
                        yield Watched::Notification(Box::new(notification.clone()));
                        notifications.note(notification.id);
                    }
                }
                Letter::Missed(_) | Letter::Overflow => Err(Watch::broken())?,
                _ => {}
            }
        }
    }
}
