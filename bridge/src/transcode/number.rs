//! Numbers as JSON writes them, exactly.

/// Why a text is not an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotInteger {
    /// It is not a number, or has a part behind the point.
    Other,
    /// It has more digits than any field can hold.
    TooLarge,
}

/// Digits that an `i128` holds whatever they are.
const MAX_DIGITS: usize = 38;

/// How many bytes at the front are a JSON number; 0 where none is.
pub(super) fn length(text: &[u8]) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = match text.get(start) {
        Some(b'0') => start + 1,
        _ => start + digits(start),
    };
    if end == start {
        return 0;
    }
    if text.get(end) == Some(&b'.') {
        match digits(end + 1) {
            0 => return 0,
            count => end += 1 + count,
        }
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        match digits(end + 1 + sign) {
            0 => return 0,
            count => end += 1 + sign + count,
        }
    }
    end
}

/// Whether all of it is a JSON number.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && length(text.as_bytes()) == text.len()
}

/// The value of an integer, which may be written as in `1.0` or `1e2`.
pub(super) fn integer(text: &str) -> Result<i128, NotInteger> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let plain =
        matches!(digits.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.len() < 18 && rest.iter().all(u8::is_ascii_digit));
    if plain {
        let value = digits.bytes().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        return Ok(sign * i128::from(value));
    }
    if !is_number(text) {
        return Err(NotInteger::Other);
    }
    Ok(sign * unusual(digits)?)
}

/// The value of a number without its sign that is long or has a point or an exponent.
#[cold]
fn unusual(text: &str) -> Result<i128, NotInteger> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    let significant = digits.trim_end_matches('0');
    let dropped = digits.len() - significant.len();
    // An exponent too long for an i64 is as good as the largest: no text of digits is long enough to make up for it.
    let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent: i64 = exponent.parse().unwrap_or(beyond);
    let zeros = exponent.saturating_add(dropped as i64).saturating_sub(fraction.len() as i64);
    let zeros = usize::try_from(zeros).map_err(|_| NotInteger::Other)?;
    if significant.len().saturating_add(zeros) > MAX_DIGITS {
        return Err(NotInteger::TooLarge);
    }
    let significant: i128 = significant.parse().map_err(|_| NotInteger::TooLarge)?;
    Ok(significant * 10_i128.pow(zeros as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_however_they_are_written() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("7", 7),
            ("-12", -12),
            ("1.0", 1),
            ("1e2", 100),
            ("1E+2", 100),
            ("-1.50e1", -15),
            ("1200e-2", 12),
            ("0.00e999999999999999999999", 0),
            ("9223372036854775807.0", i128::from(i64::MAX)),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("999999999999999999", 999_999_999_999_999_999),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_integer_is_refused() {
        for text in
            ["", "-", "+1", "01", "1.", ".5", "1e", "1.5", "1e-1", "1e-99999999999999999999", " 1", "1 ", "0x1", "١"]
        {
            assert_eq!(integer(text), Err(NotInteger::Other), "{text}");
        }
        for text in ["1e39", "1e99999999999999999999", &"9".repeat(40)] {
            assert_eq!(integer(text), Err(NotInteger::TooLarge), "{text}");
        }
    }
}
