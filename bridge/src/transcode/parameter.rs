//! Sets single fields from text, as query parameters and path variables give them.

use super::{
    error::Invalid,
    scalar,
    table::{Kind, Label, MessageId, Shape, Tables},
    wire,
};

/// Appends the record of the field at `path`, names with dots between them, with the value that `text` stands for.
pub(super) fn put(tables: &Tables, id: MessageId, path: &str, text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let message = tables.message(id);
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let index = if message.shape == Shape::Object { message.by_name(name, 0) } else { None };
    let Some(field) = index.map(|index| &message.fields[index]) else {
        return Err(Invalid::field("unknown field").in_member(name));
    };
    wire::put_varint(field.tag.0.into(), out);
    let value = match (field.label, field.kind, rest) {
        (Label::Explicit, Kind::Message(inner), Some(rest)) => {
            wire::put_delimited(out, |out| put(tables, inner, rest, text, out))
        }
        (_, _, Some(rest)) => Err(Invalid::field("unknown field").in_member(rest)),
        (Label::Map, ..) => Err(Invalid::field("cannot be given as text")),
        (_, Kind::Message(inner), None) => wire::put_delimited(out, |out| put_message(tables, inner, text, out)),
        (_, kind, None) => scalar::put(tables, kind, text, out).map(drop),
    };
    value.map_err(|error| error.in_member(name))
}

/// Appends the fields of a message whose JSON is a single value.
fn put_message(tables: &Tables, id: MessageId, text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let message = tables.message(id);
    match (message.shape, message.fields.as_slice()) {
        (Shape::Timestamp | Shape::Duration | Shape::FieldMask, _) => scalar::put_message(message.shape, text, out),
        (Shape::Wrapper, [value]) => {
            wire::put_varint(value.tag.0.into(), out);
            scalar::put(tables, value.kind, text, out).map(drop)
        }
        _ => Err(Invalid::field("cannot be given as text")),
    }
}
