//! What the contract says of each RPC besides its messages: who may call it, and which way it streams.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor, Value};

use crate::model::scope::Scope;

/// The RPCs of the standard health and reflection services, which need no credential.
const STANDARD: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Every RPC by its path.
pub(super) struct Methods {
    known: HashSet<String>,
    public: HashSet<String>,
    takes_stream: HashSet<String>,
    gives_stream: HashSet<String>,
    scopes: HashMap<String, Scope>,
}

impl Methods {
    /// Reads the options of the contract.
    ///
    /// # Errors
    /// When the contract lacks one of its options, or asks for a scope that there is not.
    pub(super) fn of(contract: &DescriptorPool) -> anyhow::Result<Self> {
        let (public, scope) = (option(contract, "public")?, option(contract, "scope")?);
        let mut methods = Self {
            known: STANDARD.map(str::to_owned).into(),
            public: STANDARD.map(str::to_owned).into(),
            takes_stream: HashSet::new(),
            gives_stream: HashSet::new(),
            scopes: HashMap::new(),
        };
        for method in contract.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let (path, options) = (path(&method), method.options());
            methods.known.insert(path.clone());
            if *options.get_extension(&public) == Value::Bool(true) {
                methods.public.insert(path.clone());
            }
            if method.is_client_streaming() {
                methods.takes_stream.insert(path.clone());
            }
            if method.is_server_streaming() {
                methods.gives_stream.insert(path.clone());
            }
            if options.has_extension(&scope) {
                let name = options.get_extension(&scope).as_str().unwrap_or_default().to_owned();
                let scope =
                    Scope::named(&name).with_context(|| format!("{path} asks for {name:?}, which is no scope"))?;
                methods.scopes.insert(path, scope);
            }
        }
        Ok(methods)
    }

    /// What logs and traces call the RPC: `service/method`. Anybody may send any path, so that others have no name.
    pub(super) fn name<'a>(&self, path: &'a str) -> &'a str {
        if self.known.contains(path) { path.trim_start_matches('/') } else { "unknown" }
    }

    /// Whether the RPC needs no credential.
    pub(super) fn is_public(&self, path: &str) -> bool {
        self.public.contains(path)
    }

    /// Whether the RPC takes a stream of requests.
    pub(super) fn takes_stream(&self, path: &str) -> bool {
        self.takes_stream.contains(path)
    }

    /// Whether the RPC answers with a stream.
    pub(super) fn gives_stream(&self, path: &str) -> bool {
        self.gives_stream.contains(path)
    }

    /// What the RPC asks of API keys; `None`: it is not for service accounts.
    pub(super) fn scope(&self, path: &str) -> Option<Scope> {
        self.scopes.get(path).copied()
    }
}

fn option(contract: &DescriptorPool, name: &str) -> anyhow::Result<ExtensionDescriptor> {
    let name = format!("colloquy.v1.{name}");
    contract.get_extension_by_name(&name).with_context(|| format!("the contract does not define {name}"))
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}
