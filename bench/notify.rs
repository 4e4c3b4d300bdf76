//! From creating a notification, which is stored first, to its frame at the user's socket; beside Centrifugo, which stores
//! nothing, in turns.

use anyhow::Result;

use super::{
    broadcast::{Broadcaster, Centrifugo, Notifications},
    crowd::{Crowd, in_turns},
    table::Table,
};

const NOTIFICATIONS: usize = 1000;
/// Bytes of a notification's content.
const CONTENT: usize = 300;

pub(crate) async fn measure() -> Result<Table> {
    let title = format!("notify: from creating a notification to its frame, beside {} in turns", Centrifugo::NAME);
    let ours = Crowd::<Notifications>::gather(1, CONTENT).await?;
    // What it becomes is what the other is given to deliver.
    ours.publish().await?;
    let peer = ours.beside::<Centrifugo>().await?;
    let (our_times, peer_times) = in_turns(&ours, &peer, NOTIFICATIONS).await?;
    Ok(Table::new(title).percentiles("create to frame", &our_times, &peer_times))
}
