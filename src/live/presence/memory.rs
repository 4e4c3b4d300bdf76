//! What users chose, in this process alone.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{CHOICE_TTL, table::Kept, table::Part};
use crate::model::{clock::Timestamp, ids::UserId, presence::Status};

/// Keeps choices that differ from what is taken for granted.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<UserId, (Status, Timestamp)>>);

impl Memory {
    /// Keeps a new choice, if there is one; what is kept of the user then.
    pub(super) fn settle(&self, user: UserId, choice: Option<Status>, now: Timestamp) -> Kept {
        let mut choices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_chosen = choices.get(&user).map(|(choice, _)| *choice).unwrap_or_default();
        let choice = choice.unwrap_or(was_chosen);
        if choice == Status::default() {
            choices.remove(&user);
        } else {
            choices.insert(user, (choice, now));
        }
        Kept { was_chosen, choice, elsewhere: Part::Gone }
    }

    /// Forgets old choices of those who are not here.
    pub(super) fn sweep(&self, now: Timestamp, is_here: impl Fn(UserId) -> bool) {
        let mut choices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        choices.retain(|user, (_, at)| now.since(*at) < CHOICE_TTL || is_here(*user));
    }
}
