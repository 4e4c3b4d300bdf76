//! A server in this process, and those who call it.

mod actor;
mod refusal;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use colloquy::{
    config::Settings,
    grpc::{
        auth::AuthApi,
        edge::{Edge, EdgeLayer},
        user::UserApi,
    },
    lifecycle::Lifecycle,
    live::{
        throttle::{Throttle, ThrottleLimits},
        ticket::Tickets,
    },
    model::clock::Clock,
    proto::{auth_service_server::AuthServiceServer, user_service_server::UserServiceServer},
    service::{
        accounts::{Accounts, Parts},
        identity::Identities,
        passwords::Passwords,
        tokens::{TokenPolicy, Tokens},
        users::Users,
    },
    store::Store,
};
use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _, sql_types::BigInt,
};
use tempfile::TempDir;
use tonic::service::Routes;
use tower::Layer as _;

pub(crate) use self::{
    actor::{Actor, PASSWORD},
    refusal::{reason, retry_after, violations},
};

const BRIDGE_KEY: &str = "the tests' own bridge";

/// A node, on a database of its own or beside another node.
#[derive(Clone)]
pub(crate) struct Server {
    /// The rules of accounts, for what no RPC reaches.
    pub(crate) accounts: Accounts,
    folder: Arc<TempDir>,
    service: Edge<Routes>,
}

impl Server {
    /// A node with the default settings.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A node with these settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), settings).await
    }

    /// Another node on the same database.
    pub(crate) async fn beside(&self, settings: &[(&str, &str)]) -> Self {
        Self::open(self.folder.clone(), settings).await
    }

    async fn open(folder: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        let flags: Vec<_> = settings.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let settings = Settings::load(None, &flags).unwrap();
        let lifecycle = Lifecycle::default();
        let clock = Clock::shifted(settings.clock_ahead_micros);
        let store = Store::open_sqlite(&database(&folder)).await.unwrap();
        let limits = ThrottleLimits {
            per_account: settings.sign_in_failures_per_account,
            per_address: settings.sign_in_failures_per_address,
            window: settings.sign_in_window,
        };
        let policy = TokenPolicy {
            algorithm: settings.jwt_algorithm,
            issuer: settings.jwt_issuer,
            token_ttl: settings.access_token_ttl,
            key_ttl: settings.signing_key_ttl,
        };
        let throttle = Throttle::new(clock, limits);
        let passwords = Passwords::new();
        let identities = Identities::new(store.clone(), clock);
        let accounts = Accounts::new(Parts {
            store: store.clone(),
            clock,
            tokens: Tokens::open(store.clone(), clock, policy).await.unwrap(),
            passwords: passwords.clone(),
            tickets: Tickets::new(clock, settings.ticket_ttl),
            throttle: throttle.clone(),
            identities: identities.clone(),
            registration: settings.registration,
            session_ttl: settings.refresh_token_ttl,
        });
        let users = Users::new(store, clock, passwords, throttle, identities);
        let edge =
            EdgeLayer::new(accounts.clone(), lifecycle, BRIDGE_KEY.to_owned(), settings.request_timeout).unwrap();
        let routes = Routes::new(AuthServiceServer::new(AuthApi::new(accounts.clone())))
            .add_service(UserServiceServer::new(UserApi::new(users)))
            .prepare();
        Self { accounts, folder, service: edge.layer(routes) }
    }

    /// Somebody without an account, at an address of the documentation's.
    pub(crate) fn visitor(&self) -> Actor {
        Actor::new(self.clone())
    }

    /// Somebody who has just registered and signed in.
    pub(crate) async fn register(&self, name: &str) -> Actor {
        let visitor = self.visitor();
        visitor.register(name).await.unwrap();
        visitor.login(name, PASSWORD).await.unwrap()
    }

    /// Does to the database what no RPC does.
    pub(crate) fn sql(&self, statements: &str) {
        self.database().batch_execute(statements).unwrap();
    }

    /// Asks the database for a number.
    pub(crate) fn number(&self, query: &str) -> i64 {
        diesel::select(diesel::dsl::sql::<BigInt>(query)).get_result(&mut self.database()).unwrap()
    }

    fn database(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(database(&self.folder).to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").unwrap();
        connection
    }
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("colloquy.db")
}

/// Waits until the condition holds; fails after 5 s, the longest that a node may lag behind another.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), wait).await.is_ok(), "not within 5 s: {what}");
}
