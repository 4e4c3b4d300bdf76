//! Accounts, services and a listener with connections; all that was tried, and whether the log, the answers and what is
//! agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use colloquy::proto::{
    Account, AuditEntry, BroadcastRequest, ListAuditLogRequest, ListConnectionsRequest, ListServiceAccountsRequest,
    ListUsersRequest, SubscribeEventsRequest, UserRole, server_frame::Payload, streamed_event::Event,
};
use prost_types::value::Kind;
use rand::{Rng as _, rngs::StdRng};
use tonic::{Code, Status, Streaming};

use super::{
    acts::{Act, BROADCAST, CLOSE, Done},
    replay::{State, States},
};
use crate::harness::{Actor, Native, PASSWORD, PATIENCE, Server, reason, within};

/// Accounts besides the first admin's.
const USERS: usize = 4;
/// Connections that are there at first.
const CONNECTIONS: usize = 16;
/// What no target has.
const NOBODY: &str = "0199a000-0000-7000-8000-000000000000";
/// What is broadcast after everything else.
const LAST: &str = "that was all";

/// What somebody heard who is told what everyone is.
type Heard = Arc<Mutex<Vec<String>>>;

/// An act that was tried: the request by which it was, and how the admin was told that it ended.
struct Tried {
    request_id: String,
    act: Act,
    answer: Result<Done, Status>,
}

/// Accounts, connections, and all that was tried.
pub(super) struct World {
    pub(super) server: Server,
    /// By name.
    ids: BTreeMap<String, String>,
    /// Who was signed in last, by name.
    actors: BTreeMap<String, Actor>,
    tried: Vec<Tried>,
    /// How many acts were asked of nodes that are gone.
    gone: usize,
    /// Somebody to whom nothing is done.
    listener: Actor,
    /// The listener's connections to this node, some of which have ended.
    connections: BTreeMap<String, Native>,
    heard: Heard,
}

impl World {
    pub(super) async fn new(server: Server) -> Self {
        let mut actors = BTreeMap::from([("root".to_owned(), server.admin().await)]);
        for number in 0..USERS {
            let name = format!("user{number}");
            actors.insert(name.clone(), server.register(&name).await);
        }
        let mut ids = BTreeMap::new();
        for (name, actor) in &actors {
            ids.insert(name.clone(), actor.me().await.unwrap().id);
        }
        let listener = server.register("listener").await;
        let (tried, connections, heard) = Default::default();
        let mut world = Self { server, ids, actors, tried, gone: 0, listener, connections, heard };
        world.attend().await;
        world
    }

    /// Goes on with the node that has come in the place of one that is gone.
    pub(super) async fn move_to(&mut self, server: Server) {
        self.actors.values_mut().for_each(|actor| *actor = actor.at(&server));
        self.listener = self.listener.at(&server);
        self.server = server;
        self.gone = self.tried.len();
        self.attend().await;
    }

    /// The listener hears whatever everyone is told from now on, and connects.
    async fn attend(&mut self) {
        listen(&self.listener, self.heard.clone()).await;
        self.connections.clear();
        for _ in 0..CONNECTIONS {
            let mut native = Native::open(&self.listener, None).await;
            let established = native.find(|payload| match payload {
                Payload::ConnectionEstablished(told) => Some(told.connection_id),
                _ => None,
            });
            let id = established.await;
            self.connections.insert(id, native);
        }
    }

    /// How many acts were tried.
    pub(super) fn tried(&self) -> usize {
        self.tried.len()
    }

    /// How many acts failed with this code.
    pub(super) fn failed(&self, code: Code) -> usize {
        self.tried.iter().filter(|tried| tried.answer.as_ref().is_err_and(|status| status.code() == code)).count()
    }

    /// Whoever has this number, signed in anew where the last session is over and another may begin.
    async fn actor(&mut self, number: usize) -> Actor {
        let name = self.ids.keys().nth(number % self.ids.len()).unwrap().clone();
        let actor = self.actors[&name].clone();
        if actor.me().await.is_err_and(|status| status.code() == Code::Unauthenticated)
            && let Ok(again) = self.server.visitor().login(&name, PASSWORD).await
        {
            self.actors.insert(name, again.clone());
            return again;
        }
        actor
    }

