//! What is written of an encoded message, however its records stand.

use colloquy_bridge::transcode::wire::{self, WireType};

use crate::contract::Type;

const NO_SCALARS: &str = r#"{"bool":false,"int32":0,"int64":0,"uint32":0,"uint64":0,"sint32":0,"sint64":0,"fixed32":0,"fixed64":0,"sfixed32":0,"sfixed64":0,"float":0.0,"double":0.0,"string":"","bytes":"","colour":"unspecified","null":null}"#;

/// An encoded message, put together record by record.
#[derive(Clone, Default)]
struct Records(Vec<u8>);

impl Records {
    fn varint(mut self, number: u32, value: u64) -> Self {
        wire::put_tag(number, WireType::Varint, &mut self.0);
        wire::put_varint(value, &mut self.0);
        self
    }

    fn bytes(mut self, number: u32, value: impl AsRef<[u8]>) -> Self {
        wire::put_bytes(number, value.as_ref(), &mut self.0);
        self
    }
}

impl AsRef<[u8]> for Records {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn records() -> Records {
    Records::default()
}

fn written(message: &str, records: impl AsRef<[u8]>) -> Result<String, String> {
    Type::of(message).to_json(records.as_ref())
}

#[test]
fn scalars_and_lists_are_always_written_and_the_rest_never() {
    assert_eq!(written("kinds.Scalars", b"").unwrap(), NO_SCALARS);
    assert_eq!(written("kinds.Optionals", b"").unwrap(), "{}");
    assert_eq!(
        written("kinds.WellKnown", b"").unwrap(),
        r#"{"timestamps":[],"durations":[],"values":[],"strings":[]}"#
    );
    assert_eq!(written("kinds.Choices", b"").unwrap(), r#"{"before":"","between":[],"after":""}"#);
    assert_eq!(written("kinds.Named", b"").unwrap(), r#"{"plain_name":"","otherName":"","third_name":0}"#);
    let maps = written("kinds.Maps", b"").unwrap();
    assert!(maps.starts_with(r#"{"bools":{},"int32s":{},"#), "{maps}");
}

#[test]
fn flat_members_begin_with_a_comma_each() {
    let token = Type::of("colloquy.v1.Token");
    let wire = records().bytes(3, "hi").varint(4, 7);
    let expected = r#","conversation_id":"","message_id":"","content":"hi","index":7"#;
    assert_eq!(token.fields_to_json(&wire.0).unwrap(), expected);
    assert_eq!(Type::of("kinds.Optionals").fields_to_json(b"").unwrap(), "");
    assert_eq!(Type::of("google.protobuf.Struct").fields_to_json(b"").unwrap(), "");
    let entry = records().bytes(1, "a").bytes(2, records().varint(4, 1));
    assert_eq!(
        Type::of("google.protobuf.Struct").fields_to_json(&records().bytes(1, entry).0).unwrap(),
        r#","a":true"#
    );
    assert_eq!(Type::of("google.protobuf.Int32Value").fields_to_json(b"").unwrap(), r#","value":0"#);
}

#[test]
fn of_several_records_of_a_scalar_the_last_counts() {
    let twice = records().varint(2, 1).bytes(14, "a").varint(2, 3).bytes(14, "b");
    let expected = NO_SCALARS.replace(r#""int32":0"#, r#""int32":3"#).replace(r#""string":"""#, r#""string":"b""#);
    assert_eq!(written("kinds.Scalars", twice).unwrap(), expected);
}

#[test]
fn records_in_any_order_are_written_in_the_order_of_the_fields() {
    let token = records().varint(4, 7).bytes(1, "c").bytes(3, "hi").bytes(2, "m");
    let expected = r#"{"conversation_id":"c","message_id":"m","content":"hi","index":7}"#;
    assert_eq!(written("colloquy.v1.Token", token).unwrap(), expected);
}

#[test]
fn parts_of_a_message_are_merged() {
    let left = |name: &str| records().bytes(2, records().bytes(1, name));
    let right = |name: &str| records().bytes(3, records().bytes(1, name));
    let node = records().bytes(2, left("a")).bytes(2, right("b")).bytes(2, left("c"));
    let leaf = |name: &str| format!(r#"{{"name":"{name}","children":[]}}"#);
    let expected = format!(
        r#"{{"name":"","left":{{"name":"","left":{},"right":{},"children":[]}},"children":[]}}"#,
        leaf("c"),
        leaf("b")
    );
    assert_eq!(written("kinds.Node", node).unwrap(), expected);
}

#[test]
fn of_a_oneof_the_last_member_counts() {
    let member = |records: Records| written("kinds.Choices", records).unwrap();
    let text = r#"{"before":"","text":"a","between":[],"after":""}"#;
    assert_eq!(member(records().varint(2, 1).bytes(3, "a")), text);
    assert_eq!(member(records().bytes(4, records().varint(1, 1)).bytes(3, "a")), text);
    let scalars = NO_SCALARS.replace(r#""int32":0"#, r#""int32":5"#);
    let again = records().bytes(4, records().varint(1, 1)).bytes(3, "a").bytes(4, records().varint(2, 5));
    assert_eq!(member(again), format!(r#"{{"before":"","scalars":{scalars},"between":[],"after":""}}"#));
}

#[test]
fn lists_may_be_packed_unpacked_and_scattered() {
    let list = records().varint(2, 1).bytes(2, [2, 3]).varint(3, 9).varint(2, 4).bytes(18, [7]).varint(18, 8);
    let json = written("kinds.Lists", list).unwrap();
    assert!(json.contains(r#""int32s":[1,2,3,4],"int64s":[9],"#), "{json}");
    assert!(json.contains(r#""unpacked":[7,8]"#), "{json}");
    assert!(written("kinds.Lists", records().bytes(2, [])).unwrap().contains(r#""int32s":[],"#));
}

#[test]
fn entries_of_a_map_may_be_incomplete_doubled_and_turned_round() {
    let entry = |key: u64, value: &str| records().varint(1, key).bytes(2, value);
    let map = records()
        .bytes(2, entry(10, "a"))
        .bytes(2, entry(9, "b"))
        .bytes(2, entry(10, "c"))
        .bytes(2, records().bytes(2, "turned").varint(1, 3))
        .bytes(2, records().bytes(2, "no key"))
        .bytes(2, records().varint(1, 4))
        .bytes(2, records().varint(1, 5).bytes(2, "first").bytes(2, "last"));
    let json = written("kinds.Maps", map).unwrap();
    assert!(json.contains(r#""int32s":{"0":"no key","10":"c","3":"turned","4":"","5":"last","9":"b"}"#), "{json}");
    let messages = records().bytes(12, records().bytes(1, "k"));
    assert!(written("kinds.Maps", messages).unwrap().contains(r#""strings":{"k":{"name":"","children":[]}}"#));
}

#[test]
fn values_of_enums_are_short_and_unknown_ones_numbers() {
    let colour = |number: i64| written("kinds.Scalars", records().varint(16, number as u64)).unwrap();
    assert!(colour(2).contains(r#""colour":"deep_blue""#));
    assert!(colour(-1).contains(r#""colour":"negative""#));
    assert!(colour(7).contains(r#""colour":"other""#));
    assert!(colour(99).contains(r#""colour":99"#));
    let message = written("colloquy.v1.Message", records().varint(5, 1).varint(8, 3)).unwrap();
    assert!(message.contains(r#""role":"user""#) && message.contains(r#""status":"complete""#), "{message}");
}

#[test]
fn unknown_fields_are_skipped() {
    let mut wire = records().varint(100, 1).bytes(101, "x").0;
    for (wire_type, size) in [(WireType::Fixed64, 8), (WireType::Fixed32, 4)] {
        wire::put_tag(102, wire_type, &mut wire);
        wire.resize(wire.len() + size, 0);
    }
    wire::put_bytes(1, b"c", &mut wire);
    let expected = r#"{"conversation_id":"c","message_id":"","content":"","index":0}"#;
    assert_eq!(written("colloquy.v1.Token", wire).unwrap(), expected);
}

#[test]
fn malformed_messages_are_refused() {
    for (message, wire, error) in [
        ("kinds.Scalars", [0x10].as_slice(), "truncated varint"),
        ("kinds.Scalars", &[0x10, 0x80, 0x80], "truncated varint"),
        (
            "kinds.Scalars",
            &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            "varint of more than 64 bits",
        ),
        ("kinds.Scalars", &[0x72, 5, b'a'], "truncated value"),
        ("kinds.Scalars", &[0x72, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "truncated value"),
        ("kinds.Scalars", &[0x61, 1, 2, 3], "unexpected wire type"),
        ("kinds.Scalars", &[0x65, 1, 2, 3], "truncated value"),
        ("kinds.Scalars", &[0x72, 1, 0xff], "string is not UTF-8"),
        ("kinds.Scalars", &[0x72 - 2, 1], "unexpected wire type"),
        ("kinds.Scalars", &[0x00, 1], "field number out of range"),
        ("kinds.Scalars", &[0xff, 0xff, 0xff, 0xff, 0xff, 1, 1], "field number out of range"),
        ("kinds.Scalars", &[0x0b, 0x0c], "unexpected wire type"),
        ("kinds.Scalars", &[0xa3, 6, 0xa4, 6], "groups are not supported"),
        ("kinds.Scalars", &[0xa7, 6], "unknown wire type"),
        ("kinds.WellKnown", &[0x0a, 2, 0x10, 0x80], "truncated varint"),
        ("kinds.Dynamic", &[0x0a, 0], "google.protobuf.Any is not supported"),
    ] {
        assert_eq!(written(message, wire), Err(format!("malformed message: {error}")), "{wire:x?}");
    }
    let out_of_range = records().bytes(1, records().varint(1, 253_402_300_800));
    assert_eq!(written("kinds.WellKnown", out_of_range), Err("malformed message: timestamp out of range".to_owned()));
    let mut infinite = Vec::new();
    wire::put_tag(2, WireType::Fixed64, &mut infinite);
    infinite.extend_from_slice(&f64::INFINITY.to_le_bytes());
    let error = "malformed message: google.protobuf.Value of a number that is not finite";
    assert_eq!(written("google.protobuf.Value", infinite), Err(error.to_owned()));
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| (0..levels).fold(records(), |inner, _| records().bytes(2, inner));
    assert!(written("kinds.Node", nested(99)).is_ok());
    assert_eq!(written("kinds.Node", nested(100)), Err("malformed message: nested too deep".to_owned()));
    // A level that has to be sorted does not double the work of those below it.
    let disordered = (0..99).fold(records(), |inner, _| records().bytes(2, inner).bytes(1, "late"));
    assert!(written("kinds.Node", disordered).is_ok());
}

#[test]
fn what_is_replaced_must_make_sense_all_the_same() {
    let broken = [0x10];
    let member = records().varint(2, 1).bytes(3, "a").bytes(4, broken).bytes(3, "b");
    let text = records().bytes(2, records()).bytes(1, [0xff]).bytes(1, "a");
    let entry = |value: &[u8]| records().varint(1, 1).bytes(2, value);
    let entries = records().bytes(2, entry(&[0xff])).bytes(2, entry(b"a"));
    for (message, wire, error) in [
        ("kinds.Choices", member, "truncated varint"),
        ("kinds.Node", text, "string is not UTF-8"),
        ("kinds.Maps", entries, "string is not UTF-8"),
    ] {
        assert_eq!(written(message, wire), Err(format!("malformed message: {error}")), "{message}");
    }
}
