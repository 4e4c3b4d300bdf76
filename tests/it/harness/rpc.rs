//! Any RPC of the contract, called by its descriptor: over gRPC, and over HTTP as its annotation says.

use std::sync::LazyLock;

use bytes::{Buf as _, BufMut as _, Bytes};
use colloquy::proto::DESCRIPTORS;
use futures_util::{StreamExt as _, stream};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions, prost::Message as _};
use reqwest::Method;
use serde_json::Value;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::{Actor, secrets, soon};

const PACKAGE: &str = "colloquy.v1";

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap());

/// An RPC of the contract.
#[derive(Clone)]
pub(crate) struct Rpc(MethodDescriptor);

/// Where HTTP serves an RPC.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// With `{field}` for what the path holds.
    pub(crate) path: String,
    has_body: bool,
}

/// What HTTP answered: all of it, or the first event of a stream.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl Rpc {
    /// Every RPC of the contract.
    pub(crate) fn all() -> Vec<Self> {
        let services = POOL.services().filter(|service| service.package_name() == PACKAGE);
        services.flat_map(|service| service.methods().map(Self).collect::<Vec<_>>()).collect()
    }

    /// The RPC of this name, such as `ChatService/SendMessage`.
    pub(crate) fn named(name: &str) -> Self {
        Self::all().into_iter().find(|rpc| rpc.name() == name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Its service and its own name.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.0.parent_service().name(), self.0.name())
    }

    /// What it asks of API keys; `None`: it is not for service accounts.
    pub(crate) fn scope(&self) -> Option<String> {
        let (options, extension) = (self.0.options(), POOL.get_extension_by_name("colloquy.v1.scope").unwrap());
        options.has_extension(&extension).then(|| options.get_extension(&extension).as_str().unwrap().to_owned())
    }

    /// Whether it answers with a stream.
    pub(crate) fn is_streaming(&self) -> bool {
        self.0.is_server_streaming()
    }

    /// Whether it takes a stream: no request over HTTP says that.
    pub(crate) fn takes_stream(&self) -> bool {
        self.0.is_client_streaming()
    }

    /// Where HTTP serves it.
    pub(crate) fn route(&self) -> Option<Route> {
        let extension = POOL.get_extension_by_name("google.api.http").unwrap();
        let options = self.0.options();
        let rule = options.get_extension(&extension);
        let rule = rule.as_message().filter(|_| options.has_extension(&extension))?;
        let text = |name: &str| rule.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
        let verbs = ["get", "post", "put", "patch", "delete"].into_iter();
        let (verb, path) = verbs.map(|verb| (verb, text(verb))).find(|(_, path)| !path.is_empty())?;
        Some(Route { method: verb.to_uppercase().parse().unwrap(), path, has_body: !text("body").is_empty() })
    }

    /// At how many places HTTP serves it.
    pub(crate) fn places(&self) -> usize {
        let extension = POOL.get_extension_by_name("google.api.http").unwrap();
        let options = self.0.options();
        let rule = options.get_extension(&extension);
        let further = rule.as_message().and_then(|rule| rule.get_field_by_name("additional_bindings"));
        1 + further.map_or(0, |further| further.as_list().unwrap().len())
    }

    /// Its request as protobuf, from JSON.
    pub(crate) fn encode(&self, request: &Value) -> Vec<u8> {
        secrets::keep_all(request);
        let message = DynamicMessage::deserialize(self.0.input(), request);
        message.unwrap_or_else(|error| panic!("{}: {request}: {error}", self.name())).encode_to_vec()
    }

    /// Calls it over gRPC: the first message of the answer, or the status.
    pub(crate) async fn over_grpc(&self, actor: &Actor, request: &Value) -> Result<Value, Status> {
        let answer = self.over_grpc_raw(actor, self.encode(request)).await?;
        let message = DynamicMessage::decode(self.0.output(), answer).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        Ok(message.serialize_with_options(serde_json::value::Serializer, &options).unwrap())
    }

    /// Calls it over gRPC with these bytes for a request.
    pub(crate) async fn over_grpc_raw(&self, actor: &Actor, request: Vec<u8>) -> Result<Bytes, Status> {
        let path = format!("/{}/{}", self.0.parent_service().full_name(), self.0.name()).parse().unwrap();
        // A stream of requests stays open: who ends it ends the call.
        let requests = stream::once(async { Bytes::from(request) });
        let call = async {
            let mut grpc = actor.grpc();
            grpc.ready().await.unwrap();
            let mut answers = if self.takes_stream() {
                grpc.streaming(tonic::Request::new(requests.chain(stream::pending())), path, Raw).await?
            } else {
                grpc.streaming(tonic::Request::new(requests), path, Raw).await?
            };
            answers.get_mut().message().await
        };
        let first = soon(&self.name(), call).await?;
        first.ok_or_else(|| Status::unknown(format!("{} ended without a message", self.name())))
    }

    /// Calls it over HTTP, as its annotation says.
    pub(crate) async fn over_http(&self, actor: &Actor, request: &Value) -> Answer {
        let Route { method, path, has_body } = self.route().unwrap_or_else(|| panic!("{} has no route", self.name()));
        let mut fields = request.as_object().unwrap().clone();
        let path = fill(&path, &mut fields);
        let request = if has_body {
            actor.request(method, &path).json(&fields)
        } else {
            let each = |name: &String, value: &Value| format!("{name}={}", plain(value));
            let query = fields.iter().flat_map(|(name, value)| match value {
                Value::Array(values) => values.iter().map(|value| each(name, value)).collect(),
                value => vec![each(name, value)],
            });
            let query: Vec<_> = query.collect();
            actor.request(method, &format!("{path}?{}", query.join("&")))
        };
        let mut response = soon(&self.name(), request.send()).await.unwrap();
        let status = response.status().as_u16();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = if content_type == "text/event-stream" {
            soon("the first event", response.chunk()).await.unwrap().unwrap_or_default()
        } else {
            soon("the answer", response.bytes()).await.unwrap()
        };
        Answer { status, content_type, body }
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// Puts fields into a path and takes them out of the rest.
fn fill(template: &str, fields: &mut serde_json::Map<String, Value>) -> String {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, variable)) = rest.split_once('{') {
        let (name, after) = variable.split_once('}').unwrap();
        let value = fields.remove(name).unwrap_or_else(|| panic!("{template} needs {name}"));
        path = path + before + &plain(&value);
        rest = after;
    }
    path + rest
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Carries encoded messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
