//! Reads an encoded message and writes the JSON that it stands for.

use std::collections::BTreeMap;

use super::{
    error::Malformed,
    json, mask, order,
    table::{Field, Kind, Label, Message, MessageId, Packing, Shape, Tables},
    time,
    wire::{self, Reader, Tag, Value},
};

/// How deep messages may nest. JSON of the depth that is taken fits, however it is encoded.
const MAX_DEPTH: usize = 100;
/// Zero, or empty, whatever the kind.
const ZERO: &[u8] = &[0; 8];

/// Appends the message as a JSON value.
pub(super) fn write(tables: &Tables, id: MessageId, wire: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    in_any_order(tables, out, |writer| writer.message(id, wire))
}

/// Appends the members of the message's JSON, each with a comma before it.
pub(super) fn write_members(tables: &Tables, id: MessageId, wire: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    in_any_order(tables, out, |writer| writer.members(id, wire))
}

/// Writes as if every record stood where encoders put it, and again, sorting each message first, where one does not.
fn in_any_order(
    tables: &Tables,
    out: &mut Vec<u8>,
    write: impl Fn(&mut Writer) -> Result<(), Fault>,
) -> Result<(), Malformed> {
    let start = out.len();
    let mut writer = Writer { tables, out, sorting: false, depth: 0 };
    let mut written = write(&mut writer);
    if let Err(Fault::Disorder) = written {
        writer.out.truncate(start);
        writer = Writer { tables, out: writer.out, sorting: true, depth: 0 };
        written = write(&mut writer);
    }
    written.map_err(|fault| match fault {
        Fault::Malformed(malformed) => malformed,
        Fault::Disorder => Malformed("records out of order"),
    })
}

struct Writer<'a> {
    tables: &'a Tables,
    out: &'a mut Vec<u8>,
    /// Whether the records of each message are put in order first.
    sorting: bool,
    depth: usize,
}

