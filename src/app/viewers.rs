//! From the settings to how viewers are kept.

use crate::{
    config::Settings,
    session::{health::Standards, lanes::Bounds, sessions::Rules},
};

/// What may wait for one viewer.
pub(super) fn lanes(settings: &Settings) -> Bounds {
    Bounds { frames: settings.lane_frames, bytes: settings.lane_bytes, ttl: settings.lane_ttl }
}

/// How connections are kept.
pub(super) fn rules(settings: &Settings) -> Rules {
    Rules {
        free_pings: settings.free_pings_per_second,
        page_bytes: settings.recovery_page_bytes,
        reconnects_per_second: settings.reconnects_per_second,
        breaker_failures: settings.send_breaker_failures,
        standards: Standards {
            good_latency: settings.health_good_latency,
            bad_latency: settings.health_bad_latency,
            bad_error_rate: f64::from(settings.health_bad_error_percent) / 100.0,
            samples: settings.health_samples,
            good_silence: settings.heartbeat_interval,
            bad_silence: settings.connection_timeout,
            interval: settings.health_interval,
            strikes: settings.health_strikes,
        },
    }
}
