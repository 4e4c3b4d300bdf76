//! The audit log and what it tells of never disagree, whatever happens to the database or the node in between. What is
//! done follows from a seed, which a failure tells.

mod acts;
mod mortal;
mod replay;
mod world;

use std::{cell::Cell, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tonic::Code;

use self::{mortal::Mortal, world::World};
use crate::harness::{ADMIN, Data, PATIENCE, PostgresServer, Process, Server, within};

/// Acts of a run in which nothing fails but what the rules refuse.
const ACTS: usize = 160;
/// Acts between two deaths.
const ACTS_BETWEEN: usize = 12;
/// Deaths of the database, or of the node.
const DEATHS: usize = 4;
/// People sign in as often as they like.
const OPEN: [(&str, &str); 2] =
    [("sign_in_failures_per_account", "1000000"), ("sign_in_failures_per_address", "1000000")];
/// How long two acts, and looking up who tries them, may take without a database or a node.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
/// Names a seed to repeat.
const SEED: &str = "COLLOQUY_TEST_SEED";

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
    while world.tried() < ACTS {
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
    while world.tried() < ACTS {
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
    let postgres = PostgresServer::start().await;
    let url = postgres.url();
    let server = Server::with(&[&ADMIN[..], &OPEN, &[("database_url", &*url)]].concat()).await;
    Box::pin(outlive(&seed, server, Mortal::Database(postgres))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_state_agree_when_the_node_is_killed_in_between() {
    let seed = Seed::sow();
    let data = Data::fresh().await;
    let process = Process::start(&data, &[&ADMIN[..], &OPEN].concat()).await;
    let server = process.server().clone();
    Box::pin(outlive(&seed, server, Mortal::Node(Some(process), data))).await;
}

/// Acts on and on while something dies again and again, and compares what came of it.
async fn outlive(seed: &Seed, server: Server, mut mortal: Mortal) {
    let mut random = seed.random();
    let mut world = World::new(server).await;
    let (done, noticed, is_over, risen) = (Cell::new(0), Cell::new(0), Cell::new(false), Cell::new(None));
    let acts = async {
        while !is_over.get() {
            world.act(&mut random).await;
            done.set(world.tried());
            noticed.set(world.failed(Code::Unavailable));
            if let Some(server) = risen.take() {
                world.move_to(server).await;
            }
        }
    };
    let deaths = async {
        for _ in 0..DEATHS {
            let before = done.get();
            within(PATIENCE, "acts are tried", async || done.get() >= before + ACTS_BETWEEN).await;
            let unnoticed = noticed.get();
            mortal.die().await;
            within(NOTICED_WITHIN, "an act meets nobody", async || noticed.get() > unnoticed).await;
            risen.set(mortal.rise().await);
        }
        is_over.set(true);
    };
    tokio::join!(acts, deaths);
    world.check().await;
}
