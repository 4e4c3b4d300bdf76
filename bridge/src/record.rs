//! Single fields of encoded messages, for the few that the bridge looks at itself.

use crate::transcode::{Malformed, wire};

/// The last record of a field that holds bytes, text or a message; empty where there is none.
pub(crate) fn bytes(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut found: &[u8] = &[];
    for record in wire::records(message) {
        if let (at, wire::Value::Bytes(value)) = record?
            && at == number
        {
            found = value;
        }
    }
    Ok(found)
}

/// The last record of a field that holds a number; 0 where there is none.
pub(crate) fn varint(message: &[u8], number: u32) -> Result<u64, Malformed> {
    let mut found = 0;
    for record in wire::records(message) {
        if let (at, wire::Value::Varint(value)) = record?
            && at == number
        {
            found = value;
        }
    }
    Ok(found)
}

/// Appends a record as it was read.
pub(crate) fn put(number: u32, value: wire::Value<'_>, out: &mut Vec<u8>) {
    match value {
        wire::Value::Varint(value) => {
            wire::put_tag(number, wire::WireType::Varint, out);
            wire::put_varint(value, out);
        }
        wire::Value::Fixed64(value) => {
            wire::put_tag(number, wire::WireType::Fixed64, out);
            out.extend_from_slice(&value.to_le_bytes());
        }
        wire::Value::Fixed32(value) => {
            wire::put_tag(number, wire::WireType::Fixed32, out);
            out.extend_from_slice(&value.to_le_bytes());
        }
        wire::Value::Bytes(value) => wire::put_bytes(number, value, out),
    }
}
