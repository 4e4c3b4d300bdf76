//! Notifications of a live connection: those that waited for the user come first, in order, each once.

use std::{collections::HashSet, sync::Arc};

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
/// Notifications that are kept for afterwards while others wait.
const MAX_LATER: usize = 100;

/// What a connection knows of its user's notifications.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Those that were handed over.
    handed: HashSet<NotificationId>,
    /// Whether more may wait in the store: it comes first.
    is_waiting: bool,
    /// Up to where the store was read.
    after: Option<NotificationId>,
    /// What came live meanwhile, for afterwards.
    later: Vec<Arc<Event>>,
}

impl Notices {
    /// Whatever waits in the store is to be handed over first.
    pub(super) fn wait(&mut self) {
        self.is_waiting = true;
    }

    /// Whether more is to be handed over.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Whether a notification that comes live is not to be shown now: it was, or others wait before it.
    pub(super) fn holds_back(&mut self, event: &Arc<Event>) -> bool {
        let Some(notification) = event.draft.happening.notification() else { return false };
        // Beyond the bound they are left to the store.
        if self.is_waiting && self.later.len() < MAX_LATER {
            self.later.push(event.clone());
        }
        self.is_waiting || self.handed.contains(&notification.id)
    }

    /// Whether a notification of the history is new to the viewer, who has it from now on.
    pub(super) fn take(&mut self, event: &Event) -> bool {
        event.draft.happening.notification().is_none_or(|notification| self.handed.insert(notification.id))
    }

    /// Takes a page of the store over; returns what of it is new to the viewer.
    fn turn(&mut self, page: Vec<Notification>) -> Vec<Notification> {
        self.is_waiting = page.len() == PAGE;
        self.after = page.last().map(|last| last.id).or(self.after);
        page.into_iter().filter(|notification| self.handed.insert(notification.id)).collect()
    }

    /// What came live while others waited, once none do any more.
    fn release(&mut self) -> Vec<Arc<Event>> {
        if self.is_waiting {
            return Vec::new();
        }
        let later = std::mem::take(&mut self.later);
        later.into_iter().filter(|event| self.take(event)).collect()
    }
}

impl Connection {
    /// Joins what concerns the viewer or everyone, whatever it subscribes to, and hands over what waits.
    pub(super) async fn attend(&mut self) {
        for topic in [Topic::User(self.caller.user_id), Topic::System] {
            self.seat.join(&topic, None, 0).await;
        }
        self.notices.wait();
    }

    /// Hands over the next notifications that wait, and after the last what came live meanwhile. Where the store does not answer,
    /// they wait on, for the next time.
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
                self.notices.is_waiting = false;
                self.ready.push_back(Outgoing::Answer(None, Answer::Refused(error)));
            }
        }
        self.ready.extend(self.notices.release().into_iter().map(Outgoing::Event));
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
/// of the caller's.
pub fn watch(sessions: Sessions, caller: Caller) -> impl Stream<Item = Result<Watched>> + Send {
    try_stream! {
        let notifications = sessions.notifications.clone();
        let mut watch = Watch::begin(&sessions, &caller);
        watch.seat.join(&Topic::User(caller.user_id), None, 0).await;
        yield Watched::Begun(notifications.unread(&caller).await?);
        let mut notices = Notices::default();
        notices.wait();
        loop {
            while notices.is_waiting() {
                for notification in notices.turn(notifications.waiting(caller.user_id, notices.after, PAGE).await?) {
                    let id = notification.id;
                    yield Watched::Notification(Box::new(notification));
                    notifications.note(id);
                }
            }
            for event in notices.release() {
                if let Some(notification) = event.draft.happening.notification() {
                    yield Watched::Notification(Box::new(notification.clone()));
                    notifications.note(notification.id);
                }
            }
            match watch.next().await? {
                Letter::Event(event) => {
                    if let Some(notification) = event.draft.happening.notification().filter(|_| !notices.holds_back(&event)) {
                        yield Watched::Notification(Box::new(notification.clone()));
                        notifications.note(notification.id);
                    }
                }
                // It is in the store.
                Letter::Missed(_) | Letter::Overflow => notices.wait(),
                _ => {}
            }
        }
    }
}
