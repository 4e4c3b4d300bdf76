//! From the settings to the limits.

use std::time::Duration;

use crate::{
    config::Settings,
    live::{limit::Rules, place::PlaceLimits},
    model::limit::Rate,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// How much may be sent.
pub(super) fn rules(settings: &Settings) -> Rules {
    let rate = |(limit, window): (u32, Duration)| Rate { limit, window };
    let frames = [
        (settings.messages_per_second, SECOND),
        (settings.messages_per_minute, MINUTE),
        (settings.messages_per_hour, HOUR),
        (settings.messages_per_day, DAY),
    ];
    let requests = [(settings.requests_per_second, SECOND), (settings.requests_per_minute, MINUTE)];
    Rules {
        frames: frames.map(rate).to_vec(),
        requests: requests.map(rate).to_vec(),
        violation_ttl: settings.violation_ttl,
    }
}

/// How many may be connected.
pub(super) fn places(settings: &Settings) -> PlaceLimits {
    PlaceLimits {
        per_user: settings.max_connections_per_user,
        per_address: settings.max_connections_per_address,
        per_node: settings.max_connections,
    }
}
