//! How the contract names fields in JSON: `(colloquy.v1.json)`.

use prost_reflect::{DynamicMessage, FieldDescriptor, Value};

const OPTION: &str = "colloquy.v1.json";

/// What the option says of a field.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    /// The name that is written; empty: the proto name.
    name: String,
    /// Other names that are taken.
    aliases: Vec<String>,
    /// Whether the field may stand beside a frame's `data`.
    pub(crate) top_level: bool,
}

impl Naming {
    pub(crate) fn of(field: &FieldDescriptor) -> Self {
        let Some(option) = field.parent_pool().get_extension_by_name(OPTION) else { return Self::default() };
        let options = field.options();
        let value = options.get_extension(&option);
        value.as_message().map(Self::read).unwrap_or_default()
    }

    fn read(option: &DynamicMessage) -> Self {
        let get = |name| option.get_field_by_name(name).map(|value| value.into_owned());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            name: get("name").as_ref().map(text).unwrap_or_default(),
            aliases: get("aliases").as_ref().and_then(Value::as_list).unwrap_or_default().iter().map(text).collect(),
            top_level: get("top_level").as_ref().and_then(Value::as_bool).unwrap_or_default(),
        }
    }

    /// The name that is written.
    pub(crate) fn written(self, field: &FieldDescriptor) -> String {
        if self.name.is_empty() { field.name().to_owned() } else { self.name }
    }

    /// Every name that is taken.
    pub(crate) fn taken(self, field: &FieldDescriptor) -> Vec<String> {
        let mut names = vec![field.name().to_owned()];
        names.extend(Some(self.name).filter(|name| !name.is_empty()));
        names.extend(self.aliases);
        names
    }
}
