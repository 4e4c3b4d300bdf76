//! Field masks, whose JSON is one string of paths in camel case.

use super::{
    error::{Invalid, Malformed},
    wire::{self, Value},
};

/// What is wrong with a path that would not come back as it was.
const UNTELLABLE: Malformed = Malformed("field mask of a path that camel case cannot tell");

/// Appends the JSON of an encoded mask.
pub(super) fn put_json(mask: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'"');
    let start = out.len();
    for record in wire::records(mask) {
        match record? {
            (1, Value::Bytes(path)) => {
                if out.len() > start {
                    out.push(b',');
                }
                put_camel_case(path, out)?;
            }
            (1, _) => return Err(Malformed("unexpected wire type")),
            _ => {}
        }
    }
    out.push(b'"');
    Ok(())
}

/// Appends the encoded mask of the paths in `text`.
pub(super) fn put_wire(text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
    if text.is_empty() {
        return Ok(());
    }
    for path in text.split(',') {
        if path.is_empty() || !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
            return Err(Invalid::field(format!("expected field names with commas between them, found `{path}`")));
        }
        let mut snake = Vec::with_capacity(path.len() + 4);
        for byte in path.bytes() {
            if byte.is_ascii_uppercase() {
                snake.push(b'_');
            }
            snake.push(byte.to_ascii_lowercase());
        }
        wire::put_bytes(1, &snake, out);
    }
    Ok(())
}

fn put_camel_case(path: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut after_underscore = false;
    for &byte in path {
        match byte {
            b'a'..=b'z' if after_underscore => out.push(byte.to_ascii_uppercase()),
            b'a'..=b'z' => out.push(byte),
            b'0'..=b'9' | b'.' if !after_underscore => out.push(byte),
            b'_' if !after_underscore => {}
            _ => return Err(UNTELLABLE),
        }
        after_underscore = byte == b'_';
    }
    if path.is_empty() || after_underscore { Err(UNTELLABLE) } else { Ok(()) }
}
