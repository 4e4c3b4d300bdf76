//! Operations: what each route takes and answers.

use prost_reflect::FieldDescriptor;
use serde_json::{Value, json};

use super::{
    comment::{Comments, first_sentence},
    component::{Components, Direction},
};
use crate::{
    input,
    naming::Naming,
    route::Template,
    schema::{Answer, Body, Events, Form, Route, Schema},
};

/// The option of RPCs that need no credential.
const PUBLIC_OPTION: &str = "colloquy.v1.public";

/// Describes a route.
pub(super) fn describe(
    schema: &Schema,
    comments: &Comments,
    components: &mut Components<'_>,
    template: &Template,
    route: &Route,
) -> Value {
    let rpc = &route.method;
    let service = rpc.parent_service();
    let comment = comments.on(&service.parent_file(), rpc.path());
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [service.name()],
        "summary": first_sentence(comment),
        "description": comment,
        "parameters": parameters(components, template, route),
        "responses": responses(components, route),
    });
    if let Some(body) = body(components, template, route) {
        operation["requestBody"] = body;
    }
    if is_public(schema, route) {
        operation["security"] = json!([]);
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let id = format!("{}_{}", route.method.parent_service().name(), route.method.name());
    if route.binding == 0 { id } else { format!("{id}_{}", route.binding + 1) }
}

/// The path's variables, and what of the request is in neither the path nor the body.
fn parameters(components: &mut Components<'_>, template: &Template, route: &Route) -> Vec<Value> {
    let input = route.method.input();
    let in_path = template.variables().collect::<Vec<_>>();
    let mut parameters = Vec::new();
    for name in &in_path {
        let schema = input.get_field_by_name(name).map(|field| components.field(&field, Direction::Input));
        let schema = schema.unwrap_or_else(|| json!({"type": "string"}));
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    let in_query = |field: &FieldDescriptor| match &route.body {
        Body::Nothing => !in_path.contains(&field.name()),
        Body::Message => false,
        Body::Field { field: body, .. } => field != body && !in_path.contains(&field.name()),
    };
    for field in input.fields().filter(in_query) {
        let name = Naming::of(&field).written(&field);
        let schema = components.field(&field, Direction::Input);
        // A list is one parameter: `a,b`.
        parameters.push(json!({"name": name, "in": "query", "style": "form", "explode": false, "schema": schema}));
    }
    if matches!(route.answer, Answer::Events(_)) && input::resumes(&input) {
        let description = format!("The id of the last event seen; the same as `{}`.", input::CURSOR);
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "description": description, "schema": {"type": "string"},
        }));
    }
    parameters
}

fn body(components: &mut Components<'_>, template: &Template, route: &Route) -> Option<Value> {
    let schema = match &route.body {
        Body::Nothing => return None,
        Body::Message => {
            let in_path = template.variables().collect::<Vec<_>>();
            components.object(&route.method.input(), Direction::Input, &in_path)
        }
        Body::Field { field, .. } => components.field(field, Direction::Input),
    };
    Some(json!({"content": {"application/json": {"schema": schema}}}))
}

fn responses(components: &mut Components<'_>, route: &Route) -> Value {
    let output = route.method.output();
    let (status, content_type, schema) = match &route.answer {
        Answer::Events(events) => ("200".to_owned(), "text/event-stream", event(components, route, events)),
        Answer::One { status, form } => {
            let status = status.as_str().to_owned();
            match form {
                Form::Message(_) => (status, "application/json", components.message(&output, Direction::Output)),
                Form::Field { number, .. } => {
                    let schema = output.get_field(*number).map(|field| components.field(&field, Direction::Output));
                    (status, "application/json", schema.unwrap_or_default())
                }
                // Whatever it is, JSON too: what says more would be wrong of some of it.
                Form::Raw { .. } => (status, "*/*", json!({})),
            }
        }
    };
    let error = json!({"$ref": "#/components/responses/Error"});
    let success = json!({"description": "Success.", "content": {content_type: {"schema": schema}}});
    json!({status: success, "default": error})
}

/// An event, as it is read from the stream.
fn event(components: &mut Components<'_>, route: &Route, events: &Events) -> Value {
    let said = json!({"anyOf": variants(components, route, events)});
    json!({"type": "object", "required": ["data"], "properties": {
        "id": {"type": "string", "description": "Where to take the stream up again, if it can be."},
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": said},
    }})
}

/// What the `data` of an event may be.
fn variants(components: &mut Components<'_>, route: &Route, events: &Events) -> Vec<Value> {
    let output = route.method.output();
    let failed = json!({"$ref": "#/components/schemas/StreamError"});
    let Events::Typed { event, variants, .. } = events else {
        return vec![components.message(&output, Direction::Output), failed];
    };
    let event = output.get_field(*event).and_then(|field| field.kind().as_message().cloned());
    let described = variants.iter().filter_map(|variant| {
        if variant.open.is_some() {
            let kind = json!({"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]});
            return Some(kind);
        }
        let kind = event.as_ref()?.get_field(variant.number)?.kind();
        let fields = components.message(kind.as_message()?, Direction::Output);
        let kind = json!({"type": "object", "properties": {"type": {"const": variant.name}}, "required": ["type"]});
        Some(json!({"allOf": [kind, fields]}))
    });
    described.chain([failed]).collect()
}

fn is_public(schema: &Schema, route: &Route) -> bool {
    let options = route.method.options();
    let option = schema.pool.get_extension_by_name(PUBLIC_OPTION);
    option.and_then(|option| options.get_extension(&option).as_bool()).unwrap_or_default()
}
