//! The composition root: builds a core from its settings and serves it on listeners that are handed in.

mod accounts;
mod admin;
pub mod database;
mod events;
mod health;
mod issuers;
mod limits;
mod live;
pub mod operator;
mod providers;
mod push;
mod tools;
mod upkeep;
mod viewers;

use std::fs::File;

use colloquy_bridge::ServerTls;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceBuilder};
use tower_http::cors::{Any, CorsLayer};

use crate::{
    config::Settings,
    grpc::{
        auth::AuthApi,
        chat::ChatApi,
        conversation::ConversationApi,
        edge::{Bounds as CallBounds, Edge, EdgeLayer},
        event::EventApi,
        notification::NotificationApi,
        presence::PresenceApi,
        session::{self, SessionApi},
        user::UserApi,
    },
    lifecycle::Lifecycle,
    live::{
        Redis,
        bus::{Bounds, Bus, News},
        limit::Limiter,
        link,
        node::Nodes,
        place::Places,
        presence::{Presence, typing::Typing},
        report::Reports,
        response_cache::ResponseCache,
        signal::Signals,
        throttle::Throttle,
        ticket::Tickets,
    },
    llm::Models,
    model::{
        clock::{Clock, Timestamp},
        usage::DailyQuota,
    },
    proto::{
        self, admin_service_server::AdminServiceServer, auth_service_server::AuthServiceServer,
        chat_service_server::ChatServiceServer, conversation_service_server::ConversationServiceServer,
        event_service_server::EventServiceServer, notification_service_server::NotificationServiceServer,
        presence_service_server::PresenceServiceServer, raw::session_service_server::SessionServiceServer,
        user_service_server::UserServiceServer,
    },
    service::{
        access::Access,
        accounts::{Accounts, Parts},
        contexts::Contexts,
        conversations::Conversations,
        deliveries::Deliveries,
        export::Exports,
        history::Histories,
        identity::Identities,
        limits::Limits as RateLimits,
        members::Members,
        messages::{Messages, Rules},
        notifications::Notifications,
        outsiders::Outsiders,
        passwords::Passwords,
        presence::Presences,
        runs::{Limits, Makers, Runs},
        service_accounts::ServiceAccounts,
        tokens::Tokens,
        users::{self, Users},
    },
    session::{
        analytics::{self, Analytics},
        flight::Flights,
        hub::Hub,
        presence,
        sessions::Sessions,
        signals,
    },
    store::Store,
    tools::Tools,
};

/// Streams of one gRPC connection: a bridge carries each of its sockets on one.
const MAX_STREAMS: u32 = 20_000;

/// A core, built and not yet served.
pub struct App {
    lifecycle: Lifecycle,
    routes: Routes,
    edge: EdgeLayer,
    health: HealthReporter,
    store: Store,
    redis: Option<Redis>,
    nodes: Nodes,
    tools: Tools,
    sessions: Sessions,
    signals: Signals,
    limits: colloquy_bridge::ConnectionLimits,
    /// Held for as long as the core lives: a process believes that a database in its own folder is its alone.
    _lock: Option<File>,
}

impl App {
    /// Builds a core: opens the store, ends what a process before left behind, makes the first admin. Callers that show
    /// `bridge_key` are believed the client addresses that they report.
    ///
    /// # Errors
    /// When the data folder is in use or cannot be written, the database cannot be opened, or a provider's settings are
    /// wrong.
    pub async fn build(settings: &Settings, bridge_key: &str, lifecycle: Lifecycle) -> anyhow::Result<Self> {
        let clock = Clock::shifted(settings.clock_ahead_micros);
        let models = Models::new(providers::settings(settings))?;
        let redis = live::open(settings).await?;
        let lock = database::lock(settings)?;
        let store = database::open(settings).await?;

        let hub = Hub::new(viewers::lanes(settings));
        let signals = Signals::new(redis.as_ref());
        let nodes = Nodes::new(redis.clone(), settings.node_ttl);
        let presence = Presence::new(clock, redis.clone(), nodes.clone(), settings.presence_idle);
        let typing = Typing::new(settings.typing_timeout);
        let (readers, typists) = (hub.clone(), typing.clone());
        let deliver = move |news: News<'_>| {
            readers.deliver(news);
            typists.learn(news);
        };
        let bus = Bus::new(clock, redis.clone(), history(settings), Box::new(deliver));

