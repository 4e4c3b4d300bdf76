//! Requests a second for one small read, through the bridge over HTTP; beside the same RPC over gRPC, at the same node with
//! as many connections. They take turns.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;
use colloquy::proto::{GetMeRequest, user_service_client::UserServiceClient};
use futures_util::future::try_join_all;
use tonic::Request;

use super::{
    caller::{Caller, PATIENCE},
    process::Node,
    table::{Samples, Table},
};

/// Connections that call at once.
pub(crate) const CONNECTIONS: usize = 32;
/// Turns of each side that count.
pub(crate) const ROUNDS: usize = 4;
/// How long a turn lasts.
pub(crate) const ROUND: Duration = Duration::from_secs(2);

pub(crate) async fn measure() -> Result<Table> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder, &[]).await?;
    let caller = Caller::register(&node).await?;

    let url = format!("http://{}/api/v1/users/me", node.http);
    let mut clients = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(reqwest::Client::builder().http1_only().no_proxy().timeout(PATIENCE).build()?);
        channels.push(UserServiceClient::new(caller.channel().await?));
    }
    let (bearer, credential) = (caller.bearer(), caller.credential()?);
    let bridge = async |index: usize| {
        let response = clients[index].get(&url).header("authorization", &bearer).send().await?;
        response.error_for_status()?.bytes().await?;
        Ok(())
    };
    let grpc = async |index: usize| {
        let mut request = Request::new(GetMeRequest {});
        request.metadata_mut().insert("authorization", credential.clone());
        channels[index].clone().get_me(request).await?;
        Ok(())
    };

    // The first round of each warms it up.
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (through_bridge, direct) = (turn(&bridge).await?, turn(&grpc).await?);
        if round > 0 {
            ours.extend(through_bridge);
            peer.extend(direct);
        }
    }
    node.process.end().await?;

    let rate = |calls: &Vec<Duration>| calls.len() as f64 / (ROUND * ROUNDS as u32).as_secs_f64();
    let title =
        format!("requests: GET /api/v1/users/me over {CONNECTIONS} connections, beside UserService.GetMe over gRPC");
    let table = Table::new(title).row("requests", "/s", rate(&ours), rate(&peer));
    Ok(table.percentiles("latency", &ours.into_iter().collect::<Samples>(), &peer.into_iter().collect::<Samples>()))
}

/// Calls one after another on each connection for as long as a round lasts, and returns how long each took.
pub(crate) async fn turn<F: Future<Output = Result<()>>>(call: &impl Fn(usize) -> F) -> Result<Vec<Duration>> {
    let end = Instant::now() + ROUND;
    let connections = (0..CONNECTIONS).map(|index| async move {
        let mut took = Vec::new();
        while Instant::now() < end {
            let asked = Instant::now();
            call(index).await?;
            took.push(asked.elapsed());
        }
        anyhow::Ok(took)
    });
    Ok(try_join_all(connections).await?.concat())
}
