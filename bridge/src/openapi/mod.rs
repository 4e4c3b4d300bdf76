//! `/openapi.json`: the contract's routes for people and generators, made from the descriptors and their comments.

mod comment;
mod component;
mod operation;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::{comment::Comments, component::Components};
use crate::schema::Schema;

/// What the pages of the contract have in common.
const DESCRIPTION: &str = "\
Every call is also a gRPC method of the same name. JSON has snake_case names, 64-bit integers as numbers and enum values in lower \
case; unknown fields are refused. Every error has the one shape of `Error`, and every answer an `X-Request-Id`. Live sessions are \
WebSockets at `/api/v1/ws`, with frames `{\"type\",\"id\",\"timestamp\",\"data\"}`.";

/// The document, made when it is first asked for.
#[derive(Clone)]
pub(crate) struct OpenApi {
    schema: Arc<Schema>,
    document: Arc<OnceLock<Bytes>>,
}

impl OpenApi {
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        Self { schema, document: Arc::default() }
    }

    /// The document as JSON.
    pub(crate) fn document(&self) -> Bytes {
        self.document.get_or_init(|| document(&self.schema).to_string().into()).clone()
    }
}

fn document(schema: &Schema) -> Value {
    let comments = Comments::read(&schema.pool);
    let mut components = Components::new(&comments, schema.transcoder.clone());
    let mut paths = Map::new();
    let mut tags = Map::new();
    for (template, method, route) in schema.router.iter() {
        let operation = operation::describe(schema, &comments, &mut components, template, route);
        paths.entry(template.to_string()).or_insert_with(|| json!({}))[method.as_str().to_lowercase()] = operation;
        let service = route.method.parent_service();
        let comment = comments.on(&service.parent_file(), service.path());
        tags.insert(service.name().to_owned(), json!({"name": service.name(), "description": comment}));
    }
    let mut schemas = components.finish();
    schemas.insert("StreamError".to_owned(), stream_error());
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Colloquy", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": tags.into_values().collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Error": error()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "An access token or an API key."}},
        },
    })
}

/// What `problem` writes.
fn error() -> Value {
    json!({
        "description": "The call failed.",
        "headers": {"X-Request-Id": {"schema": {"type": "string"}, "description": "Names the request in the server's log."}},
        "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {
                "type": "object",
                "required": ["code", "message", "details", "request_id"],
                "properties": {
                    "code": {"type": "string", "description": "A google.rpc.Code.", "examples": ["NOT_FOUND"]},
                    "message": {"type": "string", "description": "A plain sentence."},
                    "details": {
                        "type": "array",
                        "description": "google.rpc details: error_info, bad_request, retry_info, quota_failure.",
                        "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
                    },
                    "request_id": {"type": "string"},
                },
            }},
        }}},
    })
}

/// What `sse` writes when a stream fails.
fn stream_error() -> Value {
    json!({
        "description": "The last event of a stream that failed.",
        "type": "object",
        "required": ["type", "code", "message", "retryable", "details"],
        "properties": {
            "type": {"type": "string", "const": "error"},
            "code": {"type": "string", "description": "An ErrorReason without its prefix."},
            "message": {"type": "string", "description": "A plain sentence."},
            "retryable": {"type": "boolean", "description": "Whether to come back after the last event."},
            "message_id": {"type": "string", "description": "The answer that the stream is about."},
            "details": {"type": "array", "items": {"type": "object"}},
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn made() -> Value {
        document(&Schema::load().unwrap())
    }

    /// Every value under this key, wherever it stands.
    fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get(key));
                members.values().for_each(|member| all(member, key, found));
            }
            Value::Array(elements) => elements.iter().for_each(|element| all(element, key, found)),
            _ => {}
        }
    }

    #[test]
    fn every_rpc_with_a_path_is_described_once() {
        let schema = Schema::load().unwrap();
        let document = document(&schema);
        let mut ids = Vec::new();
        all(&document["paths"], "operationId", &mut ids);
        let ids = ids.into_iter().map(|id| id.as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());

        let http = schema.pool.get_extension_by_name("google.api.http").unwrap();
        for method in schema.pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let id = format!("{}_{}", method.parent_service().name(), method.name());
            assert_eq!(ids.contains(&id.as_str()), method.options().has_extension(&http), "{id}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = made();
        let mut references = Vec::new();
        all(&document, "$ref", &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some_and(Value::is_object), "{pointer}");
        }
    }

    #[test]
    fn an_operation_says_what_it_takes_and_answers() {
        let document = made();
        let send = &document["paths"]["/api/v1/conversations/{conversation_id}/messages"]["post"];
        assert_eq!(send["parameters"][0]["name"], "conversation_id");
        assert_eq!(send["parameters"][0]["in"], "path");
        let body = &send["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["additionalProperties"], false);
        assert!(body["properties"].get("conversation_id").is_none());
        assert_eq!(body["properties"]["content"]["type"], "string");
        assert_eq!(
            send["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/SendMessageResponse"
        );
        assert!(send.get("security").is_none());

        assert_eq!(document["paths"]["/api/v1/auth/login"]["post"]["security"], json!([]));
        assert!(document["paths"]["/api/v1/conversations"]["post"]["responses"].get("201").is_some());

        let list = document["paths"]["/api/v1/conversations"]["get"]["parameters"].as_array().unwrap();
        assert!(list.iter().any(|parameter| parameter["name"] == "page_size" && parameter["in"] == "query"));
    }

    #[test]
    fn a_message_is_described_as_it_is_written() {
        let document = made();
        let message = &document["components"]["schemas"]["Message"];
        assert_eq!(
            message["properties"]["seq"],
            json!({
                "type": "integer", "format": "int64", "description": "Gapless within the conversation, from 1.",
            })
        );
        assert!(message["properties"]["role"]["enum"].as_array().unwrap().contains(&json!("assistant")));
        let required = message["required"].as_array().unwrap();
        assert!(required.contains(&json!("sibling_ids")) && !required.contains(&json!("parent_id")));
        assert!(message.get("additionalProperties").is_none());
        assert_eq!(message["properties"]["created_at"]["format"], "date-time");
    }

    #[test]
    fn a_stream_is_described_by_its_events() {
        let document = made();
        let resume = &document["paths"]["/api/v1/chat/stream/{message_id}"]["get"];
        let events = &resume["responses"]["200"]["content"]["text/event-stream"]["schema"]["properties"]["data"];
        let mut types = Vec::new();
        all(&events["contentSchema"], "const", &mut types);
        assert!(types.contains(&&json!("token")) && types.contains(&&json!("end")));
        let parameters = resume["parameters"].as_array().unwrap();
        for name in ["message_id", "after", "Last-Event-ID"] {
            assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{name}");
        }
    }
}
