//! The contract as the bridge serves it, read from the descriptors at start: an RPC in `proto/` needs no line here.

use std::sync::Arc;

use http::{Method, StatusCode, uri::PathAndQuery};
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
};

use crate::{
    route::{Router, Template, TemplateError},
    transcode::{MessageId, Transcoder},
    variant::Variants,
};

/// The contract with its comments and options, as `build.rs` compiled it.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

const HTTP_OPTION: &str = "google.api.http";
const FRAME_TYPE_OPTION: &str = "colloquy.v1.frame_type";
const RAW_BODY: &str = "google.api.HttpBody";
/// The members of `HttpRule`'s pattern.
const VERBS: [(&str, Method); 5] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("patch", Method::PATCH),
];

/// Everything that the bridge knows of the contract.
pub(crate) struct Schema {
    pub(crate) pool: DescriptorPool,
    pub(crate) transcoder: Arc<Transcoder>,
    pub(crate) router: Router<Route>,
    pub(crate) frame_type: ExtensionDescriptor,
}

/// An RPC at a path.
#[derive(Debug)]
pub(crate) struct Route {
    /// The path's template, as metrics and logs name the route.
    pub(crate) template: Arc<str>,
    /// The RPC.
    pub(crate) method: MethodDescriptor,
    /// Which of the RPC's routes it is, from 0.
    pub(crate) binding: usize,
    /// The RPC's path in gRPC.
    pub(crate) path: PathAndQuery,
    /// The RPC's request.
    pub(crate) input: MessageId,
    /// What the request's body is.
    pub(crate) body: Body,
    /// What the answer is.
    pub(crate) answer: Answer,
}

/// What the body of a request is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Nothing: it is not read.
    Nothing,
    /// The request message, but for what the path holds.
    Message,
    /// One field of it.
    Field { field: FieldDescriptor, message: MessageId },
}

/// What answers a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The one response, under this status.
    One { status: StatusCode, form: Form },
    /// The responses as events.
    Events(Arc<Events>),
}

/// What of a response is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// All of it, as JSON.
    Message(MessageId),
    /// One field, as JSON.
    Field { number: u32, message: MessageId },
    /// The bytes and the content type in a field that holds a `google.api.HttpBody`.
    Raw { number: u32 },
}

/// What the events of a stream are.
#[derive(Clone, Debug)]
pub(crate) enum Events {
    /// The response messages as they are.
    Plain(MessageId),
    /// What differs by its type in the one field of the response, with the cursor that the client may come back with.
    Typed { event: u32, offset: u32, variants: Variants },
}

/// Why the contract cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("the descriptor set cannot be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error("the contract has no `{0}`")]
    Missing(&'static str),
    #[error("{rpc}: {source}")]
    Template { rpc: String, source: TemplateError },
    #[error("{rpc}: {fault}")]
    Rule { rpc: String, fault: String },
}

impl Schema {
    /// Reads the contract that was compiled in.
    pub(crate) fn load() -> Result<Self, SchemaError> {
        Self::new(DescriptorPool::decode(DESCRIPTORS)?)
    }

    /// Reads a contract.
    pub(crate) fn new(pool: DescriptorPool) -> Result<Self, SchemaError> {
        let option = |name| pool.get_extension_by_name(name).ok_or(SchemaError::Missing(name));
        let (http, frame_type) = (option(HTTP_OPTION)?, option(FRAME_TYPE_OPTION)?);
        let reader = Reader { transcoder: Transcoder::new(&pool), frame_type: &frame_type };

        let mut router = Router::new();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let options = method.options();
            if !options.has_extension(&http) {
                continue;
            }
            let Value::Message(rule) = options.get_extension(&http).into_owned() else { continue };
            for (binding, rule) in bindings(rule).iter().enumerate() {
                let (verb, template, route) = reader.route(&method, binding, rule)?;
                router.insert(verb, template, route);
            }
        }
        let transcoder = Arc::new(reader.transcoder);
        Ok(Self { pool, transcoder, router, frame_type })
    }

    /// The message of this name.
    pub(crate) fn message(&self, name: &'static str) -> Result<(MessageDescriptor, MessageId), SchemaError> {
        let missing = SchemaError::Missing(name);
        match (self.pool.get_message_by_name(name), self.transcoder.message(name)) {
            (Some(descriptor), Some(id)) => Ok((descriptor, id)),
            _ => Err(missing),
        }
    }
}

/// Reads the rules of RPCs.
struct Reader<'a> {
    transcoder: Transcoder,
    frame_type: &'a ExtensionDescriptor,
}

