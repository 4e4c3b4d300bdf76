//! Fields set from the text of query parameters and path variables.

use crate::contract::Type;

#[test]
fn fields_are_set_from_text() {
    let search = Type::of("colloquy.v1.ListMessagesRequest");
    let mut wire = search.to_wire(r#"{"limit":5,"before_seq":9}"#).unwrap();
    for (path, text) in [("conversation_id", "c 1"), ("limit", "0"), ("after_seq", "3"), ("include_siblings", "true")] {
        search.set_field(path, text, &mut wire).unwrap();
    }
    let expected = r#"{"conversation_id":"c 1","before_seq":9,"after_seq":3,"limit":0,"page_size":0,"page_token":"","include_siblings":true}"#;
    assert_eq!(search.to_json(&wire).unwrap(), expected);

    let set = |message: &str, path: &str, text: &str| {
        let message = Type::of(message);
        let mut wire = Vec::new();
        message.set_field(path, text, &mut wire).map(|()| message.to_json(&wire).unwrap())
    };
    for (message, path, text, member) in [
        ("kinds.Scalars", "colour", "red", r#""colour":"red""#),
        ("kinds.Scalars", "bytes", "AQI", r#""bytes":"AQI=""#),
        ("kinds.Scalars", "double", "-1.5e3", r#""double":-1500.0"#),
        ("kinds.Lists", "strings", "a,b", r#""strings":["a,b"]"#),
        ("kinds.Lists", "int32s", "4", r#""int32s":[4]"#),
        ("kinds.Named", "another", "x", r#""otherName":"x""#),
        ("kinds.WellKnown", "timestamp", "2026-01-02T03:04:05Z", r#""timestamp":"2026-01-02T03:04:05Z""#),
        ("kinds.WellKnown", "int64", "7", r#""int64":7"#),
        ("kinds.WellKnown", "mask", "someField", r#""mask":"someField""#),
        ("kinds.Node", "left.right.name", "x", r#""left":{"name":"","right":{"name":"x""#),
    ] {
        let json = set(message, path, text).expect(path);
        assert!(json.contains(member), "{path}={text} gave {json}");
    }
    for (message, path, text, error) in [
        ("kinds.Scalars", "nope", "1", "nope: unknown field"),
        ("kinds.Node", "left.nope", "1", "left.nope: unknown field"),
        ("kinds.Scalars", "int32", "1x", "int32: expected a 32-bit integer"),
        ("kinds.Scalars", "bool", "1", "bool: expected true or false"),
        ("kinds.Scalars", "string.length", "1", "string.length: unknown field"),
        ("kinds.Node", "left", "x", "left: cannot be given as text"),
        ("kinds.Maps", "strings", "x", "strings: cannot be given as text"),
        ("kinds.WellKnown", "struct.a", "x", "struct.a: unknown field"),
    ] {
        assert_eq!(set(message, path, text), Err(error.to_owned()), "{path}={text}");
    }
}
