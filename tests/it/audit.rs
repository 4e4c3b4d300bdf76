//! The audit log and what it tells of never disagree, whatever happens to the database in between. What is done follows from a
//! seed, which a failure tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use colloquy::proto::{
    Account, ActivateUserRequest, AuditEntry, DeactivateUserRequest, DemoteUserRequest, ListAuditLogRequest,
    ListUsersRequest, PromoteUserRequest, UserRole,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tonic::{Code, Request, Status};

use crate::harness::{ADMIN, Actor, PASSWORD, PATIENCE, PostgresServer, Server, reason, within};

/// Acts of a run in which nothing fails but what the rules refuse.
const ACTS: usize = 120;
/// Acts between two deaths of the database.
const ACTS_BETWEEN: usize = 12;
/// Deaths of the database.
const DEATHS: usize = 4;
/// People sign in as often as they like.
const OPEN: [(&str, &str); 2] =
    [("sign_in_failures_per_account", "1000000"), ("sign_in_failures_per_address", "1000000")];
/// How long two acts, and looking up who tries them, may take without a database.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
/// Accounts besides the first admin's.
const USERS: usize = 4;
/// Names a seed to repeat.
const SEED: &str = "COLLOQUY_TEST_SEED";
/// What no target has.
const NOBODY: &str = "0199a000-0000-7000-8000-000000000000";

const PROMOTE: &str = "user.promote";
const DEMOTE: &str = "user.demote";
const DEACTIVATE: &str = "user.deactivate";
const ACTIVATE: &str = "user.activate";

/// What an account is, as far as admins change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    is_admin: bool,
    is_active: bool,
}

impl State {
    fn can_administer(self) -> bool {
        self.is_admin && self.is_active
    }
}

/// An act that was tried: the request by which it was, and how the admin was told that it ended.
struct Tried {
    request_id: String,
    action: &'static str,
    target: String,
    answer: Result<(), Status>,
}

/// Accounts, and all that was tried.
struct World {
    server: Server,
    /// By name.
    ids: BTreeMap<String, String>,
    /// Who was signed in last, by name.
    actors: BTreeMap<String, Actor>,
    tried: Vec<Tried>,
}