    /// Two random acts at once, each by somebody who may be an admin or not, on what may be there or not.
    pub(super) async fn act(&mut self, random: &mut StdRng) {
        let users: Vec<_> = self.ids.values().cloned().chain([NOBODY.to_owned()]).collect();
        let made = self.keys().map(|(id, _)| id.to_owned());
        let services: Vec<_> = made.chain([NOBODY.to_owned()]).collect();
        let connections: Vec<_> = self.connections.keys().cloned().chain([NOBODY.to_owned()]).collect();
        let mut acts = Vec::new();
        for _ in 0..2 {
            let actor = self.actor(random.random_range(0..=USERS)).await;
            let request_id = format!("act-{}-{}", self.tried.len(), acts.len());
            acts.push((actor, Act::random(random, &users, &services, &connections), request_id));
        }
        let tried = acts.into_iter().map(async |(actor, act, request_id)| {
            let answer = act.ask(&actor, &request_id).await;
            Tried { request_id, act, answer }
        });
        self.tried.extend(futures_util::future::join_all(tried).await);
    }

    /// The service accounts that were made, with their keys; some have ended.
    fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tried.iter().filter_map(|tried| {
            let done = tried.answer.as_ref().ok()?;
            Some((done.target.strip_prefix("service_account:")?, done.api_key.as_deref()?))
        })
    }

    /// Somebody who can administer: the rules leave at least one.
    async fn admin(&mut self) -> Actor {
        for number in 0..self.ids.len() {
            let actor = self.actor(number).await;
            if actor.admin().list_users(ListUsersRequest::default()).await.is_ok() {
                return actor;
            }
        }
        panic!("nobody is left who can administer")
    }

    /// Compares what the log tells, from the first entry on, with what was answered and with what is.
    pub(super) async fn check(mut self) {
        let admin = self.admin().await;
        let entries = entries(&admin).await;
        let new = |(name, id): (&String, &String)| (id.clone(), State { is_admin: name == "root", is_active: true });
        let mut states = States { users: self.ids.iter().map(new).collect(), services: BTreeMap::new() };
        entries.iter().for_each(|entry| states.replay(entry));
        assert_eq!(states, self.states(&admin).await, "the log tells of something else than there is");
        for (id, key) in self.keys() {
            let is_good = admin.with_token(key).me().await.is_ok();
            assert_eq!(is_good, states.services.contains_key(id), "the key of {id}");
        }
        self.check_answers(&entries);
        self.check_closed(&admin, &entries).await;
        self.check_heard(&admin, &entries).await;
    }

    /// What is.
    async fn states(&self, admin: &Actor) -> States {
        let users = admin.admin().list_users(ListUsersRequest { page_size: 100, ..Default::default() }).await;
        let state = |user: Account| {
            let (is_admin, is_active) = (user.role() == UserRole::Admin, user.is_active);
            assert_eq!(user.is_admin, is_admin);
            (user.id, State { is_admin, is_active })
        };
        let users = users.unwrap().into_inner().users.into_iter().map(state);
        let is_one = |id: &String| self.ids.values().any(|known| known == id);
        let request = ListServiceAccountsRequest { page_size: 100, ..Default::default() };
        let services = admin.admin().list_service_accounts(request).await.unwrap().into_inner().service_accounts;
        States {
            users: users.filter(|(id, _)| is_one(id)).collect(),
            services: services.into_iter().map(|service| (service.id, service.name)).collect(),
        }
    }

    /// Whatever an admin was told stands in the log, once; what nobody could tell stands there once or not at all.
    fn check_answers(&self, entries: &[AuditEntry]) {
        let mut known = BTreeSet::new();
        for (number, Tried { request_id, act, answer }) in self.tried.iter().enumerate() {
            let told: Vec<_> = entries.iter().filter(|entry| entry.request_id == *request_id).collect();
            let results: Vec<&str> = told.iter().map(|entry| entry.result.as_str()).collect();
            let target = answer.as_ref().ok().map(|done| done.target.clone()).or_else(|| act.target());
            let is_whole = |entry: &&AuditEntry| {
                entry.action == act.action && target.as_ref().is_none_or(|target| entry.target == *target)
            };
            assert!(told.iter().all(is_whole), "{told:?}");
            match answer {
                Ok(_) => assert_eq!(results, ["ok"], "{request_id}"),
                Err(status) => match status.code() {
                    Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists | Code::InvalidArgument => {
                        assert_eq!(results, [reason::<()>(Err(status.clone())).1], "{request_id}");
                    }
                    // Refused by the transaction, when somebody else has just demoted the caller; otherwise at the door.
                    Code::PermissionDenied => {
                        assert!(results.is_empty() || results == ["PERMISSION_DENIED"], "{results:?}");
                    }
                    Code::Unauthenticated => assert!(results.is_empty(), "{results:?}"),
                    Code::Unavailable | Code::Internal => assert!(results.len() <= 1, "{results:?}"),
                    // The node was gone before it told.
                    Code::Unknown | Code::Cancelled if number < self.gone => {
                        assert!(results.len() <= 1, "{results:?}");
                    }
                    _ => panic!("{status:?}"),
                },
            }
            known.insert(request_id.as_str());
        }
        assert!(entries.iter().all(|entry| known.contains(entry.request_id.as_str())), "nobody asked for it");
    }

    /// No connection is gone that the log does not tell was closed; and what an admin was told is closed is gone.
    async fn check_closed(&self, admin: &Actor, entries: &[AuditEntry]) {
        let mut closed = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.action == CLOSE) {
            let id = entry.target.strip_prefix("connection:").unwrap();
            match &*entry.result {
                "ok" => {
                    assert_ne!(id, NOBODY, "{entry:?}");
                    closed.insert(id);
                }
                "NOT_FOUND" => assert!(id == NOBODY || closed.contains(id), "{entry:?}"),
                _ => {}
            }
        }
        let told = self.tried.iter().filter_map(|tried| {
            let id = tried.answer.as_ref().ok()?.target.strip_prefix("connection:")?;
            self.connections.contains_key(id).then_some(id)
        });
        let told: BTreeSet<&str> = told.collect();
        let are_gone = async || live(admin).await.iter().all(|id| !told.contains(id.as_str()));
        within(PATIENCE, "what was closed is gone", are_gone).await;
        let live = live(admin).await;
        let mut gone = self.connections.keys().filter(|id| !live.contains(*id));
        assert!(gone.all(|id| closed.contains(id.as_str())), "{closed:?} are closed, {live:?} are there");
    }

    /// Nothing was heard that does not stand in the log; and what an admin was told that everyone is told was heard.
    /// What a node was about to tell may be gone with it.
    async fn check_heard(&self, admin: &Actor, entries: &[AuditEntry]) {
        let last = BroadcastRequest { message: LAST.to_owned(), level: String::new() };
        admin.admin().broadcast(last).await.unwrap();
        let heard = || self.heard.lock().unwrap().clone();
        within(PATIENCE, "the last word is heard", async || heard().iter().any(|text| text == LAST)).await;
        let is_told = |entry: &&AuditEntry| entry.action == BROADCAST && entry.result == "ok";
        let told: BTreeSet<_> = entries.iter().filter(is_told).map(|entry| entry.request_id.clone()).collect();
        let heard: BTreeSet<_> = heard().into_iter().filter(|text| text != LAST).collect();
        assert!(heard.is_subset(&told), "{heard:?} is heard, {told:?} is in the log");
        let is_done = |tried: &&Tried| tried.act.action == BROADCAST && tried.answer.is_ok();
        let missing = self.tried[self.gone..].iter().filter(is_done).find(|tried| !heard.contains(&tried.request_id));
        assert!(missing.is_none(), "{:?} was not heard", missing.map(|tried| &tried.request_id));
    }
}

