//! Typing: who writes where on this node, until they stop, send, leave, or fall silent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::lock;
use crate::{
    live::bus::{Bus, News},
    model::{
        event::{Draft, Happening},
        ids::{ConversationId, UserId},
        topic::Topic,
    },
};

/// People who write at the same time on one node at most; one more is not told of.
const TYPISTS: usize = 10_000;
/// How long the task sleeps when nobody writes.
const QUIET: Duration = Duration::from_secs(3600);

/// Knows who is typing. Cheap to clone.
///
/// Each change is told to the conversation's viewers, on every node, in the order in which it was made.
#[derive(Clone, Debug)]
pub struct Typing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    timeout: Duration,
    typists: Mutex<HashMap<(ConversationId, UserId), Typist>>,
    changed: Notify,
}

#[derive(Debug)]
struct Typist {
    username: String,
    until: Instant,
    is_told: bool,
}

impl Typing {
    /// Nobody writes yet. Whoever does not say so again within `timeout` has stopped.
    pub fn new(timeout: Duration) -> Self {
        Self(Arc::new(Inner { timeout, typists: Mutex::default(), changed: Notify::new() }))
    }

    /// Somebody writes, or still does.
    pub fn start(&self, conversation: ConversationId, user: UserId, username: &str) {
        let until = Instant::now() + self.0.timeout;
        let mut typists = self.typists();
        if let Some(typist) = typists.get_mut(&(conversation, user)) {
            typist.until = until;
            return;
        }
        if typists.len() >= TYPISTS {
            return;
        }
        typists.insert((conversation, user), Typist { username: username.to_owned(), until, is_told: false });
        drop(typists);
        self.0.changed.notify_one();
    }

    /// Somebody has stopped.
    pub fn stop(&self, conversation: ConversationId, user: UserId) {
        if let Some(typist) = self.typists().get_mut(&(conversation, user)) {
            typist.until = Instant::now();
            self.0.changed.notify_one();
        }
    }

    /// Learns what is published: who has sent a message has stopped writing it.
    pub fn learn(&self, news: News<'_>) {
        if let News::Event(event) = news
            && let Happening::Message(message) = &event.draft.happening
            && let Some(author) = message.author_id
        {
            self.stop(message.conversation_id, author);
        }
    }

    /// Tells who begins and who stops, for as long as it is polled.
    pub async fn keep(&self, bus: Bus) {
        loop {
            let next = self.typists().values().map(|typist| typist.until).min();
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = sleep_until(next.unwrap_or_else(|| Instant::now() + QUIET)) => {}
            }
            for (conversation_id, happening) in self.news() {
                let draft = Draft::within(conversation_id, None, happening);
                bus.whisper(Topic::Conversation(conversation_id), draft).await;
            }
        }
    }

    /// What has changed since it was told.
    fn news(&self) -> Vec<(ConversationId, Happening)> {
        let (now, mut news) = (Instant::now(), Vec::new());
        self.typists().retain(|(conversation, user), typist| {
            let is_typing = typist.until > now;
            if std::mem::replace(&mut typist.is_told, is_typing) != is_typing {
                let username = typist.username.clone();
                news.push((*conversation, Happening::Typing { user_id: *user, username, is_typing }));
            }
            is_typing
        });
        news
    }

    fn typists(&self) -> MutexGuard<'_, HashMap<(ConversationId, UserId), Typist>> {
        lock(&self.0.typists)
    }
}
