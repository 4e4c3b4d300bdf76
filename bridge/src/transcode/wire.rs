//! Protobuf's wire format: reading and writing records without knowing their message.

use super::error::Malformed;

/// The largest number that a field can have.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// How the value of a record is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    /// A number in groups of seven bits.
    Varint = 0,
    /// Eight bytes, little-endian.
    Fixed64 = 1,
    /// A length and as many bytes.
    Bytes = 2,
    /// Four bytes, little-endian.
    Fixed32 = 5,
}

/// The value of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'w> {
    /// Of an integer, a bool or an enum.
    Varint(u64),
    /// Of a fixed64, an sfixed64 or a double.
    Fixed64(u64),
    /// Of a string, bytes, a message or packed scalars.
    Bytes(&'w [u8]),
    /// Of a fixed32, an sfixed32 or a float.
    Fixed32(u32),
}

/// The records of an encoded message, as they stand: field numbers and values. Ends after the first malformed one.
pub fn records(message: &[u8]) -> impl Iterator<Item = Result<(u32, Value<'_>), Malformed>> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let record = reader.tag().and_then(|tag| Ok((tag.number(), reader.value(tag.wire_type()?)?)));
        if record.is_err() {
            reader = Reader::new(&[]);
        }
        Some(record)
    })
}

/// Appends a varint.
#[inline]
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag that a record begins with.
#[inline]
pub fn put_tag(number: u32, wire_type: WireType, out: &mut Vec<u8>) {
    put_varint(u64::from(Tag::new(number, wire_type).0), out);
}

/// Appends a whole record of a string, of bytes or of an encoded message.
#[inline]
pub fn put_bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    put_tag(number, WireType::Bytes, out);
    put_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Appends a length and what `fill` appends, of which it is the length.
#[inline]
pub fn put_delimited<T>(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let delimited = begin_delimited(out);
    let filled = fill(out);
    end_delimited(delimited, out);
    filled
}

/// Leaves room for the length of what is appended from here on.
#[inline]
pub(super) fn begin_delimited(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Writes the length of what was appended since [`begin_delimited`] returned `start`.
#[inline]
pub(super) fn end_delimited(start: usize, out: &mut Vec<u8>) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
    } else {
        put_long_length(start, out);
    }
}

/// Writes a length of several bytes where one byte was left for it.
fn put_long_length(start: usize, out: &mut Vec<u8>) {
    let end = out.len();
    let length = end - start;
    out[start - 1] = length as u8 | 0x80;
    put_varint((length >> 7) as u64, out);
    let width = out.len() - end;
    out[start..].rotate_right(width);
}

/// A record's field number and wire type, as encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u32);

impl Tag {
    pub(super) const fn new(number: u32, wire_type: WireType) -> Self {
        Self(number << 3 | wire_type as u32)
    }

    pub(super) fn number(self) -> u32 {
        self.0 >> 3
    }

    pub(super) fn wire_type(self) -> Result<WireType, Malformed> {
        match self.0 & 7 {
            0 => Ok(WireType::Varint),
            1 => Ok(WireType::Fixed64),
            2 => Ok(WireType::Bytes),
            5 => Ok(WireType::Fixed32),
            3 | 4 => Err(Malformed("groups are not supported")),
            _ => Err(Malformed("unknown wire type")),
        }
    }
}

/// Takes records apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'w> {
    rest: &'w [u8],
}

impl<'w> Reader<'w> {
    pub(super) fn new(bytes: &'w [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'w [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn tag(&mut self) -> Result<Tag, Malformed> {
        let tag = self.varint()?;
        match tag >> 3 {
            1..=MAX_NUMBER => Ok(Tag(tag as u32)),
            _ => Err(Malformed("field number out of range")),
        }
    }

    /// The next tag if it is the field's.
    #[inline]
    pub(super) fn tag_of(&mut self, number: u32) -> Option<Tag> {
        let mut ahead = *self;
        let tag = ahead.tag().ok().filter(|tag| tag.number() == number)?;
        *self = ahead;
        Some(tag)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                if index == 9 && byte > 1 {
                    break;
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Malformed(if self.rest.len() < 10 { "truncated varint" } else { "varint of more than 64 bits" }))
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'w [u8], Malformed> {
        let length = self.varint()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (bytes, rest) = split.ok_or(Malformed("truncated value"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, Malformed> {
        self.fixed().map(u64::from_le_bytes)
    }

    pub(super) fn fixed32(&mut self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed("truncated value"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn value(&mut self, wire_type: WireType) -> Result<Value<'w>, Malformed> {
        Ok(match wire_type {
            WireType::Varint => Value::Varint(self.varint()?),
            WireType::Fixed64 => Value::Fixed64(self.fixed64()?),
            WireType::Bytes => Value::Bytes(self.bytes()?),
            WireType::Fixed32 => Value::Fixed32(self.fixed32()?),
        })
    }
}

/// A signed number in the form in which small negatives are short.
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// The number that [`zigzag`] was given.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
