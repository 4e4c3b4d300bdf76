//! Time, as a parameter: rules ask a [`Clock`], never the system.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use time::{
    Date, OffsetDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

const DAY: &[BorrowedFormatItem<'static>] = format_description!("[year]-[month]-[day]");

/// A point in time: microseconds since 1970 UTC, the finest that PostgreSQL keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The end of the year 9999, later than all that happens.
    pub const NEVER: Self = Self(253_402_300_799_000_000);

    /// The point so many microseconds after 1970 UTC.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970 UTC.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970 UTC.
    pub fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The moment so long before.
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to this; zero when it is the other way round.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).try_into().unwrap_or(0))
    }

    /// The UTC day, `YYYY-MM-DD`.
    pub fn day(self) -> String {
        Day::from(self).to_string()
    }

    /// The day of the week in UTC, such as `Monday`.
    pub fn weekday(self) -> String {
        self.date_time().weekday().to_string()
    }

    /// When the next UTC day begins.
    pub fn next_day(self) -> Self {
        const DAY: i64 = 86_400_000_000;
        Self((self.0.div_euclid(DAY) + 1).saturating_mul(DAY))
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_micros().try_into().unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_micros().try_into().unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, with 0, 3 or 6 decimals, as protobuf's JSON writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.date_time();
        let whole = at.replace_nanosecond(0).map_err(|_| fmt::Error)?.format(&Rfc3339).map_err(|_| fmt::Error)?;
        let whole = whole.trim_end_matches('Z');
        match (at.millisecond(), at.microsecond()) {
            (_, 0) => write!(formatter, "{whole}Z"),
            (millis, micros) if micros % 1000 == 0 => write!(formatter, "{whole}.{millis:03}Z"),
            (_, micros) => write!(formatter, "{whole}.{micros:06}Z"),
        }
    }
}

/// A UTC day; written `YYYY-MM-DD`, which sorts as days do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(Date);

impl Day {
    /// The day so many days earlier.
    pub fn minus(self, days: u16) -> Self {
        Self(self.0.saturating_sub(time::Duration::days(days.into())))
    }
}

impl From<Timestamp> for Day {
    fn from(at: Timestamp) -> Self {
        Self(at.date_time().date())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.format(DAY).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Day {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Date::parse(text, DAY).map(Self)
    }
}

/// Tells the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    ahead_micros: i64,
}

impl Clock {
    /// The system's time, moved by so many microseconds.
    pub fn shifted(ahead_micros: i64) -> Self {
        Self { ahead_micros }
    }

    /// The present.
    pub fn now(self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else takes")]
        let system = std::time::SystemTime::now();
        let micros = system.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_micros();
        Timestamp(i64::try_from(micros).unwrap_or(i64::MAX).saturating_add(self.ahead_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_as_many_decimals_as_protobuf_does() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_700_000_000_000_000, "2023-11-14T22:13:20Z"),
            (1_700_000_000_120_000, "2023-11-14T22:13:20.120Z"),
            (1_700_000_000_000_012, "2023-11-14T22:13:20.000012Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
    }
}
