//! The viewers of one topic. Most topics have one viewer, and each connection is in several: a sorted row costs least.

use std::sync::Arc;

use super::mailbox::Mailbox;
use crate::model::ids::ConnectionId;

/// Viewers by their ids, each with its mailbox. Later ones have later ids, so most come in at the end.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Vec<(ConnectionId, Arc<Mailbox>)>);

impl Subscribers {
    /// A viewer more, unless it is there.
    pub(super) fn insert(&mut self, id: ConnectionId, mailbox: Arc<Mailbox>) {
        if let Err(at) = self.find(id) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, (id, mailbox));
        }
    }

    /// A viewer less.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        if let Ok(at) = self.find(id) {
            self.0.remove(at);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Who they are.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// Their mailboxes.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.0.iter().map(|(_, mailbox)| mailbox.as_ref())
    }

    fn find(&self, id: ConnectionId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id)
    }
}
