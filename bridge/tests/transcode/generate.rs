//! Messages made of random numbers.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// How deep messages nest.
const MAX_DEPTH: usize = 5;

/// Random numbers to decide by. Where they end, everything is as small as can be; so a shorter tape is a simpler message.
pub(crate) struct Tape<'t> {
    numbers: std::slice::Iter<'t, u64>,
}

impl<'t> Tape<'t> {
    pub(crate) fn new(numbers: &'t [u64]) -> Self {
        Self { numbers: numbers.iter() }
    }

    fn number(&mut self) -> u64 {
        self.numbers.next().copied().unwrap_or(0)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// An integer of any size, the ends of the ranges more often than chance would have it.
    fn integer(&mut self) -> u64 {
        match self.below(4) {
            0 => self.pick(&[0, 1, u64::MAX, i64::MAX as u64, i64::MIN as u64, i32::MAX as u64, i32::MIN as u64]),
            1 => self.below(1000),
            2 => self.number() >> self.below(64),
            _ => self.number(),
        }
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 12] = [
            "",
            "a",
            "hello there, general",
            "\"",
            "\\",
            "\n\r\t",
            "\u{0}\u{1f}\u{7f}",
            "é",
            "漢字",
            "😀",
            "\u{2028}",
            "0198c5d6-7a1e-7c3b-9b7e-2f1d3c4b5a69",
        ];
        (0..self.below(5)).map(|_| self.pick(&PARTS)).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.number() as u8).collect()
    }
}

/// A message of the type.
pub(crate) fn message(descriptor: &MessageDescriptor, tape: &mut Tape) -> DynamicMessage {
    nested(descriptor, tape, 0)
}

fn nested(descriptor: &MessageDescriptor, tape: &mut Tape, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            message.set_field_by_number(1, Value::I64(tape.integer() as i64 % 60_000_000_000));
            message.set_field_by_number(2, Value::I32(nanos(tape)));
        }
        "google.protobuf.Duration" => {
            let sign = if tape.below(2) == 0 { 1 } else { -1 };
            message.set_field_by_number(1, Value::I64(i64::from(sign) * (tape.integer() % 315_576_000_000) as i64));
            message.set_field_by_number(2, Value::I32(sign * nanos(tape)));
        }
        "google.protobuf.FieldMask" => {
            let paths = (0..tape.below(3)).map(|_| tape.pick(&["a", "some_field", "outer_one.inner2", "_x"]));
            let paths = paths.map(|path| Value::String(path.to_owned())).collect();
            message.set_field_by_number(1, Value::List(paths));
        }
        "google.protobuf.Value" => {
            let kinds = if depth < MAX_DEPTH { 6 } else { 4 };
            let field = descriptor.get_field(1 + tape.below(kinds) as u32).unwrap();
            let value = value(&field.kind(), tape, depth);
            message.set_field(&field, value);
        }
        _ => {
            for field in descriptor.fields() {
                let is_any = matches!(field.kind(), Kind::Message(message) if message.name() == "Any");
                let is_deep = depth >= MAX_DEPTH && matches!(field.kind(), Kind::Message(_));
                if is_any || is_deep || tape.below(3) == 0 {
                    continue;
                }
                let value = field_value(&field, tape, depth);
                message.set_field(&field, value);
            }
        }
    }
    message
}

fn field_value(field: &FieldDescriptor, tape: &mut Tape, depth: usize) -> Value {
    if field.is_list() {
        return Value::List((0..tape.below(4)).map(|_| value(&field.kind(), tape, depth)).collect());
    }
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            let entries: HashMap<_, _> =
                (0..tape.below(4)).map(|_| (key(&key_kind, tape), value(&value_kind, tape, depth))).collect();
            Value::Map(entries)
        }
        kind => value(&kind, tape, depth),
    }
}

fn key(kind: &Kind, tape: &mut Tape) -> MapKey {
    match value(kind, tape, MAX_DEPTH) {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        _ => unreachable!("not a kind of key"),
    }
}

fn value(kind: &Kind, tape: &mut Tape, depth: usize) -> Value {
    match kind {
        Kind::Bool => Value::Bool(tape.below(2) == 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(tape.integer() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(tape.integer() as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(tape.integer() as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(tape.integer()),
        Kind::Float => Value::F32(finite(f32::from_bits(tape.integer() as u32), f32::is_finite, 1.5)),
        Kind::Double => Value::F64(finite(f64::from_bits(tape.integer()), f64::is_finite, 1e300)),
        Kind::String => Value::String(tape.text()),
        Kind::Bytes => Value::Bytes(tape.bytes().into()),
        Kind::Enum(enumeration) if enumeration.name() == "NullValue" => Value::EnumNumber(0),
        Kind::Enum(_) => Value::EnumNumber(tape.pick(&[0, 1, 2, -1, 7, 1000, i32::MIN])),
        Kind::Message(descriptor) => Value::Message(nested(descriptor, tape, depth + 1)),
    }
}

fn finite<F: Copy>(value: F, is_finite: impl Fn(F) -> bool, instead: F) -> F {
    if is_finite(value) { value } else { instead }
}

fn nanos(tape: &mut Tape) -> i32 {
    let unit = tape.pick(&[1_000_000_000, 1_000_000, 1_000, 1]);
    (tape.below(1_000_000_000 / unit) * unit) as i32
}