/// Why the writer stops.
enum Fault {
    Malformed(Malformed),
    /// A record came too late for its place, or a second one for a field that has one.
    Disorder,
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Writer<'_> {
    fn message(&mut self, id: MessageId, wire: &[u8]) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed("nested too deep").into());
        }
        self.depth += 1;
        let message = self.tables.message(id);
        if self.sorting {
            let ordered = order::in_order(self.tables, message, wire)?;
            for (kind, value) in ordered.replaced {
                self.check(kind, Reader::new(value))?;
            }
            self.shaped(message, &ordered.wire)?;
        } else {
            self.shaped(message, wire)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn members(&mut self, id: MessageId, wire: &[u8]) -> Result<(), Fault> {
        let start = self.out.len();
        if !matches!(self.tables.message(id).shape, Shape::Object | Shape::Struct) {
            self.out.extend_from_slice(b",\"value\":");
            return self.message(id, wire);
        }
        self.message(id, wire)?;
        // Without the braces: the first stands where the comma of the first member would.
        self.out.pop();
        match self.out.len() - start {
            1 => self.out.truncate(start),
            _ => self.out[start] = b',',
        }
        Ok(())
    }

    #[inline]
    fn shaped(&mut self, message: &Message, wire: &[u8]) -> Result<(), Fault> {
        match message.shape {
            Shape::Object => self.object(message, wire),
            Shape::Timestamp => {
                let (seconds, nanos) = seconds_and_nanos(wire)?;
                Ok(time::put_timestamp(seconds, nanos, self.out)?)
            }
            Shape::Duration => {
                let (seconds, nanos) = seconds_and_nanos(wire)?;
                Ok(time::put_duration(seconds, nanos, self.out)?)
            }
            Shape::FieldMask => Ok(mask::put_json(wire, self.out)?),
            Shape::Struct | Shape::Value | Shape::ListValue | Shape::Wrapper => self.only_field(message, wire),
            Shape::Unsupported => Err(Malformed("google.protobuf.Any is not supported").into()),
        }
    }

    fn object(&mut self, message: &Message, wire: &[u8]) -> Result<(), Fault> {
        let start = self.out.len();
        let mut reader = Reader::new(wire);
        // The first field whose turn has not come, and the first byte of `absent` that has not.
        let (mut next, mut absent) = (0, 0);
        let mut oneofs = 0_u64;
        while !reader.is_empty() {
            let tag = reader.tag()?;
            let Some(index) = message.by_tag(tag, next) else {
                reader.value(tag.wire_type()?)?;
                continue;
            };
            let field = &message.fields[index];
            if index < next {
                return Err(Fault::Disorder);
            }
            if let Some(oneof) = field.oneof {
                // Two of more than 64 may share a bit, which costs the sorting that they do not need.
                let bit = 1 << (oneof % 64);
                if oneofs & bit != 0 && !self.sorting {
                    return Err(Fault::Disorder);
                }
                oneofs |= bit;
            }
            self.out.extend_from_slice(&message.absent[absent..field.absent.start]);
            self.out.extend_from_slice(&field.key);
            self.field(field, tag, &mut reader)?;
            (next, absent) = (index + 1, field.absent.end);
        }
        self.out.extend_from_slice(&message.absent[absent..]);
        self.enclose(start, b'{', b'}');
        Ok(())
    }

    /// Writes the value of the one field that such a message has, or has set, in place of an object.
    fn only_field(&mut self, message: &Message, wire: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(wire);
        let mut is_absent = true;
        while !reader.is_empty() {
            let tag = reader.tag()?;
            let Some(index) = message.by_tag(tag, 0) else {
                reader.value(tag.wire_type()?)?;
                continue;
            };
            if !std::mem::take(&mut is_absent) {
                return Err(Fault::Disorder);
            }
            let field = &message.fields[index];
            self.field(field, tag, &mut reader)?;
            if message.shape == Shape::Value && field.kind == Kind::Double {
                if self.out.ends_with(b"\"") {
                    return Err(Malformed("google.protobuf.Value of a number that is not finite").into());
                }
                // Whoever wrote 7 shall read 7; the sign of zero is kept.
                if self.out.ends_with(b".0") && !self.out.ends_with(b"-0.0") {
                    self.out.truncate(self.out.len() - b".0".len());
                }
            }
        }
        if is_absent {
            let absent = message.fields.first().and_then(|field| message.absent.strip_prefix(field.key.as_slice()));
            self.out.extend_from_slice(absent.unwrap_or(b"null"));
        }
        Ok(())
    }

    /// Writes the value of a field from behind its tag on, with all records that belong to it.
    #[inline]
    fn field(&mut self, field: &Field, tag: Tag, reader: &mut Reader<'_>) -> Result<(), Fault> {
        match (field.label, field.kind) {
            (Label::List, _) => self.list(field, tag, reader),
            (Label::Map, Kind::Message(entry)) => self.map(field, tag, self.tables.message(entry), reader),
            _ => {
                field.check(tag)?;
                self.value(field.kind, reader)
            }
        }
    }

    fn list(&mut self, field: &Field, tag: Tag, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let start = self.out.len();
        let mut tag = Some(tag);
        while let Some(packing) = tag.map(|tag| field.check(tag)) {
            match packing? {
                Packing::Single => {
                    self.out.push(b',');
                    self.value(field.kind, reader)?;
                }
                Packing::Packed => {
                    let mut packed = Reader::new(reader.bytes()?);
                    while !packed.is_empty() {
                        self.out.push(b',');
                        self.value(field.kind, &mut packed)?;
                    }
                }
            }
            tag = reader.tag_of(field.number);
        }
        self.enclose(start, b'[', b']');
        Ok(())
    }

    fn map(&mut self, field: &Field, tag: Tag, entry: &Message, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let [key_field, value_field] = entry.fields.as_slice() else {
            return Err(Malformed("map without keys and values").into());
        };
        let mut entries = BTreeMap::new();
        let mut tag = Some(tag);
        while let Some(packing) = tag.map(|tag| field.check(tag)) {
            packing?;
            let (key, value) = entry_parts(entry, reader.bytes()?)?;
            // Of two entries with one key the last counts.
            if let Some(replaced) = entries.insert(self.key(key_field.kind, key)?, value) {
                self.check(value_field.kind, replaced)?;
            }
            tag = reader.tag_of(field.number);
        }
        let start = self.out.len();
        for (key, mut value) in entries {
            self.out.push(b',');
            self.out.extend_from_slice(&key);
            self.out.push(b':');
            self.value(value_field.kind, &mut value)?;
        }
        self.enclose(start, b'{', b'}');
        Ok(())
    }

    /// The JSON of a map's key.
    fn key(&mut self, kind: Kind, mut key: Reader<'_>) -> Result<Vec<u8>, Fault> {
        let start = self.out.len();
        self.value(kind, &mut key)?;
        let text = self.out.split_off(start);
        Ok(if kind == Kind::String { text } else { [b"\"", text.as_slice(), b"\""].concat() })
    }

    /// Reads a value that is not shown.
    fn check(&mut self, kind: Kind, mut value: Reader<'_>) -> Result<(), Fault> {
        let start = self.out.len();
        self.value(kind, &mut value)?;
        self.out.truncate(start);
        Ok(())
    }

    #[inline]
    fn value(&mut self, kind: Kind, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let out = &mut *self.out;
        match kind {
            Kind::String => json::put_utf8(reader.bytes()?, out)?,
            Kind::Message(id) => self.message(id, reader.bytes()?)?,
            Kind::Bool => json::put_bool(reader.varint()? != 0, out),
            Kind::Int32 => json::put_integer(reader.varint()? as i32, out),
            Kind::Int64 => json::put_integer(reader.varint()? as i64, out),
            Kind::Uint32 => json::put_integer(reader.varint()? as u32, out),
            Kind::Uint64 => json::put_integer(reader.varint()?, out),
            Kind::Sint32 => json::put_integer(wire::unzigzag(reader.varint()? & 0xffff_ffff), out),
            Kind::Sint64 => json::put_integer(wire::unzigzag(reader.varint()?), out),
            Kind::Fixed32 => json::put_integer(reader.fixed32()?, out),
            Kind::Fixed64 => json::put_integer(reader.fixed64()?, out),
            Kind::Sfixed32 => json::put_integer(reader.fixed32()? as i32, out),
            Kind::Sfixed64 => json::put_integer(reader.fixed64()? as i64, out),
            Kind::Float => json::put_float(f32::from_bits(reader.fixed32()?), out),
            Kind::Double => json::put_float(f64::from_bits(reader.fixed64()?), out),
            Kind::Bytes => json::put_base64(reader.bytes()?, out),
            Kind::Enum(id) => {
                let number = reader.varint()? as i32;
                match self.tables.enumeration(id).json(number) {
                    Some(name) => out.extend_from_slice(name),
                    None => json::put_integer(number, out),
                }
            }
            Kind::Null => {
                reader.varint()?;
                out.extend_from_slice(b"null");
            }
        }
        Ok(())
    }

    /// Puts brackets round what was written from `start` on with a comma before each part: the first gives way to `open`.
    fn enclose(&mut self, start: usize, open: u8, close: u8) {
        match self.out.get_mut(start) {
            Some(comma) => *comma = open,
            None => self.out.push(open),
        }
        self.out.push(close);
    }
}

/// Where the key and the value of a map's entry begin.
fn entry_parts<'w>(entry: &Message, wire: &'w [u8]) -> Result<(Reader<'w>, Reader<'w>), Fault> {
    let mut parts = [Reader::new(ZERO); 2];
    let mut next = 0;
    let mut reader = Reader::new(wire);
    while !reader.is_empty() {
        let tag = reader.tag()?;
        let value = reader;
        reader.value(tag.wire_type()?)?;
        let Some(index) = entry.by_tag(tag, next) else { continue };
        entry.fields[index].check(tag)?;
        if index < next {
            return Err(Fault::Disorder);
        }
        parts[index] = value;
        next = index + 1;
    }
    Ok(parts.into())
}

/// The two fields of a timestamp or a duration.
fn seconds_and_nanos(wire: &[u8]) -> Result<(i64, i32), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for record in wire::records(wire) {
        match record? {
            (1, Value::Varint(value)) => seconds = value as i64,
            (2, Value::Varint(value)) => nanos = value as i32,
            (1 | 2, _) => return Err(Malformed("unexpected wire type")),
            _ => {}
        }
    }
    Ok((seconds, nanos))
}
