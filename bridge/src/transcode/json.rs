//! JSON text of single values.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::error::Malformed;

/// Appends a JSON string, quotes included.
pub fn put_string(text: &str, out: &mut Vec<u8>) {
    put_quoted(text.as_bytes(), out);
}

/// Appends a JSON string of what should be UTF-8.
#[inline]
pub(super) fn put_utf8(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
        return Err(Malformed("string is not UTF-8"));
    }
    put_quoted(bytes, out);
    Ok(())
}

fn put_quoted(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    out.push(b'"');
    loop {
        let (plain, after) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some((&special, after)) = after.split_first() else { break };
        put_escape(special, out);
        rest = after;
    }
    out.push(b'"');
}

pub(super) fn put_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

pub(super) fn put_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a float or a double; what is not finite becomes a string.
pub(super) fn put_float<F: zmij::Float + Into<f64> + Copy>(value: F, out: &mut Vec<u8>) {
    let wide = value.into();
    if wide.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if wide > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

/// Appends bytes as a string of base64.
pub(super) fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// How many bytes at the front stand for themselves in a JSON string: up to a quote, a backslash or a control character.
#[inline]
pub(super) fn plain_length(text: &[u8]) -> usize {
    let (words, tail) = text.as_chunks::<8>();
    for (index, &word) in words.iter().enumerate() {
        let specials = specials(u64::from_le_bytes(word));
        if specials != 0 {
            return index * 8 + specials.trailing_zeros() as usize / 8;
        }
    }
    let special = tail.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\');
    text.len() - tail.len() + special.unwrap_or(tail.len())
}

/// Marks, by its highest bit, the first byte of eight that does not stand for itself. Those after it may be marked wrongly:
/// the subtractions that find one byte borrow from the next.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x80 * ONES;
    let quotes = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslashes = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let controls = word.wrapping_sub(ONES * b' ' as u64);
    // Bytes of 0x80 and above are parts of characters beyond ASCII, which stand for themselves.
    (quotes | backslashes | controls) & !word & HIGHS
}

#[cold]
fn put_hex_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&digits);
}

fn put_escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => return put_hex_escape(byte, out),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_wherever_it_stands() {
        for special in (0..b' ').chain([b'"', b'\\']) {
            for at in 0..20 {
                let mut text = "é".repeat(10).into_bytes();
                text[at] = special;
                assert_eq!(plain_length(&text), at, "byte {special:#x}");
            }
        }
        assert_eq!(plain_length("~!#[]\u{7f}\u{80}\u{ffff}".repeat(3).as_bytes()), 33);
    }

    #[test]
    fn strings_are_escaped() {
        let mut out = Vec::new();
        put_string("a\"b\\c\nd\u{1}\u{1f600}", &mut out);
        assert_eq!(out, r#""a\"b\\c\nd\u0001😀""#.as_bytes());
    }
}
