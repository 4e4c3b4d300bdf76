//! Somebody of this node: connections, what was chosen, what is viewed, and what others know of it.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{Told, table::Part};
use crate::model::{
    clock::Timestamp,
    ids::{ConversationId, UserId},
    presence::Status,
};

/// Somebody who is, or was lately, on this node.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) username: String,
    pub(super) connections: usize,
    pub(super) acted_at: Timestamp,
    pub(super) is_idle: bool,
    /// Known once the user was settled for the first time.
    pub(super) choice: Option<Status>,
    pub(super) new_choice: Option<Status>,
    /// Wait for the status that follows from the new choice.
    pub(super) choosers: Vec<oneshot::Sender<Status>>,
    /// What the others know of this node.
    pub(super) told: Part,
    /// What viewers were told last.
    pub(super) shown: Status,
    pub(super) views: HashMap<ConversationId, View>,
}

/// A conversation that the user views here.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) connections: usize,
    /// Whether the others know of this node.
    pub(super) told: bool,
    /// Whether viewers were told that the user is here.
    pub(super) shown: bool,
}

impl Person {
    /// Somebody of whom nothing is known yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            username: String::new(),
            connections: 0,
            acted_at: now,
            is_idle: false,
            choice: None,
            new_choice: None,
            choosers: Vec::new(),
            told: Part::Gone,
            shown: Status::Offline,
            views: HashMap::new(),
        }
    }

    /// What the user is here.
    pub(super) fn part(&self) -> Part {
        match (self.connections, self.is_idle) {
            (0, _) => Part::Gone,
            (_, true) => Part::Idle,
            (_, false) => Part::Active,
        }
    }

    /// Whether the user is not to be seen, or it is not known yet.
    pub(super) fn is_hidden(&self) -> bool {
        self.choice.is_none_or(|choice| choice == Status::Offline)
    }

    /// What viewers are told of one who has come to a conversation, or left it.
    pub(super) fn viewing(&self, conversation_id: ConversationId, user_id: UserId, is_viewing: bool) -> Told {
        let username = Some(self.username.clone());
        if is_viewing {
            Told::Joined { conversation_id, user_id, username }
        } else {
            Told::Left { conversation_id, user_id, username }
        }
    }
}