impl World {
    async fn new(server: Server) -> Self {
        let mut actors = BTreeMap::from([("root".to_owned(), server.admin().await)]);
        for number in 0..USERS {
            let name = format!("user{number}");
            actors.insert(name.clone(), server.register(&name).await);
        }
        let mut ids = BTreeMap::new();
        for (name, actor) in &actors {
            ids.insert(name.clone(), actor.me().await.unwrap().id);
        }
        Self { server, ids, actors, tried: Vec::new() }
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

    /// Two random acts at once, each by somebody who may be an admin or not, on somebody who may be there or not.
    async fn act(&mut self, random: &mut StdRng) {
        let mut acts = Vec::new();
        for _ in 0..2 {
            let actor = self.actor(random.random_range(0..=USERS)).await;
            let target = self.ids.values().nth(random.random_range(0..=USERS + 1)).cloned();
            let action = [PROMOTE, DEMOTE, DEMOTE, DEACTIVATE, ACTIVATE, ACTIVATE][random.random_range(0..6)];
            let request_id = format!("act-{}-{}", self.tried.len(), acts.len());
            acts.push((actor, action, target.unwrap_or_else(|| NOBODY.to_owned()), request_id));
        }
        let tried = acts.into_iter().map(async |(actor, action, target, request_id)| {
            let answer = ask(&actor, action, &target, &request_id).await;
            Tried { request_id, action, target, answer }
        });
        self.tried.extend(futures_util::future::join_all(tried).await);
    }

    /// How many acts failed with this code.
    fn failed(&self, code: Code) -> usize {
        self.tried.iter().filter(|tried| tried.answer.as_ref().is_err_and(|status| status.code() == code)).count()
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
    async fn check(mut self) {
        let admin = self.admin().await;
        let names: BTreeMap<_, _> = self.ids.iter().map(|(name, id)| (id.clone(), name.clone())).collect();
        let new = |name: &String| State { is_admin: name == "root", is_active: true };
        let mut states: BTreeMap<String, State> = names.iter().map(|(id, name)| (id.clone(), new(name))).collect();
        let entries = entries(&admin).await;
        for entry in &entries {
            replay(&mut states, entry);
        }
        let users = admin.admin().list_users(ListUsersRequest { page_size: 100, ..Default::default() }).await;
        let state = |user: Account| {
            let (is_admin, is_active) = (user.role() == UserRole::Admin, user.is_active);
            assert_eq!(user.is_admin, is_admin);
            (user.id, State { is_admin, is_active })
        };
        let now: BTreeMap<_, _> = users.unwrap().into_inner().users.into_iter().map(state).collect();
        assert_eq!(states, now, "the log tells of something else than there is");
        self.check_answers(&entries);
    }

    /// Whatever an admin was told stands in the log, once; what nobody could tell stands there once or not at all.
    fn check_answers(&self, entries: &[AuditEntry]) {
        let mut known = BTreeSet::new();
        for tried in &self.tried {
            let told: Vec<_> = entries.iter().filter(|entry| entry.request_id == tried.request_id).collect();
            let results: Vec<&str> = told.iter().map(|entry| entry.result.as_str()).collect();
            let whole = told
                .iter()
                .all(|entry| entry.action == tried.action && entry.target == format!("user:{}", tried.target));
            assert!(whole, "{told:?}");
            match &tried.answer {
                Ok(()) => assert_eq!(results, ["ok"], "{}", tried.request_id),
                Err(status) => match status.code() {
                    Code::FailedPrecondition | Code::NotFound => {
                        assert_eq!(results, [reason::<()>(Err(status.clone())).1], "{}", tried.request_id);
                    }
                    // Refused by the transaction, when somebody else has just demoted the caller; otherwise at the door.
                    Code::PermissionDenied => {
                        assert!(results.is_empty() || results == ["PERMISSION_DENIED"], "{results:?}");
                    }
                    Code::Unauthenticated => assert!(results.is_empty(), "{results:?}"),
                    Code::Unavailable | Code::Internal => assert!(results.len() <= 1, "{results:?}"),
                    _ => panic!("{status:?}"),
                },
            }
            known.insert(tried.request_id.as_str());
        }
        assert!(entries.iter().all(|entry| known.contains(entry.request_id.as_str())), "nobody asked for it");
    }
}

/// Does what an entry tells to the states as they were, if the rules let it.
fn replay(states: &mut BTreeMap<String, State>, entry: &AuditEntry) {
    let target = entry.target.strip_prefix("user:").unwrap().to_owned();
    let able: Vec<_> = states.iter().filter(|(_, state)| state.can_administer()).map(|(id, _)| id.clone()).collect();
    let Some(before) = states.get(&target).copied() else {
        assert_eq!((entry.result.as_str(), &*target), ("NOT_FOUND", NOBODY), "{entry:?}");
        return;
    };
    let takes_away = [DEMOTE, DEACTIVATE].contains(&&*entry.action);
    let wanted = match entry {
        entry if !able.contains(&entry.admin_id) => "PERMISSION_DENIED",
        _ if takes_away && able == [target.clone()] => "FAILED_PRECONDITION",
        _ => "ok",
    };
    assert_eq!(entry.result, wanted, "{entry:?} with {states:?}");
    if wanted != "ok" {
        return;
    }
    let detail = |name: &str| entry.details[name].as_str();
    assert_eq!(detail("role_before") == "admin", before.is_admin, "{entry:?}");
    assert_eq!(detail("state_before") == "active", before.is_active, "{entry:?}");
    let after = match &*entry.action {
        PROMOTE => State { is_admin: true, ..before },
        DEMOTE => State { is_admin: false, ..before },
        DEACTIVATE => State { is_active: false, ..before },
        ACTIVATE => State { is_active: true, ..before },
        other => panic!("nobody did this: {other}"),
    };
    states.insert(target, after);
}

/// Asks for an act, once.
async fn ask(actor: &Actor, action: &str, user_id: &str, request_id: &str) -> Result<(), Status> {
    let (mut admin, user_id) = (actor.admin(), user_id.to_owned());
    match action {
        PROMOTE => admin.promote_user(named(PromoteUserRequest { user_id }, request_id)).await.map(drop),
        DEMOTE => admin.demote_user(named(DemoteUserRequest { user_id }, request_id)).await.map(drop),
        DEACTIVATE => admin.deactivate_user(named(DeactivateUserRequest { user_id }, request_id)).await.map(drop),
        _ => admin.activate_user(named(ActivateUserRequest { user_id }, request_id)).await.map(drop),
    }
}

fn named<T>(message: T, request_id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
    request
}

/// All entries of the log, the oldest first.
async fn entries(admin: &Actor) -> Vec<AuditEntry> {
    let (mut entries, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditLogRequest { page_size: 100, page_token, ..Default::default() };
        let page = admin.admin().list_audit_log(request).await.unwrap().into_inner();
        entries.extend(page.audit_log);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            entries.reverse();
            return entries;
        }
    }
}

/// A seed, told when its test fails.
struct Seed(u64);

impl Seed {
    fn sow() -> Self {
        Self(std::env::var(SEED).map_or_else(|_| rand::random(), |seed| seed.parse().unwrap()))
    }

