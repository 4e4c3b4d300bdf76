//! Turns encoded messages into JSON and JSON into encoded messages, by tables made once from the descriptors.
//!
//! No message is built in between: wire bytes are walked and text is written as they come, and the other way round.
//! The JSON is protobuf's own mapping with these differences, the same over REST, Server-Sent Events and WebSocket:
//!
//! - fields have their proto names, unless the option `(colloquy.v1.json)` gives them others;
//! - 64-bit integers are numbers, and are taken as strings too;
//! - values of enums are written in lower case and without the enum's name (`user` of `MESSAGE_ROLE_USER`); full names and
//!   numbers are taken too;
//! - scalars, lists and maps are always written; absent messages, `optional` fields and members of a `oneof` never;
//! - whole numbers of free JSON (`google.protobuf.Value`) are written without a fraction;
//! - input is taken strictly: unknown, doubled and mistyped fields are refused by their path;
//! - `google.protobuf.Any` is not supported.

mod descriptors;
mod error;
mod json;
mod mask;
mod number;
mod order;
mod parameter;
mod parser;
mod scalar;
mod scanner;
mod table;
mod time;
pub mod wire;
mod writer;

use prost_reflect::DescriptorPool;

pub use error::{Invalid, InvalidKind, Malformed};
pub use json::put_string;
pub use scanner::{object_members, parse_string};
pub use table::MessageId;

use table::Tables;

/// Transcodes the messages of a descriptor pool.
pub struct Transcoder {
    tables: Tables,
}

impl Transcoder {
    /// Makes the tables for every message of the pool.
    pub fn new(pool: &DescriptorPool) -> Self {
        Self { tables: descriptors::tables(pool) }
    }

    /// The message type of this name, as in `colloquy.v1.ServerFrame`.
    pub fn message(&self, full_name: &str) -> Option<MessageId> {
        self.tables.id(full_name)
    }

    /// Appends the JSON of an encoded message. What is in `out` after an error is of no use.
    pub fn to_json(&self, message: MessageId, wire: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        writer::write(&self.tables, message, wire, out)
    }

    /// Appends the members of the JSON of an encoded message, each with a comma before it and none in braces, to go behind
    /// members of the caller's: `,"content":"…","index":0`. What is not an object in JSON becomes a member `value`.
    pub fn fields_to_json(&self, message: MessageId, wire: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        writer::write_members(&self.tables, message, wire, out)
    }

    /// Appends the encoding of the message that the JSON stands for. What is in `out` after an error is of no use.
    pub fn to_wire(&self, message: MessageId, json: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        parser::parse(&self.tables, message, json, out)
    }

    /// Appends the encoding of one field, given as text: a name, or names of nested fields with dots between them, and a
    /// value. Appended to an encoded message it takes the place of the field's value there, and extends lists. What is in
    /// `out` after an error is of no use.
    pub fn set_field(&self, message: MessageId, path: &str, text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
        parameter::put(&self.tables, message, path, text, out)
    }
}
