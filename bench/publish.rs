//! Published events: how many a second nobody subscribes to, and how long one takes to the last of many who do; beside
//! Centrifugo, whose channels keep nothing, in turns.

use std::time::Duration;

use anyhow::Result;
use colloquy::proto::{EventAudience, PublishEventRequest, event_service_client::EventServiceClient};
use prost_types::{Struct, value::Kind};
use reqwest::Client;
use tonic::Request;

use super::{
    broadcast::{Broadcaster, Centrifugo, Events, SELDOM},
    caller::PATIENCE,
    crowd::{Crowd, in_turns},
    requests::{CONNECTIONS, ROUND, ROUNDS, turn},
    table::{Samples, Table},
};

/// Sockets that subscribe, and events that they get.
const SUBSCRIBERS: usize = 1000;
const EVENTS: usize = 150;
/// Bytes of an event's data.
const CONTENT: usize = 300;

pub(crate) async fn measure() -> Result<Table> {
    let title = format!(
        "publish: PublishEvent over {CONNECTIONS} connections, and to the last of {SUBSCRIBERS} subscribers, beside {}'s \
         publishing over HTTP",
        Centrifugo::NAME
    );
    let table = rates(Table::new(title)).await?;
    let ours = Crowd::<Events>::gather(SUBSCRIBERS, CONTENT).await?;
    // What it becomes is what the other is given to deliver.
    ours.publish().await?;
    let peer = ours.beside::<Centrifugo>().await?;
    let (our_times, peer_times) = in_turns(&ours, &peer, EVENTS).await?;
    Ok(table.percentiles("to the last subscriber", &our_times, &peer_times))
}

async fn rates(table: Table) -> Result<Table> {
    let (ours, peer) = (Events::start(SELDOM).await?, Centrifugo::start(SELDOM).await?);
    let (channel, text) = (ours.channels(1).await?.remove(0), "x".repeat(CONTENT));
    let mut clients = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::builder().http1_only().no_proxy().timeout(PATIENCE).build()?);
        channels.push(EventServiceClient::new(ours.0.caller.channel().await?));
    }
    let credential = ours.0.caller.credential()?;
    let event = PublishEventRequest {
        r#type: channel.clone(),
        data: Some(Struct { fields: [("text".to_owned(), Kind::StringValue(text.clone()).into())].into() }),
        audience: EventAudience::Subscribers.into(),
        ..PublishEventRequest::default()
    };
    let over_grpc = async |index: usize| {
        let mut request = Request::new(event.clone());
        request.metadata_mut().insert("authorization", credential.clone());
        channels[index].clone().publish_event(request).await?;
        Ok(())
    };
    let over_rest = async |index: usize| {
        ours.post(&clients[index], &channel, &text).send().await?.error_for_status()?.bytes().await?;
        Ok(())
    };
    let at_peer = async |index: usize| {
        peer.post(&clients[index], &channel, &text).send().await?.error_for_status()?.bytes().await?;
        Ok(())
    };
    // The first round of each warms it up.
    let mut took: [Vec<Duration>; 3] = Default::default();
    for round in 0..=ROUNDS {
        let turns = [turn(&over_rest).await?, turn(&over_grpc).await?, turn(&at_peer).await?];
        if round > 0 {
            took.iter_mut().zip(turns).for_each(|(all, turn)| all.extend(turn));
        }
    }
    let rate = |calls: &Vec<Duration>| calls.len() as f64 / (ROUND * ROUNDS as u32).as_secs_f64();
    let table = table.row("events over REST", "/s", rate(&took[0]), rate(&took[2])).row(
        "events over gRPC",
        "/s",
        rate(&took[1]),
        rate(&took[2]),
    );
    let [rest, _, peer] = took.map(|all| all.into_iter().collect::<Samples>());
    Ok(table.percentiles("answer over REST", &rest, &peer))
}
