//! Reads JSON and writes the message that it stands for.

use std::{borrow::Cow, collections::HashSet};

use super::{
    error::Invalid,
    scalar,
    scanner::Scanner,
    table::{Field, Kind, Label, Message, MessageId, Shape, Tables},
    wire::{self, WireType},
};

/// Appends the message of type `id` that `json` stands for.
pub(super) fn parse(tables: &Tables, id: MessageId, json: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let mut parser = Parser { tables, scanner: Scanner::new(json)?, out };
    parser.message(id)?;
    parser.scanner.finish()
}

struct Parser<'a, 'j> {
    tables: &'a Tables,
    scanner: Scanner<'j>,
    out: &'a mut Vec<u8>,
}

/// The members of an object that were there already.
#[derive(Default)]
struct Seen {
    first: u64,
    more: Vec<u64>,
}

impl<'j> Parser<'_, 'j> {
    /// Reads a message and appends its fields.
    fn message(&mut self, id: MessageId) -> Result<(), Invalid> {
        let message = self.tables.message(id);
        match message.shape {
            Shape::Object => self.object(message),
            Shape::Value => self.any_value(message),
            Shape::Struct | Shape::ListValue | Shape::Wrapper => self.field(&message.fields[0]),
            Shape::Timestamp | Shape::Duration | Shape::FieldMask => {
                let text = self.string(scalar::form(message.shape))?;
                scalar::put_message(message.shape, &text, self.out)
            }
            Shape::Unsupported => Err(Invalid::field("google.protobuf.Any is not supported")),
        }
    }

    fn object(&mut self, message: &Message) -> Result<(), Invalid> {
        self.begin(b'{', "an object")?;
        let mut seen = Seen::default();
        let mut expected = 0;
        while let Some(key) = self.scanner.member()? {
            let Some(index) = message.by_name(&key, expected) else {
                return Err(Invalid::field("unknown field").in_member(&key));
            };
            expected = index + 1;
            self.member(message, index, &mut seen).map_err(|error| error.in_member(&key))?;
        }
        Ok(())
    }

    fn member(&mut self, message: &Message, index: usize, seen: &mut Seen) -> Result<(), Invalid> {
        let field = &message.fields[index];
        if !seen.insert(index) {
            return Err(Invalid::field("given twice"));
        }
        if self.scanner.peek()? == b'n' && !self.takes_null(field) {
            return self.scanner.literal("null").map(drop);
        }
        // Behind the places of the fields are those of the groups of which one can be set.
        if field.oneof.is_some_and(|oneof| !seen.insert(message.fields.len() + oneof)) {
            return Err(Invalid::field("excludes a field that is given as well"));
        }
        self.field(field)
    }

    /// Whether null is a value of the field rather than its absence.
    fn takes_null(&self, field: &Field) -> bool {
        match (field.label, field.kind) {
            (Label::List | Label::Map, _) => false,
            (_, Kind::Null) => true,
            (_, Kind::Message(id)) => self.tables.message(id).shape == Shape::Value,
            _ => false,
        }
    }

    /// Reads a field's value and appends its records.
    fn field(&mut self, field: &Field) -> Result<(), Invalid> {
        match (field.label, field.kind) {
            (Label::List, _) => self.list(field),
            (Label::Map, Kind::Message(entry)) => self.map(field, self.tables.message(entry)),
            _ => {
                let start = self.out.len();
                wire::put_varint(field.tag.0.into(), self.out);
                let is_zero = self.value(field.kind)?;
                if is_zero && field.label == Label::Implicit {
                    self.out.truncate(start);
                }
                Ok(())
            }
        }
    }

    fn list(&mut self, field: &Field) -> Result<(), Invalid> {
        self.begin(b'[', "a list")?;
        let start = self.out.len();
        let packed = field.kind.is_packable().then(|| {
            wire::put_tag(field.number, WireType::Bytes, self.out);
            wire::begin_delimited(self.out)
        });
        let mut count = 0;
        while self.scanner.element()? {
            if packed.is_none() {
                wire::put_varint(field.tag.0.into(), self.out);
            }
            self.value(field.kind).map_err(|error| error.in_element(count))?;
            count += 1;
        }
        match packed {
            Some(_) if count == 0 => self.out.truncate(start),
            Some(delimited) => wire::end_delimited(delimited, self.out),
            None => {}
        }
        Ok(())
    }

    fn map(&mut self, field: &Field, entry: &Message) -> Result<(), Invalid> {
        let [key_field, value_field] = entry.fields.as_slice() else { return Ok(()) };
        self.begin(b'{', "an object")?;
        let mut keys = HashSet::new();
        while let Some(key) = self.scanner.member()? {
            if keys.contains(&key) {
                return Err(Invalid::field("given twice").in_member(&key));
            }
            wire::put_varint(field.tag.0.into(), self.out);
            let delimited = wire::begin_delimited(self.out);
            wire::put_varint(key_field.tag.0.into(), self.out);
            scalar::put_key(self.tables, key_field.kind, &key, self.out).map_err(|error| error.in_member(&key))?;
            self.field(value_field).map_err(|error| error.in_member(&key))?;
            wire::end_delimited(delimited, self.out);
            keys.insert(key);
        }
        Ok(())
    }

    /// Reads a value and appends it without its tag. Says whether it is zero or empty.
    fn value(&mut self, kind: Kind) -> Result<bool, Invalid> {
        match kind {
            Kind::Message(id) => {
                let delimited = wire::begin_delimited(self.out);
                self.message(id)?;
                wire::end_delimited(delimited, self.out);
                Ok(false)
            }
            Kind::String | Kind::Bytes => {
                let text = self.string(scalar::expectation(kind))?;
                scalar::put(self.tables, kind, &text, self.out)
            }
            Kind::Bool => match self.scanner.peek()? {
                b't' => self.scanner.literal("true").map(|_| scalar::put_bool(true, self.out)),
                b'f' => self.scanner.literal("false").map(|_| scalar::put_bool(false, self.out)),
                _ => Err(self.mismatch(scalar::expectation(kind))),
            },
            Kind::Null => match self.scanner.peek()? {
                b'n' => self.scanner.literal("null").map(|_| scalar::put_bool(false, self.out)),
                _ => Err(self.mismatch(scalar::expectation(kind))),
            },
            _ => {
                let text = match self.scanner.peek()? {
                    b'"' => self.scanner.string()?,
                    b'-' | b'0'..=b'9' => Cow::Borrowed(self.scanner.number()?),
                    _ => return Err(self.mismatch(scalar::expectation(kind))),
                };
                scalar::put(self.tables, kind, &text, self.out)
            }
        }
    }

    /// Reads any JSON into the field of `google.protobuf.Value` that is made for it.
    fn any_value(&mut self, message: &Message) -> Result<(), Invalid> {
        let number = match self.scanner.peek()? {
            b'n' => 1,
            b'-' | b'0'..=b'9' => 2,
            b'"' => 3,
            b't' | b'f' => 4,
            b'{' => 5,
            b'[' => 6,
            _ => return Err(self.mismatch("a value")),
        };
        match message.fields.iter().find(|field| field.number == number) {
            Some(field) => self.field(field),
            None => Err(self.mismatch("another value")),
        }
    }

    fn begin(&mut self, open: u8, expected: &str) -> Result<(), Invalid> {
        if self.scanner.peek()? != open {
            return Err(self.mismatch(expected));
        }
        self.scanner.begin()
    }

    fn string(&mut self, expected: &str) -> Result<Cow<'j, str>, Invalid> {
        if self.scanner.peek()? != b'"' {
            return Err(self.mismatch(expected));
        }
        self.scanner.string()
    }

    #[cold]
    fn mismatch(&mut self, expected: &str) -> Invalid {
        match self.scanner.found() {
            Ok(found) => Invalid::field(format!("expected {expected}, found {found}")),
            Err(error) => error,
        }
    }
}

impl Seen {
    /// Whether `index` was not there yet.
    #[inline]
    fn insert(&mut self, index: usize) -> bool {
        let word = match index / 64 {
            0 => &mut self.first,
            word => {
                self.more.resize(self.more.len().max(word), 0);
                &mut self.more[word - 1]
            }
        };
        let bit = 1 << (index % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
