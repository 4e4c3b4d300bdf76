//! Pages for operators: whether the bridge lives, whether its core serves, how its parts do, and what was counted.

use std::time::Instant;

use http::{header, uri::PathAndQuery};
use serde_json::{Map, Value, json};
use tonic::Code;
use warp::reply::{Reply, Response, json as json_reply, with_header};

use crate::{
    client::Client,
    config::{METRICS_TYPE, RenderMetrics, Settings},
    problem::Problem,
    record,
    refusal::{Reason, Refusal},
    transcode::wire,
    visitor::Visitor,
    ws::Sockets,
};

const CHECK: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
/// The field of `HealthCheckRequest` that names a service.
const SERVICE: u32 = 1;
/// The field of `HealthCheckResponse` that holds a status, and the value that means well.
const STATUS: u32 = 1;
const SERVING: u64 = 1;
/// The parts that the core reports on, and what each is called there.
const COMPONENTS: [(&str, &str); 3] = [("core", ""), ("store", "store"), ("live", "live")];

/// An RPC that everybody may call who is signed in.
const WHO_AM_I: PathAndQuery = PathAndQuery::from_static("/colloquy.v1.UserService/GetMe");

/// Answers the pages.
#[derive(Clone)]
pub(crate) struct Health {
    client: Client,
    sockets: Sockets,
    node: String,
    metrics: Option<RenderMetrics>,
    pages_need_login: bool,
}

impl Health {
    pub(crate) fn new(client: Client, sockets: Sockets, settings: &Settings) -> Self {
        Self {
            client,
            sockets,
            node: settings.node.clone(),
            metrics: settings.metrics.clone(),
            pages_need_login: settings.pages_need_login,
        }
    }

    /// Whether the process answers.
    pub(crate) fn live() -> impl Reply {
        json_reply(&json!({"status": "ok"}))
    }

    /// Whether the core serves.
    pub(crate) async fn ready(self, visitor: Visitor) -> Result<Response, Problem> {
        if self.serves("", &visitor).await {
            Ok(Self::live().into_response())
        } else {
            Err(Refusal::new(Reason::Unavailable, "the service is not ready").into())
        }
    }

    /// The state of each part, and how many sockets there are.
    pub(crate) async fn detailed(self, visitor: Visitor) -> Result<Response, Problem> {
        self.admit(&visitor).await?;
        let [core, store, live] = COMPONENTS.map(|(name, service)| self.check(name, service, &visitor));
        let (core, store, live) = tokio::join!(core, store, live);
        let well = [&core, &store, &live].iter().all(|(_, state)| state["status"] == "ok");
        let page = json!({
            "status": if well { "ok" } else { "degraded" },
            "node": self.node,
            "components": Map::from_iter([core, store, live]),
            "connections": {"active": self.sockets.len()},
        });
        Ok(json_reply(&page).into_response())
    }

    /// What was counted, for Prometheus.
    pub(crate) async fn metrics(self, visitor: Visitor) -> Result<Response, Problem> {
        let Some(render) = &self.metrics else {
            return Err(Refusal::new(Reason::NotFound, "there are no metrics here").into());
        };
        self.admit(&visitor).await?;
        Ok(with_header(render(), header::CONTENT_TYPE, METRICS_TYPE).into_response())
    }

    /// Lets those in who are signed in, whatever else they may do.
    async fn admit(&self, visitor: &Visitor) -> Result<(), Problem> {
        if !self.pages_need_login {
            return Ok(());
        }
        match self.client.unary(&WHO_AM_I, visitor, Default::default()).await {
            Err(status) if status.code() != Code::PermissionDenied => Err(status.into()),
            _ => Ok(()),
        }
    }

    async fn check(&self, name: &str, service: &str, visitor: &Visitor) -> (String, Value) {
        let started = Instant::now();
        let status = if self.serves(service, visitor).await { "ok" } else { "unavailable" };
        let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
        (name.to_owned(), json!({"status": status, "latency_ms": latency_ms}))
    }

    async fn serves(&self, service: &str, visitor: &Visitor) -> bool {
        let mut request = Vec::new();
        wire::put_bytes(SERVICE, service.as_bytes(), &mut request);
        let answer = self.client.unary(&CHECK, visitor, request.into()).await;
        answer.is_ok_and(|answer| record::varint(answer.get_ref(), STATUS) == Ok(SERVING))
    }
}
