//! The recipes for admins of docs/operations.md, each tried as it stands there: by a shell, with a real grpcurl and a real
//! curl, and looked up afterwards.

use std::{collections::BTreeSet, fs, path::Path};

use colloquy::model::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{ADMIN, Actor, Authority, Data, PASSWORD, Process, Rpc, Server, Socket, soon};

/// What the page writes for the id of what a recipe is about.
const ID: &str = "ID";
/// Where the page's servers are.
const PAGE_GRPC: &str = "127.0.0.1:50051";
const PAGE_HTTP: &str = "127.0.0.1:8080";
/// The days of the page's examples, first and last.
const PAGE_DAYS: [&str; 2] = ["2026-11-01", "2026-11-30"];

/// A row of the table.
struct Recipe {
    /// Its RPC, without the service.
    name: String,
    /// What a shell is told, over gRPC and over REST.
    commands: [String; 2],
}

impl Recipe {
    /// What it sends, as JSON.
    fn request(&self) -> Value {
        let request = self.commands[0].split_once(" '").map_or("{}", |(_, request)| request.trim_end_matches('\''));
        serde_json::from_str(request).unwrap()
    }
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap()
}

fn recipes() -> Vec<Recipe> {
    let page = page();
    let rows = page.lines().filter_map(|line| line.split_once("| `call ")?.1.strip_suffix("` |"));
    let recipe = |row: &str| {
        let (call, api) = row.split_once("` | `api ").expect("a recipe over REST follows");
        let name = call.split(' ').next().unwrap().to_owned();
        Recipe { name, commands: [format!("call {call}"), format!("api {api}")] }
    };
    rows.map(recipe).collect()
}

/// The lines of the page that a shell is to know or to do, told apart by how they begin.
fn lines(beginnings: &[&str]) -> String {
    let page = page();
    let wanted = |line: &&str| beginnings.iter().any(|beginning| line.starts_with(beginning));
    page.lines().filter(wanted).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_admin_rpc_has_a_recipe_that_fits_the_contract() {
    let mut found = BTreeSet::new();
    for recipe in recipes() {
        let rpc = Rpc::named(&format!("AdminService/{}", recipe.name));
        let fields = recipe.request();
        rpc.encode(&fields);
        let [call, api] = &recipe.commands;
        let (method, path) = api.strip_prefix("api ").unwrap().split_once(' ').unwrap();
        let (path, body) = path.split_once(" '{").unwrap_or((path, ""));
        assert!(body.is_empty() || call.ends_with(&format!("'{{{body}")), "{body} is not what {call} sends");
        let (path, query) = path.trim_matches('\'').split_once('?').unwrap_or((path, ""));
        let route = rpc.route().unwrap();
        assert_eq!(method, route.method.as_str(), "{api}");
        let parts = route.path.strip_prefix("/api/v1/admin/").unwrap().split('/');
        let filled: Vec<_> = parts.map(|part| if part.starts_with('{') { ID } else { part }).collect();
        assert_eq!(path, filled.join("/"), "{api}");
        for (field, _) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            assert!(fields.get(field).is_some(), "{field} is not in {call}");
        }
        found.insert(rpc.name());
    }
    let wanted: BTreeSet<_> =
        Rpc::all().iter().map(Rpc::name).filter(|name| name.starts_with("AdminService/")).collect();
    assert_eq!(found, wanted);
}

/// An admin at a shell.
struct Shell {
    server: Server,
    token: String,
    /// What the page has an admin define first.
    functions: String,
}

impl Shell {
    fn new(root: &Actor, server: &Server) -> Self {
        let functions = lines(&["call() {", "api() {"]);
        Self { server: server.clone(), token: root.access_token.clone(), functions }
    }

    /// Does a command that is about this id, which must succeed, and returns what it printed.
    async fn run(&self, command: &str, id: &str) -> Value {
        let now = Clock::default().now();
        let day = std::time::Duration::from_secs(86_400);
        let script = format!("{}{command}", self.functions)
            .replace(PAGE_GRPC, &self.server.grpc_address().to_string())
            .replace(PAGE_HTTP, &self.server.http().to_string())
            .replace(PAGE_DAYS[0], &(now - day).day())
            .replace(PAGE_DAYS[1], &(now + day).day())
            .replace(ID, id);
        let mut shell = shell(&script);
        shell.env("TOKEN", &self.token);
        answer(&mut shell).await
    }
}

