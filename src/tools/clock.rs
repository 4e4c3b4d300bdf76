//! `time.now`: models do not know what time it is.

use serde_json::{Value, json};

use super::Definition;
use crate::model::clock::Clock;

pub(super) const NAME: &str = "time.now";

pub(super) fn definition() -> Definition {
    Definition {
        name: NAME.to_owned(),
        description: "Tells the present date, time and day of the week in UTC.".to_owned(),
        parameters: json!({"type": "object", "properties": {}}),
    }
}

/// The time now, as JSON.
pub(super) fn call(clock: Clock) -> String {
    let now = clock.now();
    let told: Value = json!({"time": now.to_string(), "weekday": now.weekday(), "time_zone": "UTC"});
    told.to_string()
}
