//! Encodes values from their text: what stands in a JSON number or string, a map's key or a query parameter.

use std::str::FromStr;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    error::Invalid,
    mask,
    number::{self, NotInteger},
    table::{EnumId, Kind, Shape, Tables},
    time,
    wire::{self, WireType},
};

const UNPADDED: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, UNPADDED);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, UNPADDED);

/// Appends the value, without a tag, that `text` stands for, and says whether it is zero or empty.
pub(super) fn put(tables: &Tables, kind: Kind, text: &str, out: &mut Vec<u8>) -> Result<bool, Invalid> {
    match kind {
        Kind::Int32 => Ok(put_signed(integer::<i32>(kind, text)?.into(), out)),
        Kind::Int64 => Ok(put_signed(integer(kind, text)?, out)),
        Kind::Uint32 => Ok(put_unsigned(integer::<u32>(kind, text)?.into(), out)),
        Kind::Uint64 => Ok(put_unsigned(integer(kind, text)?, out)),
        Kind::Sint32 => Ok(put_unsigned(wire::zigzag(integer::<i32>(kind, text)?.into()), out)),
        Kind::Sint64 => Ok(put_unsigned(wire::zigzag(integer(kind, text)?), out)),
        Kind::Fixed32 => Ok(put_fixed(integer::<u32>(kind, text)?.to_le_bytes(), out)),
        Kind::Sfixed32 => Ok(put_fixed(integer::<i32>(kind, text)?.to_le_bytes(), out)),
        Kind::Fixed64 => Ok(put_fixed(integer::<u64>(kind, text)?.to_le_bytes(), out)),
        Kind::Sfixed64 => Ok(put_fixed(integer::<i64>(kind, text)?.to_le_bytes(), out)),
        Kind::Float => Ok(put_fixed(float::<f32>(kind, text)?.to_le_bytes(), out)),
        Kind::Double => Ok(put_fixed(float::<f64>(kind, text)?.to_le_bytes(), out)),
        Kind::Enum(id) => Ok(put_signed(enumeration(tables, id, text)?.into(), out)),
        Kind::String => Ok(put_bytes(text.as_bytes(), out)),
        Kind::Bytes => Ok(put_bytes(&base64(text)?, out)),
        Kind::Bool => match text {
            "true" => Ok(put_bool(true, out)),
            "false" => Ok(put_bool(false, out)),
            _ => Err(mismatch(kind)),
        },
        Kind::Null if text == "null" => Ok(put_unsigned(0, out)),
        Kind::Null | Kind::Message(_) => Err(mismatch(kind)),
    }
}

/// Appends a map's key. Integers are taken in their plain form alone, so that no two texts are the same key.
pub(super) fn put_key(tables: &Tables, kind: Kind, text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let is_plain = match kind {
        Kind::String | Kind::Bool => true,
        _ => number::integer(text).is_ok_and(|value| value.to_string() == text),
    };
    if !is_plain {
        return Err(Invalid::field(format!("expected {} as key", expectation(kind))));
    }
    put(tables, kind, text, out).map(drop)
}

/// Appends the fields of a message whose JSON is a string.
pub(super) fn put_message(shape: Shape, text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let parsed = match shape {
        Shape::Timestamp => time::parse_timestamp(text),
        Shape::Duration => time::parse_duration(text),
        Shape::FieldMask => return mask::put_wire(text, out),
        _ => None,
    };
    let (seconds, nanos) = parsed.ok_or_else(|| Invalid::field(format!("expected {}", form(shape))))?;
    for (number, value) in [(1, seconds), (2, i64::from(nanos))] {
        if value != 0 {
            wire::put_tag(number, WireType::Varint, out);
            put_signed(value, out);
        }
    }
    Ok(())
}

pub(super) fn put_bool(value: bool, out: &mut Vec<u8>) -> bool {
    put_unsigned(value.into(), out)
}

/// What a value of this kind should be.
pub(super) fn expectation(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a 32-bit integer",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a 64-bit integer",
        Kind::Uint32 | Kind::Fixed32 => "an unsigned 32-bit integer",
        Kind::Uint64 | Kind::Fixed64 => "an unsigned 64-bit integer",
        Kind::Float | Kind::Double => "a number",
        Kind::String => "a string",
        Kind::Bytes => "a string of base64",
        Kind::Enum(_) => "the name of a value",
        Kind::Null => "null",
        Kind::Message(_) => "an object",
    }
}

/// What the JSON of a message of this shape should be.
pub(super) fn form(shape: Shape) -> &'static str {
    match shape {
        Shape::Timestamp => "a time as in \"2026-01-02T03:04:05Z\"",
        Shape::Duration => "a duration as in \"1.5s\"",
        Shape::FieldMask => "field names with commas between them",
        Shape::ListValue => "a list",
        Shape::Object | Shape::Struct | Shape::Wrapper | Shape::Value | Shape::Unsupported => "an object",
    }
}

#[cold]
fn mismatch(kind: Kind) -> Invalid {
    Invalid::field(format!("expected {}", expectation(kind)))
}

#[cold]
fn out_of_range(kind: Kind) -> Invalid {
    Invalid::field(format!("out of the range of {}", expectation(kind)))
}

#[inline]
fn integer<I: TryFrom<i128>>(kind: Kind, text: &str) -> Result<I, Invalid> {
    match number::integer(text) {
        Ok(value) => I::try_from(value).map_err(|_| out_of_range(kind)),
        Err(NotInteger::TooLarge) => Err(out_of_range(kind)),
        Err(NotInteger::Other) => Err(mismatch(kind)),
    }
}

fn float<F: FromStr + Into<f64> + Copy>(kind: Kind, text: &str) -> Result<F, Invalid> {
    let special = matches!(text, "NaN" | "Infinity" | "-Infinity");
    if !special && !number::is_number(text) {
        return Err(mismatch(kind));
    }
    let value: F = text.parse().map_err(|_| mismatch(kind))?;
    if special || value.into().is_finite() { Ok(value) } else { Err(out_of_range(kind)) }
}

fn enumeration(tables: &Tables, id: EnumId, text: &str) -> Result<i32, Invalid> {
    let enumeration = tables.enumeration(id);
    enumeration.number(text).map_or_else(
        || match number::integer(text) {
            Ok(value) => i32::try_from(value).map_err(|_| out_of_range(Kind::Int32)),
            Err(_) => {
                let names: Vec<_> = enumeration.short_names().collect();
                Err(Invalid::field(format!("expected one of {}", names.join(", "))))
            }
        },
        Ok,
    )
}

fn base64(text: &str) -> Result<Vec<u8>, Invalid> {
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    engine.decode(text).map_err(|_| mismatch(Kind::Bytes))
}

fn put_signed(value: i64, out: &mut Vec<u8>) -> bool {
    put_unsigned(value as u64, out)
}

fn put_unsigned(value: u64, out: &mut Vec<u8>) -> bool {
    wire::put_varint(value, out);
    value == 0
}

fn put_fixed<const N: usize>(bytes: [u8; N], out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(&bytes);
    bytes == [0; N]
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    wire::put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
    bytes.is_empty()
}