/// A shell that does this, and finds the tools.
fn shell(script: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
    assert!(folder.join("grpcurl").exists(), "grpcurl is not there; build it with `make .tools/bin/grpcurl`");
    let program = Path::new(env!("CARGO_BIN_EXE_colloquy")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("bash");
    let path = format!("{}:{}:{path}", folder.display(), program.display());
    shell.args(["-e", "-o", "pipefail", "-c", script]).env("PATH", path);
    shell
}

/// What a command printed, which is one JSON value; fails when the command does.
async fn answer(command: &mut Command) -> Value {
    let answers = answers(command).await;
    let [answer] = &answers[..] else { panic!("{command:?}: {answers:?}") };
    answer.clone()
}

/// What a command printed, which are JSON values; fails when the command does.
async fn answers(command: &mut Command) -> Vec<Value> {
    let output = soon("the end of a recipe", command.output()).await.unwrap();
    let [printed, said] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {} {printed}{said}", output.status);
    let answers = serde_json::Deserializer::from_str(&printed).into_iter().collect::<Result<Vec<Value>, _>>();
    let answers = answers.unwrap_or_else(|error| panic!("{error}: {printed}{said}"));
    assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{command:?}: {answers:?}");
    answers
}

/// A field of an answer as text, whether it is named as in the contract or as protobuf's JSON does.
fn said(answer: &Value, field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap().to_owned();
    let camel = words.fold(first, |name, word| format!("{name}{}{}", word[..1].to_uppercase(), &word[1..]));
    let value = answer.get(field).or_else(|| answer.get(&camel)).unwrap_or_else(|| panic!("no {field}: {answer}"));
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What the recipes are about: Alice, and who administers her.
struct Stage {
    server: Server,
    root: Actor,
    alice: String,
    /// Hers, as long as one is needed.
    socket: Option<Socket>,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::with(&[&ADMIN[..], &[("messages_per_minute", "4")]].concat()).await;
        let root = server.admin().await;
        let alice = server.register("alice").await.me().await.unwrap().id;
        Self { server, root, alice, socket: None }
    }

    /// Sees to it that a recipe changes something or shows something; returns the id of what it is about.
    async fn prepare(&mut self, name: &str) -> String {
        let opposite = match name {
            "PromoteUser" => "demote",
            "DemoteUser" | "ListAuditLog" => "promote",
            "ActivateUser" => "deactivate",
            _ => "activate",
        };
        self.administer(&format!("users/{}/{opposite}", self.alice)).await;
        match name {
            "ListUsage" => {
                let alice = self.alice().await;
                let path = format!("/api/v1/conversations/{}/messages", alice.conversation().await);
                assert_eq!(alice.post(&path, json!({ "content": "one two", "wait": true })).await.0, 200);
            }
            "ListRateLimitViolations" | "ResetRateLimits" => self.flood().await,
            "ListConnections" | "GetConnectionAnalytics" | "Broadcast" => drop(self.connect().await),
            "CloseConnection" | "GetConnectionFrames" => return self.connect().await,
            "ListServiceAccounts" | "DeleteServiceAccount" => {
                let account = json!({ "name": format!("robot-{:x}", rand::random::<u64>()) });
                let (status, body) = self.root.post("/api/v1/admin/service-accounts", account).await;
                assert_eq!(status, 201, "{body}");
                return body["service_account"]["id"].as_str().unwrap().to_owned();
            }
            _ => {}
        }
        self.alice.clone()
    }

    /// Fails unless a recipe about this id did what it promises.
    async fn check(&mut self, name: &str, id: &str, answer: &Value) {
        let shows = |what: &str| answer.to_string().contains(what);
        match name {
            "ListUsers" => assert!(shows(id) && shows("alice@example.com"), "{answer}"),
            "PromoteUser" => assert_eq!(self.list("users?query=alice").await["users"][0]["is_admin"], true),
            "DemoteUser" => assert_eq!(self.list("users?query=alice").await["users"][0]["is_admin"], false),
            "DeactivateUser" => assert!(self.server.visitor().login("alice", PASSWORD).await.is_err()),
            "ActivateUser" => assert!(self.server.visitor().login("alice", PASSWORD).await.is_ok()),
            "ListAuditLog" => assert!(shows("user.promote") && shows(id), "{answer}"),
            "GetMetrics" => assert_eq!(said(answer, "user_count"), "2"),
            "ListUsage" => assert!(shows(id) && shows("echo"), "{answer}"),
            "GetSystemStatus" => assert!(said(answer, "memory").parse::<f64>().unwrap() > 0.0, "{answer}"),
            "GetServiceStatus" => assert!(["ok", "embedded"].contains(&&*said(answer, "db")), "{answer}"),
            "GetRateLimits" => assert_eq!(said(answer, "identifier"), format!("user:{id}")),
            "ListRateLimitViolations" => assert!(shows(&format!("user:{id}")), "{answer}"),
            // Of the address, which is everybody's here, something is remembered yet.
            "ResetRateLimits" => assert!(!self.list("rate-limit-violations").await.to_string().contains(id)),
            "ListConnections" => assert!(shows(id) && shows("connected"), "{answer}"),
            "GetConnectionFrames" => assert!(shows(id) && shows("connection.established"), "{answer}"),
            "CloseConnection" => drop(self.socket().until("reconnect").await),
            "Broadcast" => {
                let told = self.socket().until("system.notification").await;
                assert_eq!(told["data"], json!({ "message": "A restart at noon.", "level": "warning" }));
            }
            "CreateServiceAccount" => {
                let service = self.root.with_token(said(answer, "api_key"));
                assert_eq!(service.get("/api/health/detailed").await.0, 200);
                let accounts = self.list("service-accounts").await["service_accounts"].take();
                let made = accounts.as_array().unwrap().iter().find(|account| account["name"] == "billing").unwrap();
                assert_eq!(made["scopes"], json!(["events:publish"]));
                let path = format!("/api/v1/admin/service-accounts/{}", made["id"].as_str().unwrap());
                assert_eq!(self.root.ask(Method::DELETE, &path).await.0, 200, "it may be made again");
            }
            "ListServiceAccounts" => assert!(shows(id), "{answer}"),
            "DeleteServiceAccount" => {
                assert!(!self.list("service-accounts").await.to_string().contains(id));
            }
            "GetConnectionAnalytics" => {
                assert!(said(answer, "active_connections").parse::<u64>().unwrap() > 0, "{answer}");
            }
            other => panic!("nobody knows what {other} promises"),
        }
        self.socket = None;
    }

    async fn alice(&self) -> Actor {
        self.server.visitor().login("alice", PASSWORD).await.unwrap()
    }

    /// Connects Alice: the id of the connection.
    async fn connect(&mut self) -> String {
        let mut socket = Socket::open(&self.alice().await.socket_url("")).await;
        let established = socket.until("connection.established").await;
        self.socket = Some(socket);
        established["data"]["connection_id"].as_str().unwrap().to_owned()
    }

    fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("Alice is connected")
    }

    /// Has Alice send more than she may.
    async fn flood(&mut self) {
        self.connect().await;
        for nth in 0..5 {
            self.socket().ask(&nth.to_string(), "presence", json!({ "status": "busy" })).await;
        }
        self.socket().until("error").await;
    }

    async fn administer(&self, path: &str) {
        let (status, body) = self.root.post(&format!("/api/v1/admin/{path}"), json!({})).await;
        assert_eq!(status, 200, "{path}: {body}");
    }

    async fn list(&self, path: &str) -> Value {
        let (status, body) = self.root.get(&format!("/api/v1/admin/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recipe_does_what_it_promises_with_grpcurl_and_with_curl() {
    let mut stage = Stage::new().await;
    let shell = Shell::new(&stage.root, &stage.server);
    for Recipe { name, commands } in recipes() {
        for command in commands {
            let id = stage.prepare(&name).await;
            let answer = shell.run(&command, &id).await;
            stage.check(&name, &id, &answer).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_made_at_the_machine_is_good_for_grpcurl() {
    let data = Data::fresh().await;
    let node = Process::start(&data, &ADMIN).await;
    let script = lines(&["TOKEN=$(colloquy token ", "grpcurl -plaintext "]).replace("token ada", "token root");
    let mut shell = shell(&script.replace(PAGE_GRPC, &node.server().grpc_address().to_string()));
    for (name, value) in data.settings() {
        shell.env(format!("COLLOQUY_{}", name.to_uppercase()), value);
    }
    assert_eq!(answer(&mut shell).await, json!({}), "there are no service accounts yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_call_over_tls_and_show_a_certificate() {
    let authority = Authority::new();
    let [node, _] = ["node", "billing"].map(|name| authority.issue(name));
    let ca = authority.ca();
    let server = Server::with(&[
        ("grpc_tls_cert", &node.certificate),
        ("grpc_tls_key", &node.key),
        ("grpc_tls_client_ca", &ca),
        ("grpc_tls_client_auth", "optional"),
        ("http_tls_cert", &node.certificate),
        ("http_tls_key", &node.key),
        ("http_tls_client_ca", &ca),
    ])
    .await;
    let alice = server.over(&authority.client(None)).register("alice").await;
    let script = lines(&["grpcurl -cacert ", "curl --cacert "])
        .replace("core.internal:50051", &server.grpc_address().to_string())
        .replace("chat.internal:8080", &server.http().to_string());
    let mut shell = shell(&script);
    shell.current_dir(Path::new(&ca).parent().unwrap()).env("TOKEN", alice.access_token);
    let [me, health, ready] = &answers(&mut shell).await[..] else { panic!("three commands, three answers") };
    assert_eq!((&me["user"]["username"], &health["status"]), (&json!("alice"), &json!("SERVING")));
    assert_eq!(ready["status"], "ok");
}
