//! The live connections of all nodes: seen by their owners and by admins, who may also end them.

use std::collections::{BTreeMap, HashSet};

use super::sessions::Sessions;
use crate::{
    error::{Error, Result},
    live::signal::Signal,
    model::{
        audit::{Act, Details, details},
        connection::Connection,
        ids::{ConnectionId, UserId},
        page::{Page, PageRequest},
    },
    service::admins::Admins,
};

impl Sessions {
    /// The live connections of this node, everybody's or one user's.
    pub(super) fn connections_here(&self, user: Option<UserId>) -> Vec<Connection> {
        let now = self.clock.now();
        self.hub.connections_of(user, |id, user_id, live, condition| Connection {
            id,
            user_id,
            node: self.node.clone(),
            transport: Some(live.transport),
            since: Some(live.since),
            score: condition.score,
            status: condition.status,
            latency: condition.latency,
            error_rate: condition.error_rate,
            last_activity: now.earlier(condition.silence),
        })
    }

    /// A user's live connections, on all nodes.
    pub async fn connections_of(&self, user: UserId) -> Vec<Connection> {
        let mut connections = self.connections_here(Some(user));
        connections.extend(self.reports.connections_of(user).await);
        connections
    }

    /// The users with live connections, on all nodes.
    pub async fn connected_users(&self) -> HashSet<UserId> {
        let mut users = self.reports.users().await;
        users.extend(self.connections_here(None).into_iter().map(|connection| connection.user_id));
        users
    }

    /// Everybody's or one user's live connections on all nodes, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the page's token is none of this list.
    pub async fn list_connections(&self, user: Option<UserId>, page: &PageRequest) -> Result<Page<Connection>> {
        let after: Option<ConnectionId> = page.after.as_deref().map(str::parse).transpose().map_err(foreign)?;
        // However many are looked at, no more are kept than the page takes.
        let mut found = BTreeMap::new();
        let most = usize::from(page.size) + 1;
        let mut take = |connection: Connection| {
            if after.is_none_or(|after| connection.id < after) {
                found.insert(connection.id, connection);
            }
            if found.len() > most {
                found.pop_first();
            }
        };
        self.connections_here(user).into_iter().for_each(&mut take);
        match user {
            Some(user) => self.reports.connections_of(user).await.into_iter().for_each(&mut take),
            None => self.reports.each_connection(&mut take).await,
        }
        Ok(Page::cut(found.into_values().rev().collect(), page, |connection| connection.id.to_string()))
    }

    /// A live connection of another node, as that told last.
    pub(super) async fn connection_elsewhere(&self, id: ConnectionId) -> Option<Connection> {
        let mut found = None;
        let take = |connection: Connection| {
            if connection.id == id {
                found = Some(connection);
            }
        };
        self.reports.each_connection(take).await;
        found
    }

    /// Ends a live connection, on whatever node, for an admin.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no node tells of it.
    pub async fn close_connection(&self, admins: &Admins, act: &Act, id: ConnectionId) -> Result<()> {
        let mut found = self.connections_here(None).into_iter().find(|connection| connection.id == id);
        if found.is_none() {
            found = self.connection_elsewhere(id).await;
        }
        admins.note(act, found.ok_or(Error::NotFound("connection")), owned).await?;
        self.signals.send(Signal::ConnectionClosed(id));
        Ok(())
    }
}

/// What the audit log tells of a connection.
fn owned(connection: &Connection) -> Details {
    details([("user_id", &connection.user_id.to_string()), ("node", &connection.node)])
}

fn foreign<E>(_: E) -> Error {
    Error::invalid("page_token", "is not a token of this list")
}
