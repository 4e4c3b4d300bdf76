//! What nodes tell of themselves, where the others find it: the latest report of each that lives.

use std::{sync::Arc, time::Duration};

use redis::Cmd;

use super::{
    node::Nodes,
    redis::{Away, Redis},
};
use crate::model::connection::NodeReport;

/// Leaves this node's report for the others, and finds theirs. Cheap to clone.
///
/// Without Redis there are no others. While it is away, none are found.
#[derive(Clone, Debug)]
pub struct Reports(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Option<Redis>,
    nodes: Nodes,
    interval: Duration,
}

impl Reports {
    /// Reports are to be left this often; one that is three times as old is not found any more.
    pub fn new(redis: Option<Redis>, nodes: Nodes, interval: Duration) -> Self {
        Self(Arc::new(Inner { redis, nodes, interval }))
    }

    /// How often to leave one.
    pub fn interval(&self) -> Duration {
        self.0.interval
    }

    /// Leaves this node's report in place of the one before.
    pub async fn leave(&self, report: &NodeReport) {
        let Some(redis) = &self.0.redis else { return };
        match serde_json::to_string(report) {
            Ok(text) => {
                let ttl_ms = u64::try_from((self.0.interval * 3).as_millis()).unwrap_or(u64::MAX).max(1);
                let key = redis.keys().report(redis.node());
                let set = Cmd::new().arg("SET").arg(key).arg(text).arg("PX").arg(ttl_ms).to_owned();
                // A failure was logged and counted where it happened.
                let _: Result<(), Away> = redis.command("leave_report", &set).await;
            }
            Err(error) => tracing::error!(%error, "a report cannot be written"),
        }
    }

    /// Takes this node's report away: it is none any more.
    pub async fn withdraw(&self) {
        let Some(redis) = &self.0.redis else { return };
        let delete = Cmd::new().arg("DEL").arg(redis.keys().report(redis.node())).to_owned();
        // It is forgotten by itself otherwise.
        let _: Result<(), Away> = redis.command("withdraw_report", &delete).await;
    }

    /// The reports of the other nodes that live.
    pub async fn others(&self) -> Vec<NodeReport> {
        let Some(redis) = &self.0.redis else { return Vec::new() };
        let mut get = Cmd::new().arg("MGET").to_owned();
        let others: Vec<_> = self.0.nodes.alive().await.into_iter().filter(|node| *node != redis.node()).collect();
        if others.is_empty() {
            return Vec::new();
        }
        others.iter().for_each(|node| {
            get.arg(redis.keys().report(*node));
        });
        let texts: Vec<Option<String>> = redis.command("find_reports", &get).await.unwrap_or_default();
        let read = |text: String| {
            let report = serde_json::from_str(&text);
            report.inspect_err(|error| tracing::warn!(%error, "the report of another node cannot be read")).ok()
        };
        texts.into_iter().flatten().filter_map(read).collect()
    }
}
