//! What JSON is taken, and how what is not taken is refused.

use colloquy_bridge::transcode::wire::{self, Value};

use crate::contract::Type;

/// Each text is refused, with this path and description.
fn refused(message: &str, cases: &[(&str, &str)]) {
    let message = Type::of(message);
    for (json, expected) in cases {
        assert_eq!(message.to_wire(json), Err((*expected).to_owned()), "{json}");
    }
}

/// Each text is understood as the other, which is what would be written.
fn taken(message: &str, cases: &[(&str, &str)]) {
    let message = Type::of(message);
    for (json, expected) in cases {
        let understood = message.understood(json).expect(json);
        let inner = understood.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(&understood);
        assert!(inner == *expected || inner.split(',').any(|member| member == *expected), "{json} gave {understood}");
    }
}

#[test]
fn errors_name_the_field_by_its_path() {
    refused(
        "colloquy.v1.Subscribe",
        &[
            (r#"{"topics":[{},{},{"offset":true}]}"#, "topics[2].offset: expected a 64-bit integer, found true"),
            (r#"{"topics":[{"where":1}]}"#, "topics[0].where: unknown field"),
            (r#"{"topics":[null]}"#, "topics[0]: expected an object, found null"),
            (r#"{"topics":{}}"#, "topics: expected a list, found an object"),
            (r#"{"events":["a",1]}"#, "events[1]: expected a string, found a number"),
        ],
    );
    refused(
        "colloquy.v1.ConnectRequest",
        &[
            (r#"{"frame":{"message":{"content":1}}}"#, "frame.message.content: expected a string, found a number"),
            (r#"{"frame":{"message":{"message":1}}}"#, "frame.message.message: expected a string, found a number"),
            (r#"{"frame":[]}"#, "frame: expected an object, found a list"),
            ("[]", "expected an object, found a list"),
        ],
    );
    refused(
        "kinds.Maps",
        &[
            (r#"{"strings":{"a.b":{"left":{"name":[]}}}}"#, "strings.a.b.left.name: expected a string, found a list"),
            (r#"{"int32s":{"x":"a"}}"#, "int32s.x: expected a 32-bit integer as key"),
            (r#"{"int32s":{"1.0":"a"}}"#, "int32s.1.0: expected a 32-bit integer as key"),
            (r#"{"int32s":{"2147483648":"a"}}"#, "int32s.2147483648: out of the range of a 32-bit integer"),
            (r#"{"bools":{"1":2}}"#, "bools.1: expected true or false"),
            (r#"{"bools":{"true":null}}"#, "bools.true: expected a 32-bit integer, found null"),
            (r#"{"int64s":{"1":true,"1":false}}"#, "int64s.1: given twice"),
        ],
    );
}

#[test]
fn unknown_and_doubled_fields_are_refused() {
    refused(
        "kinds.Scalars",
        &[
            (r#"{"nope":1}"#, "nope: unknown field"),
            (r#"{"Bool":true}"#, "Bool: unknown field"),
            (r#"{"":1}"#, "unknown field"),
            (r#"{"int32":1,"bool":true,"int32":1}"#, "int32: given twice"),
            (r#"{"int32":null,"int32":1}"#, "int32: given twice"),
        ],
    );
    refused(
        "kinds.Named",
        &[
            (r#"{"otherName":"a","another":"b"}"#, "another: given twice"),
            (r#"{"otherName":"a","other_name":"b"}"#, "other_name: given twice"),
            (r#"{"thirdName":1}"#, "thirdName: unknown field"),
        ],
    );
}

#[test]
fn names_and_aliases_are_taken_and_one_name_is_written() {
    taken(
        "kinds.Named",
        &[
            (r#"{"otherName":"x"}"#, r#""otherName":"x""#),
            (r#"{"other_name":"x"}"#, r#""otherName":"x""#),
            (r#"{"another":"x"}"#, r#""otherName":"x""#),
            (r#"{"plain_name":"x"}"#, r#""plain_name":"x""#),
            (r#"{"third":3}"#, r#""third_name":3"#),
            (r#"{"\u0074hird":3}"#, r#""third_name":3"#),
        ],
    );
    taken("colloquy.v1.Ping", &[(r#"{"ping_id":"1"}"#, r#""pingId":"1""#), (r#"{"pingId":"1"}"#, r#""pingId":"1""#)]);
    taken("colloquy.v1.PostMessage", &[(r#"{"message":"hi"}"#, r#""content":"hi""#)]);
}

#[test]
fn null_is_absence_except_where_it_is_a_value() {
    let null = "null";
    let scalars = Type::of("kinds.Scalars");
    for field in scalars.descriptor.fields() {
        assert_eq!(scalars.to_wire(format!("{{\"{}\":{null}}}", field.name())).unwrap(), b"", "{}", field.name());
    }
    let choices = Type::of("kinds.Choices");
    assert_eq!(
        choices.understood(r#"{"number":null,"text":"a"}"#).unwrap(),
        r#"{"before":"","text":"a","between":[],"after":""}"#
    );
    assert_eq!(choices.understood(r#"{"any":null}"#).unwrap(), r#"{"before":"","any":null,"between":[],"after":""}"#);
    assert_eq!(choices.understood(r#"{"null":null}"#).unwrap(), r#"{"before":"","null":null,"between":[],"after":""}"#);
    taken(
        "kinds.WellKnown",
        &[(r#"{"value":null}"#, r#""value":null"#), (r#"{"values":[null]}"#, r#""values":[null]"#)],
    );
    taken("kinds.Lists", &[(r#"{"nulls":[null]}"#, r#""nulls":[null]"#), (r#"{"bools":null}"#, r#""bools":[]"#)]);
}

#[test]
fn one_member_of_a_oneof_can_be_given() {
    let conflict = "excludes a field that is given as well";
    refused(
        "kinds.Choices",
        &[
            (r#"{"number":1,"text":"a"}"#, &format!("text: {conflict}")),
            (r#"{"scalars":{},"before":"","number":0}"#, &format!("number: {conflict}")),
            (r#"{"any":null,"null":null}"#, &format!("null: {conflict}")),
        ],
    );
    refused("colloquy.v1.ClientFrame", &[(r#"{"ping":{},"stop":{}}"#, &format!("stop: {conflict}"))]);
    taken("kinds.Choices", &[(r#"{"number":0,"colour":"red"}"#, r#""number":0"#)]);
}

#[test]
fn integers_are_exact_and_in_range() {
    refused(
        "kinds.Scalars",
        &[
            (r#"{"int32":2147483648}"#, "int32: out of the range of a 32-bit integer"),
            (r#"{"int32":-2147483649}"#, "int32: out of the range of a 32-bit integer"),
            (r#"{"uint32":-1}"#, "uint32: out of the range of an unsigned 32-bit integer"),
            (r#"{"fixed32":4294967296}"#, "fixed32: out of the range of an unsigned 32-bit integer"),
            (r#"{"int64":9223372036854775808}"#, "int64: out of the range of a 64-bit integer"),
            (r#"{"sint64":"-9223372036854775809"}"#, "sint64: out of the range of a 64-bit integer"),
            (r#"{"uint64":18446744073709551616}"#, "uint64: out of the range of an unsigned 64-bit integer"),
            (r#"{"uint64":1e400}"#, "uint64: out of the range of an unsigned 64-bit integer"),
            (r#"{"int32":1.5}"#, "int32: expected a 32-bit integer"),
            (r#"{"int32":"1.5"}"#, "int32: expected a 32-bit integer"),
            (r#"{"int32":""}"#, "int32: expected a 32-bit integer"),
            (r#"{"int32":" 1"}"#, "int32: expected a 32-bit integer"),
            (r#"{"int32":{}}"#, "int32: expected a 32-bit integer, found an object"),
        ],
    );
    taken(
        "kinds.Scalars",
        &[
            (r#"{"int64":9223372036854775807}"#, r#""int64":9223372036854775807"#),
            (r#"{"int64":"-9223372036854775808"}"#, r#""int64":-9223372036854775808"#),
            (r#"{"uint64":18446744073709551615}"#, r#""uint64":18446744073709551615"#),
            (r#"{"fixed64":"18446744073709551615"}"#, r#""fixed64":18446744073709551615"#),
            (r#"{"int64":9007199254740993.0}"#, r#""int64":9007199254740993"#),
            (r#"{"int32":1.0}"#, r#""int32":1"#),
            (r#"{"int32":1e2}"#, r#""int32":100"#),
            (r#"{"sint32":-15.0E-0}"#, r#""sint32":-15"#),
            (r#"{"uint32":-0}"#, r#""uint32":0"#),
        ],
    );
}

#[test]
fn floats_may_be_special_but_not_too_large() {
    refused(
        "kinds.Scalars",
        &[
            (r#"{"double":1e309}"#, "double: out of the range of a number"),
            (r#"{"float":3.5e38}"#, "float: out of the range of a number"),
            (r#"{"double":"nan"}"#, "double: expected a number"),
            (r#"{"double":"inf"}"#, "double: expected a number"),
            (r#"{"double":"+1"}"#, "double: expected a number"),
            (r#"{"double":".5"}"#, "double: expected a number"),
            (r#"{"double":true}"#, "double: expected a number, found true"),
        ],
    );
    taken(
        "kinds.Scalars",
        &[
            (r#"{"double":"NaN"}"#, r#""double":"NaN""#),
            (r#"{"float":"NaN"}"#, r#""float":"NaN""#),
            (r#"{"double":"Infinity"}"#, r#""double":"Infinity""#),
            (r#"{"float":"-Infinity"}"#, r#""float":"-Infinity""#),
            (r#"{"double":"1.5"}"#, r#""double":1.5"#),
            (r#"{"double":-0.0}"#, r#""double":-0.0"#),
            (r#"{"float":0.1}"#, r#""float":0.1"#),
        ],
    );
}

#[test]
fn enums_are_taken_by_short_name_full_name_and_number() {
    taken(
        "kinds.Scalars",
        &[
            (r#"{"colour":"deep_blue"}"#, r#""colour":"deep_blue""#),
            (r#"{"colour":"PAINT_COLOUR_DEEP_BLUE"}"#, r#""colour":"deep_blue""#),
            (r#"{"colour":2}"#, r#""colour":"deep_blue""#),
            (r#"{"colour":-1}"#, r#""colour":"negative""#),
            (r#"{"colour":"other"}"#, r#""colour":"other""#),
            (r#"{"colour":"OTHER"}"#, r#""colour":"other""#),
            (r#"{"colour":99}"#, r#""colour":99"#),
            (r#"{"colour":"unspecified"}"#, r#""colour":"unspecified""#),
        ],
    );
    let expected = "colour: expected one of negative, unspecified, red, deep_blue, other";
    refused(
        "kinds.Scalars",
        &[
            (r#"{"colour":"DEEP_BLUE"}"#, expected),
            (r#"{"colour":"paint_colour_red"}"#, expected),
            (r#"{"colour":""}"#, expected),
            (r#"{"colour":1.5}"#, expected),
            (r#"{"colour":4294967296}"#, "colour: out of the range of a 32-bit integer"),
            (r#"{"colour":[]}"#, "colour: expected the name of a value, found a list"),
        ],
    );
}

#[test]
fn bytes_are_base64_of_either_alphabet() {
    let expected = "bytes: expected a string of base64";
    for text in ["+/8=", "+/8", "-_8=", "-_8"] {
        taken("kinds.Scalars", &[(&format!(r#"{{"bytes":"{text}"}}"#), r#""bytes":"+/8=""#)]);
    }
    refused(
        "kinds.Scalars",
        &[
            (r#"{"bytes":"+_8="}"#, expected),
            (r#"{"bytes":"a"}"#, expected),
            (r#"{"bytes":"a b="}"#, expected),
            (r#"{"bytes":1}"#, &format!("{expected}, found a number")),
        ],
    );
}

#[test]
fn well_known_types_have_their_own_forms() {
    let time = r#"expected a time as in "2026-01-02T03:04:05Z""#;
    refused(
        "kinds.WellKnown",
        &[
            (r#"{"timestamp":"yesterday"}"#, &format!("timestamp: {time}")),
            (r#"{"timestamp":1}"#, &format!("timestamp: {time}, found a number")),
            (r#"{"timestamps":["2026-01-02T03:04:05Z","x"]}"#, &format!("timestamps[1]: {time}")),
            (r#"{"duration":"1"}"#, r#"duration: expected a duration as in "1.5s""#),
            (r#"{"mask":"a,,b"}"#, "mask: expected field names with commas between them, found ``"),
            (r#"{"mask":"some_field"}"#, "mask: expected field names with commas between them, found `some_field`"),
            (r#"{"empty":{"a":1}}"#, "empty.a: unknown field"),
            (r#"{"struct":[]}"#, "struct: expected an object, found a list"),
            (r#"{"struct":{"a":1,"b":2,"a":3}}"#, "struct.a: given twice"),
            (r#"{"struct":{"a":{"b":[1,1e999]}}}"#, "struct.a.b[1]: out of the range of a number"),
            (r#"{"list":{}}"#, "list: expected a list, found an object"),
            (r#"{"int32":"x"}"#, "int32: expected a 32-bit integer"),
            (r#"{"bool":"true"}"#, "bool: expected true or false, found a string"),
        ],
    );
    taken(
        "kinds.WellKnown",
        &[
            (r#"{"timestamp":"2026-01-02T04:04:05.5+01:00"}"#, r#""timestamp":"2026-01-02T03:04:05.500Z""#),
            (r#"{"duration":"-0.25s"}"#, r#""duration":"-0.250s""#),
            (r#"{"mask":"someField.innerOne"}"#, r#""mask":"someField.innerOne""#),
            (r#"{"struct":{}}"#, r#""struct":{}"#),
            (r#"{"list":[]}"#, r#""list":[]"#),
            (r#"{"bool":false}"#, r#""bool":false"#),
            (r#"{"int64":"7"}"#, r#""int64":7"#),
            (r#"{"string":""}"#, r#""string":"""#),
        ],
    );
    refused("kinds.Dynamic", &[(r#"{"any":{}}"#, "any: google.protobuf.Any is not supported")]);
}

#[test]
fn text_that_is_not_json_is_refused() {
    let scalars = Type::of("kinds.Scalars");
    refused(
        "kinds.Scalars",
        &[
            ("", "unexpected end of the text"),
            ("{", "unexpected end of the text"),
            ("{\"int32\"", "unexpected end of the text"),
            ("{\"int32\":", "unexpected end of the text"),
            ("{\"int32\":1", "unexpected end of the text"),
            ("{\"int32\":1}}", "unexpected text at byte 11"),
            ("{}{}", "unexpected text at byte 2"),
            ("{\"int32\":1,}", "expected a key at byte 11"),
            ("{,}", "expected a key at byte 1"),
            ("{'int32':1}", "expected a key at byte 1"),
            ("{\"int32\" 1}", "expected `:` at byte 9"),
            ("{\"int32\":01}", "expected `,` or `}` at byte 10"),
            ("{\"int32\":+1}", "expected a value at byte 9"),
            ("{\"int32\":-}", "expected a number at byte 9"),
            ("{\"double\":NaN}", "expected a value at byte 10"),
            ("{\"bool\":truth}", "expected a value at byte 8"),
            ("{\"bool\":nul}", "expected a value at byte 8"),
            ("{\"string\":\"a\tb\"}", "control character in a string at byte 12"),
            ("{\"string\":\"a", "string without an end"),
            (r#"{"string":"\q"}"#, "unknown escape at byte 11"),
            (r#"{"string":"\ud800"}"#, "surrogate without its other half at byte 11"),
            (r#"{"string":"\udc00\ud800"}"#, "surrogate without its other half at byte 11"),
            (r#"{"string":"\u00"}"#, "expected four hexadecimal digits at byte 13"),
        ],
    );
    assert_eq!(scalars.to_wire(b"{\"string\":\"\xff\"}"), Err("not UTF-8 at byte 11".to_owned()));
    assert_eq!(scalars.to_wire(b"\xef\xbb\xbf{}"), Err("expected a value at byte 0".to_owned()));
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| format!("{}{}", "{\"left\":".repeat(levels - 1) + "{", "}".repeat(levels));
    let node = Type::of("kinds.Node");
    assert!(node.understood(&nested(32)).is_ok());
    assert_eq!(node.to_wire(nested(33)), Err("nested deeper than 32 levels".to_owned()));

    let lists = |levels: usize| format!("{{\"value\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let well_known = Type::of("kinds.WellKnown");
    let deepest = well_known.to_wire(lists(32)).unwrap();
    assert!(well_known.to_json(&deepest).is_ok(), "what is taken can be written");
    assert!(well_known.decode(&deepest).is_ok(), "what is taken can be decoded");
    assert_eq!(well_known.to_wire(lists(33)), Err("nested deeper than 32 levels".to_owned()));
    assert!(well_known.to_wire("[".repeat(100_000)).is_err());
}

#[test]
fn zero_is_left_out_only_where_it_means_absence() {
    let scalars = Type::of("kinds.Scalars");
    let zeros = r#"{"bool":false,"int32":0,"uint64":"0","double":0,"string":"","bytes":"","colour":0,"fixed32":0}"#;
    assert_eq!(scalars.to_wire(zeros).unwrap(), b"");
    let optionals = Type::of("kinds.Optionals").to_wire(r#"{"bool":false,"string":"","message":{}}"#).unwrap();
    let records: Vec<_> = wire::records(&optionals).map(Result::unwrap).collect();
    assert_eq!(records, [(1, Value::Varint(0)), (5, Value::Bytes(b"")), (8, Value::Bytes(b""))]);
    assert_eq!(Type::of("kinds.Lists").to_wire(r#"{"int32s":[],"strings":[]}"#).unwrap(), b"");
}