        let identities = Identities::new(store.clone(), clock, signals.clone());
        let passwords = Passwords::new();
        let throttle = Throttle::new(clock, redis.clone(), accounts::throttle(settings));
        let accounts = Accounts::new(Parts {
            store: store.clone(),
            clock,
            tokens: Tokens::open(store.clone(), clock, accounts::tokens(settings)).await?,
            passwords: passwords.clone(),
            tickets: Tickets::new(clock, redis.clone(), settings.ticket_ttl),
            throttle: throttle.clone(),
            identities: identities.clone(),
            outsiders: Outsiders::new(store.clone(), clock, issuers::open(settings, clock)?, settings.content_policy),
            registration: settings.registration,
            session_ttl: settings.refresh_token_ttl,
        });

        let service_accounts = ServiceAccounts::new(store.clone(), clock, identities.clone());
        let access = Access::new(store.clone());
        let limits = Limits {
            context_tokens: settings.context_token_budget,
            output_tokens: settings.max_output_tokens,
            tool_rounds: settings.tool_rounds,
            lease: settings.run_lease,
        };
        let tools = Tools::new(tools::settings(settings), clock);
        let makers =
            Makers { models: models.clone(), tools: tools.clone(), cache: response_cache(settings, redis.as_ref()) };
        let runs = Runs::new(store.clone(), bus.clone(), signals.clone(), makers, clock, lifecycle.clone(), limits);
        let users = Users::new(users::Parts {
            store: store.clone(),
            clock,
            passwords,
            throttle,
            identities: identities.clone(),
            signals: signals.clone(),
            runs: runs.clone(),
            policy: settings.content_policy,
        });
        let messages = Messages::new(
            access.clone(),
            store.clone(),
            bus.clone(),
            models.clone(),
            runs.clone(),
            clock,
            rules(settings),
        );
        let deliveries = Deliveries::new(store.clone(), bus.clone(), settings.delivery_receipts_max_members);
        let histories = Histories::new(access.clone(), store.clone(), bus.clone(), deliveries.clone(), clock);
        let policy = settings.content_policy;
        let conversations = ConversationApi::new(
            Conversations::new(
                access.clone(),
                store.clone(),
                signals.clone(),
                models.clone(),
                runs.clone(),
                clock,
                policy,
            ),
            Members::new(access.clone(), store.clone(), signals.clone(), clock),
            Contexts::new(access.clone(), store.clone(), clock, policy),
            histories.clone(),
            Exports::new(access.clone(), store.clone()),
            messages.clone(),
        );
        let events = events::open(settings, &store, &bus, redis.as_ref(), &hub);
        let pushes = push::open(settings, (&store, &presence), clock, &lifecycle).await?;
        let notifications = Notifications::new(store.clone(), bus.clone(), pushes.clone(), clock, policy);
        let limiter = Limiter::new(clock, redis.clone(), limits::rules(settings));
        let rate_limits = RateLimits::new(clock, limiter, settings.messages_judged as usize);
        let presences =
            Presences::new(access.clone(), store.clone(), bus.clone(), presence.clone(), typing.clone(), clock);
        let sessions = Sessions {
            hub,
            bus: bus.clone(),
            access,
            accounts: accounts.clone(),
            messages,
            histories,
            deliveries,
            events,
            notifications,
            runs: runs.clone(),
            limits: rate_limits.clone(),
            rules: viewers::rules(settings),
            places: Places::new(redis.clone(), limits::places(settings)),
            presence,
            typing,
            presences,
            analytics: Analytics::default(),
            flights: Flights::default(),
            reports: Reports::new(redis.clone(), nodes.clone(), settings.report_interval),
            signals: signals.clone(),
            node: settings.node.clone(),
            clock,
            lifecycle: lifecycle.clone(),
        };

        if let Some(admin) = accounts::first_admin(settings)? {
            accounts.ensure_admin(admin).await.map_err(accounts::first_admin_fault)?;
        }
        if lock.is_some() {
            // The database is in the folder, and the folder this process's alone: whoever held a lease before is dead.
            store.expire_leases(Timestamp::from_micros(0)).await?;
        }
        runs.end_orphans().await?;

