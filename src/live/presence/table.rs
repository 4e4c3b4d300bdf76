//! This node's part in presence: whose connections are here, what they view, and what the others were told of it. Pure
//! state: no method waits for anything.

use std::collections::{HashMap, HashSet};

use tokio::sync::oneshot;

use super::{Told, person::Person};
use crate::model::{
    clock::Timestamp,
    ids::{ConversationId, UserId},
    presence::{Status, StatusChange},
};

/// What a user is on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Not there.
    #[default]
    Gone,
    /// There, and silent for a while.
    Idle,
    /// There.
    Active,
}

/// What is to be brought in line with what the others know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A user.
    User(UserId),
    /// A user who views a conversation.
    View(ConversationId, UserId),
}

/// What all nodes keep of a user.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// What the user had chosen.
    pub(super) was_chosen: Status,
    /// What the user has chosen now.
    pub(super) choice: Status,
    /// The most that the user is on other nodes.
    pub(super) elsewhere: Part,
}

/// What the others are to be told of a user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// What the user is here.
    pub(super) part: Part,
    /// What the user chose, when that is not kept yet.
    pub(super) choice: Option<Status>,
}

/// The people of this node.
#[derive(Debug, Default)]
pub(super) struct Table {
    people: HashMap<UserId, Person>,
    /// What has changed since it was settled.
    changed: HashSet<Key>,
    /// What was settled on this node alone.
    apart: HashSet<Key>,
}

/// What a user is, by what was chosen and what the user is on each node.
pub(super) fn status(choice: Status, part: Part) -> Status {
    match (part, choice) {
        (Part::Gone, _) | (_, Status::Offline) => Status::Offline,
        (_, Status::Busy) => Status::Busy,
        (_, Status::Away) | (Part::Idle, Status::Online) => Status::Away,
        (Part::Active, Status::Online) => Status::Online,
    }
}

impl Table {
    /// One more connection of a user's.
    pub(super) fn connect(&mut self, user: UserId, username: &str, now: Timestamp) {
        let person = self.person(user, now);
        person.connections += 1;
        username.clone_into(&mut person.username);
        self.act(user, now);
        self.changed.insert(Key::User(user));
    }

    /// One connection of a user's less.
    pub(super) fn disconnect(&mut self, user: UserId, now: Timestamp) {
        let Some(person) = self.people.get_mut(&user) else { return };
        person.connections = person.connections.saturating_sub(1);
        if person.connections == 0 {
            person.acted_at = now;
            self.changed.insert(Key::User(user));
        }
    }

    /// A user does something.
    pub(super) fn act(&mut self, user: UserId, now: Timestamp) {
        let Some(person) = self.people.get_mut(&user) else { return };
        person.acted_at = now;
        if std::mem::take(&mut person.is_idle) {
            self.changed.insert(Key::User(user));
        }
    }

    /// Whoever has done nothing since then is idle.
    pub(super) fn idle_since(&mut self, then: Timestamp) {
        for (user, person) in &mut self.people {
            if person.connections > 0 && !person.is_idle && person.acted_at <= then {
                person.is_idle = true;
                self.changed.insert(Key::User(*user));
            }
        }
    }

    /// One more connection of a user's views a conversation.
    pub(super) fn enter(&mut self, conversation: ConversationId, user: UserId) {
        let Some(person) = self.people.get_mut(&user) else { return };
        person.views.entry(conversation).or_default().connections += 1;
        self.changed.insert(Key::View(conversation, user));
    }

    /// One connection of a user's less views a conversation.
    pub(super) fn exit(&mut self, conversation: ConversationId, user: UserId) {
        let view = self.people.get_mut(&user).and_then(|person| person.views.get_mut(&conversation));
        if let Some(view) = view {
            view.connections = view.connections.saturating_sub(1);
            self.changed.insert(Key::View(conversation, user));
        }
    }

