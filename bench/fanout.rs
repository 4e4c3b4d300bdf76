//! From publishing an event to its last delivery, to many sockets on one channel; beside nchan, Centrifugo and FastAPI, which
//! take turns with ours event by event.

use anyhow::Result;

use super::{
    broadcast::{Broadcaster, Centrifugo, Colloquy, FastApi, Nchan},
    crowd::{Crowd, in_turns},
    table::Table,
};

/// Sockets, and events that each server has with so many.
const ROUNDS: [(usize, usize); 3] = [(100, 300), (1000, 150), (5000, 50)];
/// Bytes of a message of ours.
const CONTENT: usize = 300;
/// Sockets, and the peer, of the budget.
const BUDGET: (usize, &str) = (1000, Nchan::NAME);

pub(crate) async fn measure() -> Result<Table> {
    let title = format!(
        "fanout: from publishing to the last of so many sockets on one channel, beside {}, {} and {} in turns",
        Nchan::NAME,
        Centrifugo::NAME,
        FastApi::NAME
    );
    let mut table = Table::new(title);
    for (sockets, events) in ROUNDS {
        let ours = Crowd::<Colloquy>::gather(sockets, CONTENT).await?;
        // The frame that it becomes is what the others are given to deliver.
        ours.publish().await?;
        table = beside::<Nchan>(table, &ours, events).await?;
        table = beside::<Centrifugo>(table, &ours, events).await?;
        table = beside::<FastApi>(table, &ours, events).await?;
    }
    Ok(table)
}

async fn beside<Peer: Broadcaster>(table: Table, ours: &Crowd<Colloquy>, events: usize) -> Result<Table> {
    let peer = ours.beside::<Peer>().await?;
    let (our_times, peer_times) = in_turns(ours, &peer, events).await?;
    let figure = format!("{} sockets, {}", ours.sockets, Peer::NAME);
    let table = [("p50", 0.5), ("p99", 0.99)].into_iter().fold(table, |table, (name, quantile)| {
        let (ours, peer) = (our_times.quantile_ms(quantile), peer_times.quantile_ms(quantile));
        table.row(format!("{figure}, {name}"), "ms", ours, peer)
    });
    Ok(if (ours.sockets, Peer::NAME) == BUDGET {
        let (p99, allowed) = (our_times.quantile_ms(0.99), peer_times.quantile_ms(0.99));
        table.budget(&format!("p99 to {} sockets, as {}'s", ours.sockets, Peer::NAME), "ms", allowed, p99)
    } else {
        table
    })
}
