//! What nodes tell of themselves, where the others find it: the latest report of each that lives.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use redis::{Cmd, FromRedisValue};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    node::Nodes,
    redis::{Away, Keys, Redis},
};
use crate::model::{
    connection::{Connection, NodeReport},
    ids::{NodeId, UserId},
};

/// Users whose connections are written in one command.
const CHUNK: usize = 500;
/// Nodes that are asked for at once.
const ASKED_AT_ONCE: usize = 16;

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

    /// Leaves this node's report and its connections in place of those before.
    pub async fn leave(&self, report: &NodeReport, connections: Vec<Connection>) {
        let Some(redis) = &self.0.redis else { return };
        // A failure was logged and counted where it happened.
        let _: Result<(), Away> = async {
            if let Some(text) = written(report) {
                let set =
                    command("SET", redis.keys().report(redis.node())).arg(text).arg("PX").arg(self.ttl_ms()).to_owned();
                let () = redis.command("leave_report", &set).await?;
            }
            self.leave_connections(redis, connections).await
        }
        .await;
    }

    /// Written beside those before, bit by bit: no command keeps the server for long, and nobody reads a part.
    async fn leave_connections(&self, redis: &Redis, connections: Vec<Connection>) -> Result<(), Away> {
        let key = redis.keys().connections(redis.node());
        if connections.is_empty() {
            return redis.command("leave_connections", &command("DEL", key)).await;
        }
        let mut users: HashMap<UserId, Vec<Connection>> = HashMap::new();
        for connection in connections {
            users.entry(connection.user_id).or_default().push(connection);
        }
        let (users, next) = (Vec::from_iter(users), format!("{key}:next"));
        // Of one that ended in the middle.
        let () = redis.command("leave_connections", &command("DEL", next.clone())).await?;
        for chunk in users.chunks(CHUNK) {
            let mut set = command("HSET", next.clone());
            chunk.iter().for_each(|(user, connections)| {
                set.arg(user.to_string()).arg(written(connections));
            });
            let () = redis.command("leave_connections", &set).await?;
            let expire = command("PEXPIRE", next.clone()).arg(self.ttl_ms()).to_owned();
            let () = redis.command("leave_connections", &expire).await?;
        }
        redis.command("leave_connections", &command("RENAME", next).arg(key).to_owned()).await
    }

    /// Takes what this node left away: it is none any more.
    pub async fn withdraw(&self) {
        let Some(redis) = &self.0.redis else { return };
        let (keys, node) = (redis.keys(), redis.node());
        let delete = command("DEL", keys.report(node)).arg(keys.connections(node)).to_owned();
        // It is forgotten by itself otherwise.
        let _: Result<(), Away> = redis.command("withdraw_report", &delete).await;
    }

    /// The reports of the other nodes that live.
    pub async fn others(&self) -> Vec<NodeReport> {
        let ask = |keys: &Keys, node| command("GET", keys.report(node));
        let texts: Vec<Option<String>> = self.ask_others("find_reports", ask).await;
        texts.into_iter().flatten().filter_map(|text| read(&text)).collect()
    }

    /// A user's live connections on the other nodes, as they were when those told last.
    pub async fn connections_of(&self, user: UserId) -> Vec<Connection> {
        let ask = |keys: &Keys, node| command("HGET", keys.connections(node)).arg(user.to_string()).to_owned();
        let texts: Vec<Option<String>> = self.ask_others("find_connections", ask).await;
        texts.into_iter().flatten().filter_map(|text| read::<Vec<Connection>>(&text)).flatten().collect()
    }

    /// Hands over every live connection of the other nodes, as it was when those told last, in no order; one may come twice.
    pub async fn each_connection(&self, mut take: impl FnMut(Connection)) {
        let Some(redis) = &self.0.redis else { return };
        for node in self.others_alive(redis).await {
            let mut cursor = 0_u64;
            loop {
                // Bit by bit: no command keeps the server for long.
                let scan =
                    command("HSCAN", redis.keys().connections(node)).arg(cursor).arg("COUNT").arg(CHUNK).to_owned();
                // A failure was logged and counted where it happened.
                let found: Result<(u64, Vec<(String, String)>), Away> = redis.command("scan_connections", &scan).await;
                let Ok((next, users)) = found else { return };
                users.iter().filter_map(|(_, text)| read::<Vec<Connection>>(text)).flatten().for_each(&mut take);
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
    }

    /// The users with live connections on the other nodes.
    pub async fn users(&self) -> HashSet<UserId> {
        let ask = |keys: &Keys, node| command("HKEYS", keys.connections(node));
        let ids: Vec<Vec<String>> = self.ask_others("find_users", ask).await;
        ids.into_iter().flatten().filter_map(|id| id.parse().ok()).collect()
    }

    /// What the server says of each of the other nodes that live.
    async fn ask_others<T: FromRedisValue + Default>(
        &self,
        name: &'static str,
        ask: impl Fn(&Keys, NodeId) -> Cmd,
    ) -> Vec<T> {
        let Some(redis) = &self.0.redis else { return Vec::new() };
        let answers = stream::iter(self.others_alive(redis).await).map(|node| {
            let asked = ask(redis.keys(), node);
            async move { redis.command(name, &asked).await.unwrap_or_default() }
        });
        answers.buffered(ASKED_AT_ONCE).collect().await
    }

    async fn others_alive(&self, redis: &Redis) -> impl Iterator<Item = NodeId> + use<> {
        let this = redis.node();
        self.0.nodes.alive().await.into_iter().filter(move |node| *node != this)
    }

    fn ttl_ms(&self) -> u64 {
        u64::try_from((self.0.interval * 3).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

fn command(name: &str, key: String) -> Cmd {
    Cmd::new().arg(name).arg(key).to_owned()
}

fn written(value: &impl Serialize) -> Option<String> {
    let text = serde_json::to_string(value);
    text.inspect_err(|error| tracing::error!(%error, "a report cannot be written")).ok()
}

fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    let value = serde_json::from_str(text);
    value.inspect_err(|error| tracing::warn!(%error, "the report of another node cannot be read")).ok()
}