    /// A user chooses what to be; the chooser is told what follows.
    pub(super) fn choose(&mut self, user: UserId, choice: Status, now: Timestamp) -> oneshot::Receiver<Status> {
        let (chooser, settled) = oneshot::channel();
        let person = self.person(user, now);
        person.new_choice = Some(choice);
        person.choosers.push(chooser);
        self.changed.insert(Key::User(user));
        settled
    }

    /// Another node changed something about a user: if the user is here too, it matters here.
    pub(super) fn reconsider(&mut self, user: UserId) {
        if self.people.contains_key(&user) {
            self.changed.insert(Key::User(user));
        }
    }

    /// Everybody goes: the node ends.
    pub(super) fn close(&mut self) {
        for person in self.people.values_mut() {
            person.connections = 0;
            person.views.values_mut().for_each(|view| view.connections = 0);
        }
        self.recall_all();
    }

    /// What was settled on this node alone is settled with the others.
    pub(super) fn recall(&mut self) {
        self.changed.extend(self.apart.drain());
    }

    /// The others may have taken this node's part out: they are told all of it again.
    pub(super) fn lapse(&mut self) {
        for person in self.people.values_mut() {
            if person.connections > 0 {
                person.told = Part::Gone;
            }
            for view in person.views.values_mut().filter(|view| view.connections > 0) {
                view.told = false;
            }
        }
        self.recall_all();
    }

    fn recall_all(&mut self) {
        self.apart.clear();
        for (user, person) in &self.people {
            self.changed.insert(Key::User(*user));
            self.changed.extend(person.views.keys().map(|conversation| Key::View(*conversation, *user)));
        }
    }

    /// The users that are to be settled. They come first: what they chose decides what may be said of their views.
    pub(super) fn take_users(&mut self) -> Vec<UserId> {
        let users = self.changed.extract_if(|key| matches!(key, Key::User(_)));
        users.filter_map(|key| if let Key::User(user) = key { Some(user) } else { None }).collect()
    }

    /// The views that are to be settled.
    pub(super) fn take_views(&mut self) -> Vec<(ConversationId, UserId)> {
        let views = self.changed.extract_if(|key| matches!(key, Key::View(..)));
        views
            .filter_map(|key| if let Key::View(conversation, user) = key { Some((conversation, user)) } else { None })
            .collect()
    }

    /// Whether something is to be settled.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Something could not be settled yet.
    pub(super) fn put_back(&mut self, key: Key) {
        self.apart.insert(key);
    }

    /// What the others are to know of a user.
    pub(super) fn wish(&self, user: UserId) -> Option<Wish> {
        self.people.get(&user).map(|person| Wish { part: person.part(), choice: person.new_choice })
    }

    /// A user was settled with the others: what viewers are to be told.
    pub(super) fn settle(&mut self, user: UserId, wish: Wish, kept: Kept, now: Timestamp) -> Option<Told> {
        let was_apart = self.apart.remove(&Key::User(user));
        let person = self.people.get_mut(&user)?;
        let before = status(kept.was_chosen, kept.elsewhere.max(person.told));
        let after = status(kept.choice, kept.elsewhere.max(wish.part));
        person.told = wish.part;
        if wish.choice == person.new_choice {
            person.new_choice = None;
        }
        let is_news = before != after || was_apart && person.shown != after;
        self.conclude(user, wish.part, kept.choice, after, now).filter(|_| is_news)
    }

    /// A user was settled on this node alone: what its viewers are to be told.
    pub(super) fn settle_apart(&mut self, user: UserId, wish: Wish, now: Timestamp) -> Option<Told> {
        let person = self.people.get(&user)?;
        let choice = wish.choice.or(person.choice).unwrap_or_default();
        let (before, after) = (person.shown, status(choice, wish.part));
        // Of somebody whom nobody else knows there is nothing to settle later.
        if person.told != Part::Gone || wish.part != Part::Gone || wish.choice.is_some() {
            self.apart.insert(Key::User(user));
        } else {
            self.apart.remove(&Key::User(user));
        }
        self.conclude(user, wish.part, choice, after, now).filter(|_| before != after)
    }