/// Hears whatever everyone is told, from now on.
async fn listen(actor: &Actor, heard: Heard) {
    let request = SubscribeEventsRequest { events: vec!["system.notification".to_owned()] };
    let mut stream: Streaming<_> = actor.events().subscribe_events(request).await.unwrap().into_inner();
    tokio::spawn(async move {
        while let Ok(Some(told)) = stream.message().await {
            let Some(Event::Published(event)) = told.event.unwrap().event else { continue };
            if let Some(Kind::StringValue(text)) = event.data.unwrap().fields.remove("message").unwrap().kind {
                heard.lock().unwrap().push(text);
            }
        }
    });
}

/// The connections that are there.
async fn live(admin: &Actor) -> BTreeSet<String> {
    let request = ListConnectionsRequest { page_size: 100, ..Default::default() };
    let found = admin.admin().list_connections(request).await.unwrap().into_inner().connections;
    found.into_iter().map(|connection| connection.connection_id).collect()
}

/// All entries of the log but of how the first admin was made, the oldest first.
async fn entries(admin: &Actor) -> Vec<AuditEntry> {
    let (mut entries, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditLogRequest { page_size: 100, page_token, ..Default::default() };
        let page = admin.admin().list_audit_log(request).await.unwrap().into_inner();
        entries.extend(page.audit_log);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            entries.reverse();
            assert_eq!(entries.remove(0).action, "admin.create");
            return entries;
        }
    }
}
