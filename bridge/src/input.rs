//! The request message of a call, put together from the path, the query and the body.

use bytes::Bytes;
use prost_reflect::MessageDescriptor;

use crate::{
    record,
    refusal::{Reason, Refusal},
    route::Captures,
    schema::{Body, Route},
    transcode::{Invalid, InvalidKind, MessageId, Transcoder, wire},
};

/// The request field that `Last-Event-ID` stands for.
pub(crate) const CURSOR: &str = "after";

/// Where the parts of a request come from.
pub(crate) struct Parts<'a> {
    /// What the path's variables stand for.
    pub(crate) captures: Captures<'a>,
    /// The query as it was sent; empty without one.
    pub(crate) query: &'a str,
    /// The `Last-Event-ID`, which wins over the same field in the query.
    pub(crate) cursor: Option<&'a str>,
    /// The body; empty without one.
    pub(crate) body: &'a [u8],
}

/// Encodes the request message of `route`. A field comes from one place only.
pub(crate) fn message(transcoder: &Transcoder, route: &Route, parts: &Parts<'_>) -> Result<Bytes, Refusal> {
    let descriptor = route.method.input();
    let mut input = Input { transcoder, message: route.input, wire: Vec::new(), taken: Vec::new() };
    for (name, value) in &parts.captures {
        input.set(name, value, "path")?;
    }
    if let Some(cursor) = parts.cursor.filter(|_| resumes(&descriptor)) {
        input.set(CURSOR, cursor, "Last-Event-ID header")?;
    }
    for (name, value) in form_urlencoded::parse(parts.query.as_bytes()) {
        if name == CURSOR && parts.cursor.is_some() {
            continue;
        }
        // A list is given as `a,b`, or by repeating the name.
        if descriptor.get_field_by_name(&name).is_some_and(|field| field.is_list()) {
            for value in value.split(',').filter(|value| !value.is_empty()) {
                input.append(&name, value)?;
            }
        } else {
            input.set(&name, &value, "query")?;
        }
    }
    input.body(&route.body, parts.body)?;
    Ok(input.wire.into())
}

/// Whether calls that take this message can go on from a cursor.
pub(crate) fn resumes(message: &MessageDescriptor) -> bool {
    message.get_field_by_name(CURSOR).is_some()
}

/// A request message in the making.
struct Input<'a> {
    transcoder: &'a Transcoder,
    message: MessageId,
    wire: Vec<u8>,
    /// The fields given so far.
    taken: Vec<Taken>,
}

/// A field that was given.
struct Taken {
    /// Its number, after those of the fields that hold it: names differ, for a field may have several.
    path: Vec<u32>,
    name: String,
    place: &'static str,
}

impl Input<'_> {
    /// Sets a field that nothing else may set.
    fn set(&mut self, name: &str, value: &str, place: &'static str) -> Result<(), Refusal> {
        let start = self.wire.len();
        self.append(name, value)?;
        let path = path(&self.wire[start..], name);
        if let Some(first) = self.taken.iter().find(|taken| taken.path == path) {
            return Err(doubled(name, first.place));
        }
        self.taken.push(Taken { path, name: name.to_owned(), place });
        Ok(())
    }

    fn append(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        self.transcoder.set_field(self.message, name, value, &mut self.wire).map_err(refusal)
    }

    fn body(&mut self, rule: &Body, json: &[u8]) -> Result<(), Refusal> {
        let json = if json.is_empty() { b"{}" } else { json };
        let start = self.wire.len();
        match rule {
            Body::Nothing => return Ok(()),
            Body::Message => self.transcoder.to_wire(self.message, json, &mut self.wire).map_err(refusal)?,
            Body::Field { field, message } => {
                wire::put_tag(field.number(), wire::WireType::Bytes, &mut self.wire);
                wire::put_delimited(&mut self.wire, |out| self.transcoder.to_wire(*message, json, out))
                    .map_err(refusal)?;
            }
        }
        for number in numbers(&self.wire[start..]) {
            if let Some(first) = self.taken.iter().find(|taken| taken.path.first() == Some(&number)) {
                return Err(doubled(&first.name, first.place));
            }
        }
        Ok(())
    }
}

/// Where the caller of `message` goes on; 0 from the start, or where nothing goes on.
pub(crate) fn cursor(message: &MessageDescriptor, wire: &[u8]) -> i64 {
    let field = message.get_field_by_name(CURSOR);
    let cursor = field.and_then(|field| record::varint(wire, field.number()).ok());
    cursor.unwrap_or_default().cast_signed()
}

/// What was not understood, in the words of the contract.
pub(crate) fn refusal(invalid: Invalid) -> Refusal {
    match invalid.kind {
        InvalidKind::Syntax => Refusal::new(Reason::InvalidJson, invalid.description),
        InvalidKind::Field if invalid.field.is_empty() => Refusal::new(Reason::InvalidMessage, invalid.description),
        InvalidKind::Field => Refusal::field(invalid.field, invalid.description),
    }
}

fn doubled(name: &str, place: &str) -> Refusal {
    Refusal::field(name, format!("is given by the {place} already"))
}

/// The numbers of the field that a record sets, from the outermost on; its name says how deep it is.
fn path(mut record: &[u8], name: &str) -> Vec<u32> {
    let mut path = Vec::new();
    for _ in name.split('.') {
        let Some(Ok((number, value))) = wire::records(record).next() else { break };
        path.push(number);
        record = if let wire::Value::Bytes(inner) = value { inner } else { &[] };
    }
    path
}

fn numbers(wire: &[u8]) -> impl Iterator<Item = u32> {
    wire::records(wire).map_while(|record| Some(record.ok()?.0))
}
