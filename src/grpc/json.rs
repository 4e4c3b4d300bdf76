//! JSON as protobuf has it, `google.protobuf.Struct` and `Value`, and back.

use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};
use serde_json::{Map, Number, Value};

/// Numbers up to here are whole as doubles are: 2^53.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// A JSON object as protobuf has it.
pub(super) fn structure(object: Map<String, Value>) -> Struct {
    Struct { fields: object.into_iter().map(|(name, value)| (name, proto_value(value))).collect() }
}

/// Any JSON as protobuf has it.
pub(super) fn proto_value(value: Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(proto_value).collect() }),
        Value::Object(object) => Kind::StructValue(structure(object)),
    };
    ProtoValue { kind: Some(kind) }
}

/// The JSON object of a structure.
pub(super) fn object(structure: Struct) -> Map<String, Value> {
    structure.fields.into_iter().map(|(name, value)| (name, value_of(value))).collect()
}

/// The JSON of a value; what JSON cannot say is `null`.
pub(super) fn value_of(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(value_of).collect()),
        Some(Kind::StructValue(structure)) => Value::Object(object(structure)),
    }
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() <= WHOLE {
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_comes_back_as_it_was() {
        let whole = json!({"a": [1, -2.5, 1e300, null, true, "é"], "b": {"c": {}}, "d": 9_007_199_254_740_992_i64});
        assert_eq!(value_of(proto_value(whole.clone())), whole);
        assert_eq!(number(f64::NAN), Value::Null);
    }
}
