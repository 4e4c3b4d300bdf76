//! The truth about the parts: not serving until they answered, and again from the soft stop on.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{interval, timeout},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{lifecycle::Lifecycle, live::Redis, store::Store};

/// How often the parts are asked whether they answer.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long the store may take to answer: one that is cut off says nothing at all.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// Tells how the parts do, until the soft stop: then none of them serves, and whoever watches is sent away. Without Redis the node serves all the same: only `live` does not.
pub(super) async fn tell(mut health: HealthReporter, store: Store, redis: Option<Redis>, lifecycle: Lifecycle) {
    let mut ticks = interval(INTERVAL);
    // Without a server what may be lost is in this process, and always there.
    let (_always, in_memory) = watch::channel(true);
    let mut live = redis.map_or(in_memory, |redis| redis.changes());
    let mut watch = async || {
        loop {
            let status = status(matches!(timeout(PING_LIMIT, store.ping()).await, Ok(Ok(()))));
            health.set_service_status("store", status).await;
            health.set_service_status("", status).await;
            loop {
                let is_up = *live.borrow_and_update();
                health.set_service_status("live", self::status(is_up)).await;
                tokio::select! {
                    _ = ticks.tick() => break,
                    Ok(()) = live.changed() => {}
                }
            }
        }
    };
    lifecycle.stopping().run_until_cancelled(watch()).await;
    for part in ["", "store", "live"] {
        health.set_service_status(part, ServingStatus::NotServing).await;
        // Ends the streams of those who watch it, once they have heard.
        health.clear_service_status(part).await;
        health.set_service_status(part, ServingStatus::NotServing).await;
    }
}

fn status(is_well: bool) -> ServingStatus {
    if is_well { ServingStatus::Serving } else { ServingStatus::NotServing }
}