        let bounds = CallBounds { timeout: settings.request_timeout, drain_limit: settings.drain_limit };
        let edge = EdgeLayer::new(accounts.clone(), rate_limits, lifecycle.clone(), bridge_key.to_owned(), bounds)?;
        let (health, health_service) = tonic_health::server::health_reporter();
        let (reflection, old_reflection) = reflection()?;
        let routes = Routes::new(AuthServiceServer::new(AuthApi::new(accounts)))
            .add_service(UserServiceServer::new(UserApi::new(users)))
            .add_service(ConversationServiceServer::new(conversations))
            .add_service(ChatServiceServer::new(ChatApi::new(sessions.clone(), models, settings.reply_wait)))
            .add_service(PresenceServiceServer::new(PresenceApi::new(sessions.clone())))
            .add_service(EventServiceServer::new(EventApi::new(sessions.clone())))
            .add_service(NotificationServiceServer::new(NotificationApi::new(sessions.clone(), pushes)))
            .add_service(AdminServiceServer::new(admin::api(
                settings,
                (&store, redis.as_ref()),
                identities,
                service_accounts,
                &sessions,
            )?))
            .add_service(
                SessionServiceServer::new(SessionApi::new(sessions.clone()))
                    .max_decoding_message_size(settings.max_frame_bytes + session::FRAMING),
            )
            .add_service(health_service)
            .add_service(reflection)
            .add_service(old_reflection)
            .prepare();
        let limits = colloquy_bridge::ConnectionLimits {
            handshake_timeout: settings.handshake_timeout,
            drain_limit: settings.drain_limit,
            max_streams: MAX_STREAMS,
        };
        Ok(Self { lifecycle, routes, edge, health, store, redis, nodes, tools, sessions, signals, limits, _lock: lock })
    }

    /// The services behind the edge, to be called in this process.
    pub fn service(&self) -> Edge<Routes> {
        self.edge.layer(self.routes.clone())
    }

    /// Starts the background tasks and serves gRPC and gRPC-Web, over TLS if there is any, until shutdown begins; calls under
    /// way go on, until the hard stop.
    pub async fn serve(self, listener: TcpListener, tls: Option<ServerTls>) {
        let Sessions { bus, runs, places, presence, presences, deliveries, notifications, .. } = &self.sessions;
        self.lifecycle.spawn_helper(runs.clone().keep_leases());
        self.lifecycle.spawn_helper(upkeep::close_tools(self.tools, self.lifecycle.clone()));
        self.lifecycle.spawn_helper(upkeep::sweep(bus.clone(), self.lifecycle.clone()));
        self.lifecycle.spawn_helper(upkeep::checkpoint(self.store.clone(), self.lifecycle.clone()));
        self.lifecycle.spawn_helper(upkeep::clear_sessions(self.sessions.accounts.clone(), self.lifecycle.clone()));
        if let Some(redis) = &self.redis {
            let link = link::keep(redis.clone(), bus.clone(), self.signals.clone(), presence.clone());
            self.lifecycle.spawn_helper(self.lifecycle.stopped().clone().run_until_cancelled_owned(link));
        }
        let places = places.clone().keep();
        self.lifecycle.spawn_helper(self.lifecycle.stopped().clone().run_until_cancelled_owned(places));
        let stopped = self.lifecycle.stopped().clone();
        self.lifecycle.spawn_helper(async move { stopped.run_until_cancelled(self.nodes.keep()).await });
        self.lifecycle.spawn_helper(presences.clone().keep(self.lifecycle.clone()));
        self.lifecycle.spawn_helper(deliveries.clone().keep(self.lifecycle.clone()));
        self.lifecycle.spawn_helper(notifications.clone().keep(self.lifecycle.clone()));
        self.lifecycle.spawn_helper(presence::pass(self.sessions.clone()));
        self.lifecycle.spawn_helper(analytics::tell(self.sessions.clone()));
        self.lifecycle.spawn_helper(signals::pass(self.signals, self.sessions));
        self.lifecycle.spawn_helper(health::tell(self.health, self.store, self.redis, self.lifecycle.clone()));
        self.lifecycle.spawn_helper(self.edge.clone().end_stalled());
        let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any).expose_headers(Any);
        let service =
            ServiceBuilder::new().layer(cors).layer(GrpcWebLayer::new()).layer(self.edge).service(self.routes);
        let (stopping, stopped) = (self.lifecycle.stopping().clone(), self.lifecycle.stopped().cancelled());
        colloquy_bridge::accept(listener, tls, service, self.limits, stopping, stopped).await;
    }
}

fn rules(settings: &Settings) -> Rules {
    let quota = settings.daily_token_quota.map(|tokens| DailyQuota(tokens.into()));
    Rules { max_bytes: settings.max_message_bytes, policy: settings.content_policy, quota }
}

fn history(settings: &Settings) -> Bounds {
    Bounds { events: settings.history_events, bytes: settings.history_bytes, age: settings.history_ttl }
}

fn response_cache(settings: &Settings, redis: Option<&Redis>) -> Option<ResponseCache> {
    let (ttl, bytes) = (settings.response_cache_ttl, settings.response_cache_bytes);
    let cache = || ResponseCache::new(redis.cloned(), ttl, bytes);
    settings.response_cache.then(cache)
}

fn reflection() -> anyhow::Result<(
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
    tonic_reflection::server::v1alpha::ServerReflectionServer<impl tonic_reflection::server::v1alpha::ServerReflection>,
)> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok((builder().build_v1()?, builder().build_v1alpha()?))
}