impl Reader<'_> {
    fn route(
        &self,
        method: &MethodDescriptor,
        binding: usize,
        rule: &DynamicMessage,
    ) -> Result<(Method, Template, Route), SchemaError> {
        let rpc = || method.full_name().to_owned();
        let fail = |fault: String| SchemaError::Rule { rpc: rpc(), fault };

        if method.is_client_streaming() {
            return Err(fail("a client stream has no form over HTTP".to_owned()));
        }
        let (verb, pattern) = VERBS
            .iter()
            .find_map(|(name, verb)| Some((verb.clone(), text(rule, name)?)))
            .ok_or_else(|| fail("the rule has no path".to_owned()))?;
        let template = pattern.parse::<Template>().map_err(|source| SchemaError::Template { rpc: rpc(), source })?;
        let (input, output) = (method.input(), method.output());
        if let Some(unknown) = template.variables().find(|path| !names_field(&input, path)) {
            return Err(fail(format!("`{unknown}` is not a field of {}", input.full_name())));
        }

        let route = Route {
            template: pattern.into(),
            method: method.clone(),
            binding,
            path: PathAndQuery::try_from(format!("/{}/{}", method.parent_service().full_name(), method.name()))
                .map_err(|error| fail(error.to_string()))?,
            input: self.id(&input).ok_or_else(|| fail("the request is unknown".to_owned()))?,
            body: self.body(&input, text(rule, "body").as_deref()).map_err(fail)?,
            answer: self.answer(method, &output, text(rule, "response_body").as_deref()).map_err(fail)?,
        };
        Ok((verb, template, route))
    }

    fn body(&self, input: &MessageDescriptor, rule: Option<&str>) -> Result<Body, String> {
        match rule {
            None => Ok(Body::Nothing),
            Some("*") => Ok(Body::Message),
            Some(name) => {
                let (field, message) = self.message_field(input, name)?;
                Ok(Body::Field { field, message: self.id(&message).ok_or("the body is unknown")? })
            }
        }
    }

    fn answer(
        &self,
        method: &MethodDescriptor,
        output: &MessageDescriptor,
        rule: Option<&str>,
    ) -> Result<Answer, String> {
        let unknown = || format!("{} is unknown", output.full_name());
        let message = self.id(output).ok_or_else(unknown)?;
        if method.is_server_streaming() {
            return Ok(Answer::Events(Arc::new(self.typed_events(output).unwrap_or(Events::Plain(message)))));
        }
        let form = match rule {
            None => Form::Message(message),
            Some(name) => {
                let (field, message) = self.message_field(output, name)?;
                let number = field.number();
                if message.full_name() == RAW_BODY {
                    Form::Raw { number }
                } else {
                    Form::Field { number, message: self.id(&message).ok_or_else(unknown)? }
                }
            }
        };
        Ok(Answer::One { status: success(method.name()), form })
    }

    /// `None` where the response is anything but one message with a cursor and a `oneof` of types.
    fn typed_events(&self, output: &MessageDescriptor) -> Option<Events> {
        let mut fields = output.fields();
        let (Some(field), None) = (fields.next(), fields.next()) else { return None };
        let event = field.kind().as_message().filter(|_| !field.is_list() && !field.is_map())?.clone();
        let offset = event.get_field_by_name("offset").filter(|offset| offset.kind() == Kind::Int64)?;
        let variants = Variants::of(&event, self.frame_type, &self.transcoder)?;
        Some(Events::Typed { event: field.number(), offset: offset.number(), variants })
    }

    fn message_field(
        &self,
        parent: &MessageDescriptor,
        name: &str,
    ) -> Result<(FieldDescriptor, MessageDescriptor), String> {
        let field = parent.get_field_by_name(name).filter(|field| !field.is_list() && !field.is_map());
        let message = field.as_ref().and_then(|field| field.kind().as_message().cloned());
        field.zip(message).ok_or_else(|| format!("`{name}` is not a message in {}", parent.full_name()))
    }

    fn id(&self, message: &MessageDescriptor) -> Option<MessageId> {
        self.transcoder.message(message.full_name())
    }
}

/// A rule and those that it holds.
fn bindings(rule: DynamicMessage) -> Vec<DynamicMessage> {
    let additional = match rule.get_field_by_name("additional_bindings").as_deref() {
        Some(Value::List(rules)) => rules.iter().filter_map(Value::as_message).cloned().collect(),
        _ => Vec::new(),
    };
    [rule].into_iter().chain(additional).collect()
}

/// A text field of a rule, when it is set.
fn text(rule: &DynamicMessage, field: &str) -> Option<String> {
    let value = rule.get_field_by_name(field)?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Whether a dotted path of field names leads somewhere.
fn names_field(message: &MessageDescriptor, path: &str) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(field) = message.get_field_by_name(name) else { return false };
    match rest {
        None => true,
        Some(rest) => field.kind().as_message().is_some_and(|inner| names_field(inner, rest)),
    }
}

/// What tells a browser that something new exists.
fn success(rpc: &str) -> StatusCode {
    if rpc.starts_with("Create") || rpc.starts_with("Register") { StatusCode::CREATED } else { StatusCode::OK }
}
