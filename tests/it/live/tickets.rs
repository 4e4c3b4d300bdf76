//! Tickets: good once, for a while, on every node.

use std::time::Duration;

use colloquy::{
    live::ticket::Grant,
    model::{clock::Timestamp, ids::SessionId},
};
use futures_util::future::join_all;

use super::{Ground, on_both};

on_both!(a_ticket_is_good_once, a_ticket_expires);

fn grant() -> Grant {
    Grant { session_id: SessionId::generate(), expires_at: Timestamp::from_micros(1_700_000_000_000_001) }
}

async fn a_ticket_is_good_once(ground: Ground) {
    let (here, there) = (ground.node().await, ground.node().await);
    let here = here.tickets(Duration::from_secs(30));
    let there = if there.redis.is_some() { there.tickets(Duration::from_secs(30)) } else { here.clone() };
    let grant = grant();
    let ticket = here.issue(grant).await;
    let tries = join_all((0..10).map(|nth| if nth % 2 == 0 { &here } else { &there }.redeem(&ticket))).await;
    let good: Vec<Grant> = tries.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(good, [grant]);
    assert_eq!(here.redeem("clq_tk_none").await.unwrap(), None);
}

async fn a_ticket_expires(ground: Ground) {
    let tickets = ground.node().await.tickets(Duration::ZERO);
    let ticket = tickets.issue(grant()).await;
    assert_eq!(tickets.redeem(&ticket).await.unwrap(), None);
}
