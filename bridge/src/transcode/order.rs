//! Puts the records of a message into the order in which the writer expects them.

use super::{
    error::Malformed,
    table::{Kind, Label, Message, Tables},
    wire::{self, Reader, WireType},
};

/// A record: all its bytes, and those of its value.
struct Record<'w> {
    whole: &'w [u8],
    value: &'w [u8],
}

/// A message whose records are in order.
pub(super) struct Ordered<'w> {
    /// The message.
    pub(super) wire: Vec<u8>,
    /// The values of records that others took the place of: they do not count, and must make sense all the same.
    pub(super) replaced: Vec<(Kind, &'w [u8])>,
}

/// The same message with its records by ascending field number, one for each singular field: of several the last counts,
/// of messages all count together, and of a `oneof` only the last member. Unknown fields are left out.
pub(super) fn in_order<'w>(tables: &Tables, message: &Message, wire: &'w [u8]) -> Result<Ordered<'w>, Malformed> {
    let mut replaced = Vec::new();
    let mut slots: Vec<Vec<Record>> = message.fields.iter().map(|_| Vec::new()).collect();
    let mut reader = Reader::new(wire);
    while !reader.is_empty() {
        let whole = reader.rest();
        let tag = reader.tag()?;
        let value = reader.rest();
        reader.value(tag.wire_type()?)?;
        let after = reader.rest().len();
        let record = Record { whole: &whole[..whole.len() - after], value: &value[..value.len() - after] };

        let Some(index) = message.by_tag(tag, 0) else { continue };
        let field = &message.fields[index];
        field.check(tag)?;
        if field.oneof.is_some() {
            let others = message.fields.iter().zip(&mut slots).filter(|(other, _)| other.oneof == field.oneof);
            for (other, slot) in others.filter(|(other, _)| other.number != field.number) {
                replaced.extend(slot.drain(..).map(|record| (other.kind, record.value)));
            }
        }
        slots[index].push(record);
    }

    let mut out = Vec::with_capacity(wire.len());
    for (field, slot) in message.fields.iter().zip(slots) {
        match (field.label, field.kind) {
            (Label::List, _) => slot.iter().for_each(|record| out.extend_from_slice(record.whole)),
            (Label::Map, Kind::Message(entry)) => {
                for record in slot {
                    let entry = in_order(tables, tables.message(entry), Reader::new(record.value).bytes()?)?;
                    wire::put_bytes(field.number, &entry.wire, &mut out);
                    replaced.extend(entry.replaced);
                }
            }
            (_, Kind::Message(_)) if slot.len() > 1 => {
                wire::put_tag(field.number, WireType::Bytes, &mut out);
                wire::put_delimited(&mut out, |out| {
                    slot.iter()
                        .try_for_each(|part| Reader::new(part.value).bytes().map(|part| out.extend_from_slice(part)))
                })?;
            }
            _ => {
                let Some((last, earlier)) = slot.split_last() else { continue };
                out.extend_from_slice(last.whole);
                replaced.extend(earlier.iter().map(|record| (field.kind, record.value)));
            }
        }
    }
    Ok(Ordered { wire: out, replaced })
}
