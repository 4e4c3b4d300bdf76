//! What acts depend on, and what may end on the spot.

use super::OPEN;
use crate::harness::{Data, PostgresServer, Process, Server};

/// What dies in the middle of acts, as a lost machine does, and comes back with what it had.
pub(super) enum Mortal {
    /// The database of a node in this process.
    Database(PostgresServer),
    /// A node in a process of its own, and what lasts of it.
    Node(Option<Process>, Data),
}

impl Mortal {
    /// Dies.
    pub(super) async fn die(&mut self) {
        match self {
            Self::Database(postgres) => postgres.stop().await,
            Self::Node(process, _) => process.take().expect("it runs").kill().await,
        }
    }

    /// Comes back: a node somewhere else.
    pub(super) async fn rise(&mut self) -> Option<Server> {
        match self {
            Self::Database(postgres) => {
                postgres.resume().await;
                None
            }
            Self::Node(process, data) => {
                let risen = Process::start(data, &OPEN).await;
                let server = risen.server().clone();
                *process = Some(risen);
                Some(server)
            }
        }
    }
}
