//! What keys of service accounts open: each row of the contract's table, with the scope that its RPC asks for and with all others.

use std::collections::{BTreeMap, BTreeSet};

use colloquy::model::scope::SCOPES;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    contract::{Access, Cast, ROWS, http_status, new_name},
    harness::{Actor, Rpc},
    service_accounts::service,
};

/// Services that may do one thing each, and services that may do everything else.
struct Services(BTreeMap<Option<String>, [Actor; 2]>);

impl Services {
    async fn assemble(cast: &Cast) -> Self {
        let root = cast.server.admin().await;
        let asked: BTreeSet<Option<String>> = Rpc::all().iter().map(Rpc::scope).collect();
        let mut services = BTreeMap::new();
        for scope in asked {
            let only: Vec<&str> = scope.iter().map(String::as_str).collect();
            let others: Vec<&str> = SCOPES.iter().copied().filter(|other| Some(*other) != scope.as_deref()).collect();
            let pair = [service(&root, &new_name(), &only).await, service(&root, &new_name(), &others).await];
            services.insert(scope, pair);
        }
        Self(services)
    }

    /// Who has the scope that an RPC asks for, and who has all others.
    fn of(&self, rpc: &Rpc) -> [(bool, &Actor); 2] {
        let [right, wrong] = &self.0[&rpc.scope()];
        [(true, right), (false, wrong)]
    }
}

/// What a service gets that is not a member: with the scope what any stranger gets, or what an admin gets where people are not
/// let in; without it nothing.
fn of_service(name: &str, access: Access, has_scope: bool) -> Code {
    match Rpc::named(name).scope() {
        _ if access[0] == Code::Ok => Code::Ok,
        Some(_) if has_scope && access[1..].iter().take(4).all(|code| *code == Code::PermissionDenied) => Code::Ok,
        Some(_) if has_scope => access[1],
        _ => Code::PermissionDenied,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_a_service_does_what_its_scopes_allow_and_nothing_else() {
    let cast = Cast::assemble().await;
    let services = Services::assemble(&cast).await;
    let named = |status: &Status| status.get_details_error_info().unwrap().metadata.get("scope").cloned();
    let mut wrong = Vec::new();
    for (name, template, access) in ROWS {
        let rpc = Rpc::named(name);
        for (has_scope, actor) in services.of(&rpc) {
            let request = cast.request(template, &cast.callers, 1).await;
            let expected = of_service(name, *access, has_scope);
            let answer = rpc.over_grpc(actor, &request).await;
            let is_right = match &answer {
                Ok(_) => expected == Code::Ok,
                Err(status) if !has_scope && expected == Code::PermissionDenied => {
                    status.code() == Code::PermissionDenied && named(status) == rpc.scope()
                }
                Err(status) => status.code() == expected,
            };
            wrong.extend((!is_right).then(|| format!("{name} {has_scope}: wanted {expected:?}, got {answer:?}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_a_service_does_what_its_scopes_allow_and_nothing_else() {
    let cast = Cast::assemble().await;
    let services = Services::assemble(&cast).await;
    let mut wrong = Vec::new();
    for (name, template, access) in ROWS {
        let rpc = Rpc::named(name);
        if rpc.takes_stream() {
            continue;
        }
        for (has_scope, actor) in services.of(&rpc) {
            let request = cast.request(template, &cast.callers, 1).await;
            let expected = of_service(name, *access, has_scope);
            let answer = rpc.over_http(actor, &request).await;
            let is_named = has_scope || expected != Code::PermissionDenied || {
                answer.json()["error"]["details"][0]["metadata"]["scope"].as_str() == rpc.scope().as_deref()
            };
            let is_right = answer.status == http_status(&rpc, expected) && is_named;
            wrong.extend((!is_right).then(|| format!("{name} {has_scope}: wanted {expected:?}, got {answer:?}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
