//! Published events as they are set.

use crate::{
    config::Settings,
    live::{Redis, bus::Bus, idempotency::Idempotency},
    model::{clock::Clock, publication::Registry},
    service::events::{Events, Parts},
    session::hub::Hub,
    store::Store,
};

/// Publishes events of the types that are set, to viewers whom the hub knows.
pub(super) fn open(settings: &Settings, store: &Store, bus: &Bus, redis: Option<&Redis>, hub: &Hub) -> Events {
    let hub = hub.clone();
    Events::new(Parts {
        store: store.clone(),
        bus: bus.clone(),
        clock: Clock::shifted(settings.clock_ahead_micros),
        registry: Registry::new(settings.event_types.clone()),
        idempotency: Idempotency::new(redis.cloned()),
        policy: settings.content_policy,
        reach: Box::new(move |topics| hub.reach(topics)),
    })
}