    fn random(&self) -> StdRng {
        StdRng::seed_from_u64(self.0)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{SEED}={} repeats it", self.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_state_agree_after_random_acts_some_of_which_are_refused() {
    let seed = Seed::sow();
    let mut random = seed.random();
    let mut world = World::new(Server::with(&[&ADMIN[..], &OPEN].concat()).await).await;
    while world.tried.len() < ACTS {
        world.act(&mut random).await;
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_done() {
    let seed = Seed::sow();
    let mut random = seed.random();
    let mut world = World::new(Server::with(&[&ADMIN[..], &OPEN].concat()).await).await;
    let data = world.server.data().clone();
    while world.tried.len() < ACTS {
        let refuses = random.random_bool(0.3);
        if refuses {
            data.sql("ALTER TABLE audit_log RENAME TO mislaid");
        }
        world.act(&mut random).await;
        if refuses {
            data.sql("ALTER TABLE mislaid RENAME TO audit_log");
        }
    }
    assert!(world.failed(Code::Internal) > 0, "every act was written down");
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_state_agree_when_the_database_dies_in_between() {
    let seed = Seed::sow();
    let mut postgres = PostgresServer::start().await;
    let url = postgres.url();
    let server = Server::with(&[&ADMIN[..], &OPEN, &[("database_url", &*url)]].concat()).await;
    let mut random = seed.random();
    let mut world = World::new(server).await;
    let (done, noticed, is_over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let acts = async {
        while !is_over.load(Ordering::Relaxed) {
            world.act(&mut random).await;
            done.fetch_add(2, Ordering::Relaxed);
            noticed.store(world.failed(Code::Unavailable), Ordering::Relaxed);
        }
    };
    let deaths = async {
        for _ in 0..DEATHS {
            let before = done.load(Ordering::Relaxed);
            let enough = async || done.load(Ordering::Relaxed) >= before + ACTS_BETWEEN;
            within(PATIENCE, "acts are tried", enough).await;
            let unnoticed = noticed.load(Ordering::Relaxed);
            postgres.stop().await;
            let is_noticed = async || noticed.load(Ordering::Relaxed) > unnoticed;
            within(NOTICED_WITHIN, "an act meets no database", is_noticed).await;
            postgres.resume().await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(acts, deaths);
    world.check().await;
}
