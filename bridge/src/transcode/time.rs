//! The text forms of `google.protobuf.Timestamp` and `google.protobuf.Duration`.

use super::{error::Malformed, json};

/// 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10,000 years either way.
const MAX_DURATION: i64 = 315_576_000_000;
const NANOS: i32 = 1_000_000_000;
const DAY: i64 = 86_400;
/// Days from 0000-03-01, where years are counted from here, to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days of 400 years.
const CYCLE: i64 = 146_097;

/// Appends a timestamp in quotes, as in `"2026-01-02T03:04:05.678Z"`.
pub(super) fn put_timestamp(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if !TIMESTAMPS.contains(&seconds) || !(0..NANOS).contains(&nanos) {
        return Err(Malformed("timestamp out of range"));
    }
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let mut text = *b"\"0000-00-00T00:00:00";
    put_two(year / 100, &mut text[1..]);
    put_two(year % 100, &mut text[3..]);
    put_two(month, &mut text[6..]);
    put_two(day, &mut text[9..]);
    put_two(second / 3600, &mut text[12..]);
    put_two(second / 60 % 60, &mut text[15..]);
    put_two(second % 60, &mut text[18..]);
    out.extend_from_slice(&text);
    put_fraction(nanos.unsigned_abs(), out);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// Appends a duration in quotes, as in `"-1.500s"`.
pub(super) fn put_duration(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let signs_agree = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
    if seconds.unsigned_abs() > MAX_DURATION.unsigned_abs() || nanos.unsigned_abs() >= NANOS as u32 || !signs_agree {
        return Err(Malformed("duration out of range"));
    }
    out.push(b'"');
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    json::put_integer(seconds.unsigned_abs(), out);
    put_fraction(nanos.unsigned_abs(), out);
    out.extend_from_slice(b"s\"");
    Ok(())
}

/// Seconds and nanoseconds since 1970 of an RFC 3339 time, whatever its offset; `None` where it is not one or out of range.
pub(super) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let (front, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _] = front else { return None };
    let year = 100 * two(front, 0)? + two(front, 2)?;
    let (month, day) = (two(front, 5)?, two(front, 8)?);
    let (hour, minute, second) = (two(front, 11)?, two(front, 14)?, two(front, 17)?);
    let is_date = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, zone) = match rest.strip_prefix(b".") {
        Some(rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (parse_fraction(&rest[..digits])?, &rest[digits..])
        }
        None => (0, rest),
    };
    let local = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    let seconds = local - offset(zone)?;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanos))
}

/// Seconds and nanoseconds of a duration such as `-1.5s`; `None` where it is not one or out of range.
pub(super) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    // `parse` alone would take a sign.
    let seconds: i64 = whole.bytes().all(|byte| byte.is_ascii_digit()).then(|| whole.parse().ok())??;
    let nanos = fraction.map_or(Some(0), |fraction| parse_fraction(fraction.as_bytes()))?;
    let is_in_range = seconds < MAX_DURATION || seconds == MAX_DURATION && nanos == 0;
    is_in_range.then_some((sign * seconds, sign as i32 * nanos))
}

fn put_two(value: i64, out: &mut [u8]) {
    out[0] = b'0' + (value / 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

/// Appends the part behind the seconds in 0, 3, 6 or 9 digits.
fn put_fraction(nanos: u32, out: &mut Vec<u8>) {
    let digits = match nanos {
        0 => return,
        _ if nanos.is_multiple_of(1_000_000) => 3,
        _ if nanos.is_multiple_of(1_000) => 6,
        _ => 9,
    };
    let mut text = *b".000000000";
    let mut rest = nanos;
    for digit in text[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[..=digits]);
}

/// Nanoseconds of the one to nine digits behind the point.
fn parse_fraction(digits: &[u8]) -> Option<i32> {
    if !(1..=9).contains(&digits.len()) {
        return None;
    }
    let value = digits.iter().try_fold(0, |value, &byte| Some(10 * value + i32::try_from(digit(byte)?).ok()?))?;
    Some(value * 10_i32.pow(9 - digits.len() as u32))
}

/// The number that two digits stand for.
fn two(text: &[u8], at: usize) -> Option<i64> {
    Some(10 * digit(*text.get(at)?)? + digit(*text.get(at + 1)?)?)
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

/// Seconds that a zone, `Z` or as in `+01:30`, is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let sign = match zone {
        b"Z" => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The date so many days after 1970-01-01. Years are counted from March, so that a leap day comes last.
fn date(days: i64) -> (i64, i64, i64) {
    let (cycle, day) = ((days + EPOCH).div_euclid(CYCLE), (days + EPOCH).rem_euclid(CYCLE));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = 400 * cycle + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// Days from 1970-01-01 to a date: [`date`] the other way round.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    cycle * CYCLE + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - EPOCH
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(seconds: i64, nanos: i32) -> String {
        let mut out = Vec::new();
        put_timestamp(seconds, nanos, &mut out).unwrap();
        String::from_utf8(out).unwrap().trim_matches('"').to_owned()
    }

    #[test]
    fn timestamps_are_read_as_they_are_written() {
        for (seconds, nanos, text) in [
            (*TIMESTAMPS.start(), 0, "0001-01-01T00:00:00Z"),
            (*TIMESTAMPS.end(), 999_999_999, "9999-12-31T23:59:59.999999999Z"),
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 500_000_000, "1969-12-31T23:59:59.500Z"),
            (951_782_400, 1_000, "2000-02-29T00:00:00.000001Z"),
            (1_767_323_045, 0, "2026-01-02T03:04:05Z"),
        ] {
            assert_eq!(timestamp(seconds, nanos), text);
            assert_eq!(parse_timestamp(text), Some((seconds, nanos)), "{text}");
        }
        for day in (-719_000..2_900_000).step_by(97) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn offsets_are_taken_off() {
        assert_eq!(parse_timestamp("1970-01-01T01:30:00+01:30"), Some((0, 0)));
        assert_eq!(parse_timestamp("1969-12-31T23:00:00.1-01:00"), Some((0, 100_000_000)));
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02t03:04:05z",
            "2026-1-02T03:04:05Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.1234567890Z",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05ZZ",
            "+026-01-02T03:04:05Z",
            "0001-01-01T00:00:00+00:01",
            "0000-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for (seconds, nanos, text) in
            [(0, 0, "0s"), (0, -500_000_000, "-0.500s"), (-1, -1, "-1.000000001s"), (MAX_DURATION, 0, "315576000000s")]
        {
            let mut out = Vec::new();
            put_duration(seconds, nanos, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{text}\""));
            assert_eq!(parse_duration(text), Some((seconds, nanos)));
        }
        for text in ["", "s", "1", "+1s", ".5s", "1.s", "--1s", "1 s", "315576000001s", "1.0000000001s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert!(put_duration(1, -1, &mut Vec::new()).is_err());
    }
}