    fn conclude(&mut self, user: UserId, part: Part, choice: Status, after: Status, now: Timestamp) -> Option<Told> {
        let person = self.people.get_mut(&user)?;
        person.shown = after;
        let was_hidden = person.is_hidden();
        person.choice = Some(choice);
        for chooser in person.choosers.drain(..) {
            // Who does not wait any longer need not know.
            let _ = chooser.send(after);
        }
        if was_hidden != person.is_hidden() {
            self.changed.extend(person.views.keys().map(|conversation| Key::View(*conversation, user)));
        }
        let seen = if part == Part::Gone { now } else { person.acted_at };
        self.forget(user);
        Some(Told::Status(StatusChange { user_id: user, status: after, last_seen: Some(seen) }))
    }

    /// Whether the others are to know that a user views a conversation; `None` when there is nothing to tell.
    pub(super) fn wish_of_view(&self, conversation: ConversationId, user: UserId) -> Option<bool> {
        let person = self.people.get(&user)?;
        Some(person.views.get(&conversation)?.connections > 0 && !person.is_hidden())
    }

    /// A view was settled with the others, some of whom have the user too or not: what viewers are to be told.
    pub(super) fn settle_view(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        wish: bool,
        is_elsewhere: bool,
    ) -> Option<Told> {
        let was_apart = self.apart.remove(&Key::View(conversation, user));
        let person = self.people.get_mut(&user)?;
        let view = person.views.get_mut(&conversation)?;
        let (before, after) = (view.told || is_elsewhere, wish || is_elsewhere);
        let is_news = before != after || was_apart && view.shown != after;
        (view.told, view.shown) = (wish, after);
        let told = person.viewing(conversation, user, after);
        self.forget(user);
        is_news.then_some(told)
    }

    /// A view was settled on this node alone: what its viewers are to be told.
    pub(super) fn settle_view_apart(&mut self, conversation: ConversationId, user: UserId, wish: bool) -> Option<Told> {
        let person = self.people.get_mut(&user)?;
        let view = person.views.get_mut(&conversation)?;
        let before = std::mem::replace(&mut view.shown, wish);
        if view.told || wish {
            self.apart.insert(Key::View(conversation, user));
        } else {
            self.apart.remove(&Key::View(conversation, user));
        }
        let told = person.viewing(conversation, user, wish);
        self.forget(user);
        (before != wish).then_some(told)
    }

    /// What a user is by what this node knows.
    pub(super) fn status(&self, user: UserId) -> Status {
        let person = self.people.get(&user);
        person.map_or(Status::Offline, |person| status(person.choice.unwrap_or_default(), person.part()))
    }

    /// Whether a user has a connection here.
    pub(super) fn is_connected(&self, user: UserId) -> bool {
        self.people.get(&user).is_some_and(|person| person.connections > 0)
    }

    /// Whoever is here, does something now and then, and may be seen.
    pub(super) fn seen(&self) -> Vec<UserId> {
        let people = self.people.iter();
        let seen = people.filter(|(_, person)| person.part() == Part::Active && !person.is_hidden());
        seen.map(|(user, _)| *user).collect()
    }

    /// How many users are known here, and how many views of conversations.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.people.len(), self.people.values().map(|person| person.views.len()).sum())
    }

    /// Keeps nothing of whom nobody needs to know about.
    fn forget(&mut self, user: UserId) {
        let Some(person) = self.people.get_mut(&user) else { return };
        let apart = &self.apart;
        person.views.retain(|conversation, view| {
            view.connections > 0 || view.told || apart.contains(&Key::View(*conversation, user))
        });
        let is_needed = person.connections > 0
            || person.told != Part::Gone
            || person.new_choice.is_some()
            || !person.views.is_empty()
            || apart.contains(&Key::User(user));
        if !is_needed {
            self.people.remove(&user);
        }
    }

    fn person(&mut self, user: UserId, now: Timestamp) -> &mut Person {
        self.people.entry(user).or_insert_with(|| Person::new(now))
    }
}
