//! What can be wrong with what is transcoded.

use std::fmt;

/// Bytes that are not an encoding of the message, or hold a value that JSON has no form for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// Text that is not JSON, or not the JSON of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Which of the two it is.
    pub kind: InvalidKind,
    /// The path of the field at fault, as in `topics[2].offset`; empty where the whole is.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Whether the text or what it says is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKind {
    /// The text is not JSON, or nests too deep.
    Syntax,
    /// A field is unknown, doubled, of the wrong type or out of its range.
    Field,
}

impl Invalid {
    #[cold]
    pub(super) fn syntax(description: impl Into<String>) -> Self {
        Self { kind: InvalidKind::Syntax, field: String::new(), description: description.into() }
    }

    #[cold]
    pub(super) fn field(description: impl Into<String>) -> Self {
        Self { kind: InvalidKind::Field, field: String::new(), description: description.into() }
    }

    /// The same, of the member `name` of an object.
    #[cold]
    pub(super) fn in_member(self, name: &str) -> Self {
        self.inside(name.to_owned())
    }

    /// The same, of an element of a list.
    #[cold]
    pub(super) fn in_element(self, index: usize) -> Self {
        self.inside(format!("[{index}]"))
    }

    fn inside(mut self, mut path: String) -> Self {
        if self.kind == InvalidKind::Field {
            if !self.field.is_empty() && !self.field.starts_with('[') {
                path.push('.');
            }
            path.push_str(&self.field);
            self.field = path;
        }
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.description),
            field => write!(f, "{field}: {}", self.description),
        }
    }
}

impl std::error::Error for Invalid {}
