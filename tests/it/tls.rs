//! TLS: everything is served over it, to those alone who show what they are asked for, with certificates that are changed while
//! it is served.

use std::net::SocketAddr;

use reqwest::{StatusCode, Version};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::harness::{
    Actor, Authority, Data, Issued, PASSWORD, PATIENCE, Process, Server, Socket, TlsClient, soon, within,
};

/// The origin of a page that may call.
const ORIGIN: &str = "https://chat.example";
const STRICT: &str = "strict-transport-security";
/// Answers that are too much for what a connection holds back.
const ANSWERS: usize = 100;

/// A command, its settings, the one that does not fit, its value, and what is said of it.
type Misfit<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);

/// The settings by which both ports show this.
fn shown(issued: &Issued) -> Vec<(&'static str, &str)> {
    let Issued { certificate, key } = issued;
    vec![("grpc_tls_cert", certificate), ("grpc_tls_key", key), ("http_tls_cert", certificate), ("http_tls_key", key)]
}

/// Signs in and calls once over each of gRPC, REST and a socket.
async fn call(node: &Server, tls: &TlsClient, name: &str) -> Actor {
    let alice = node.over(tls).register(name).await;
    let (status, body) = alice.get("/api/v1/users/me").await;
    assert_eq!((status, &body["user"]["username"]), (200, &json!(name)), "{body}");
    let mut socket = socket(&alice, tls).await;
    ping(&mut socket).await;
    alice
}

async fn socket(actor: &Actor, tls: &TlsClient) -> Socket {
    let mut socket = Socket::open_over(tls, &actor.socket_url(""), ORIGIN).await;
    socket.until("connection.established").await;
    socket
}

async fn ping(socket: &mut Socket) {
    socket.ask("p", "ping", json!({ "pingId": "1" })).await;
    assert_eq!(socket.answer_to("p").await["data"]["pingId"], "1");
}

/// Whether this client gets an answer over HTTP and over gRPC; it must be the same on both.
async fn is_let_in(node: &Server, tls: &TlsClient) -> bool {
    let server = node.over(tls);
    let http = tls.http(&["http/1.1"]).get(server.url("/health")).send().await;
    let grpc = server.visitor().login("nobody", "a password").await.map(drop).unwrap_err().code();
    match http {
        Ok(answer) => {
            assert_eq!((answer.status(), grpc), (StatusCode::OK, Code::Unauthenticated));
            true
        }
        Err(error) => {
            assert_ne!(grpc, Code::Unauthenticated, "{error:?}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_served_over_tls() {
    let authority = Authority::new();
    let issued = authority.issue("node");
    let node = Server::with(&[&shown(&issued)[..], &[("allowed_origins", ORIGIN)]].concat()).await;
    let tls = authority.client(None);
    let alice = call(&node, &tls, "alice").await;

    let mut events = alice.stream_chat(json!({ "message": "one two three" })).await;
    let (mut text, mut last) = (String::new(), None);
    while let Some(event) = events.next().await {
        event.apply(&mut text);
        last = Some(event.kind);
    }
    assert_eq!((text.trim(), last.as_deref()), ("one two three", Some("end")));

    for (protocol, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let answer = tls.http(&[protocol]).get(node.over(&tls).url("/health")).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        assert_eq!(answer.headers()[STRICT], "max-age=31536000");
    }
    let stream = tls.connect(node.grpc_address(), &["h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    // Whoever believes somebody else does not believe this node, and without TLS nothing is said of it.
    assert!(!is_let_in(&node, &Authority::new().client(None)).await);
    let plain = Server::start().await;
    let answer = plain.visitor().request(reqwest::Method::GET, "/health").send().await.unwrap();
    assert!(!answer.headers().contains_key(STRICT), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_a_certificate_where_it_must_and_never_a_wrong_one() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (issued, service) = (authority.issue("node"), authority.issue("service"));
    let ca = authority.ca();
    let clients = [authority.client(None), authority.client(Some(&stranger.issue("stranger")))];
    let known = authority.client(Some(&service));
    for (auth, without) in [("required", false), ("optional", true)] {
        let asked = [
            ("grpc_tls_client_ca", &*ca),
            ("grpc_tls_client_auth", auth),
            ("http_tls_client_ca", &*ca),
            ("http_tls_client_auth", auth),
        ];
        let node = Server::with(&[&shown(&issued)[..], &asked].concat()).await;
        call(&node, &known, "alice").await;
        let let_in = [is_let_in(&node, &clients[0]).await, is_let_in(&node, &clients[1]).await];
        assert_eq!(let_in, [without, false], "{auth}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_calls_its_core_over_tls_and_shows_who_it_is() {
    let authority = Authority::new();
    let (core, bridge) = (authority.issue("core"), authority.issue("bridge"));
    let (ca, strange_ca) = (authority.ca(), Authority::new());
    let strange_ca = strange_ca.ca();
    let data = Data::fresh().await;
    let secured = [("grpc_tls_cert", &*core.certificate), ("grpc_tls_key", &*core.key), ("grpc_tls_client_ca", &*ca)];
    let core = Process::core(&data, &secured).await;
    let cores = [core.server().grpc_address()];
    let own = [("core_tls_cert", &*bridge.certificate), ("core_tls_key", &*bridge.key)];

    let known = Process::bridge(&cores, &[&own[..], &[("core_tls_ca", &*ca)]].concat()).await;
    let visitor = known.server().visitor();
    let account = json!({ "username": "alice", "email": "alice@example.com", "password": PASSWORD });
    let (status, body) = visitor.post("/api/v1/auth/register", account).await;
    assert_eq!(status, 201, "{body}");
    let password = json!({ "username": "alice", "password": PASSWORD });
    let (_, session) = visitor.post("/api/v1/auth/login", password).await;
    let alice = visitor.with_token(session["access_token"].as_str().unwrap());
    let mut socket = alice.socket().await;
    ping(&mut socket).await;

    let nameless = Process::bridge(&cores, &[("core_tls_ca", &*ca)]).await;
    let unbelieving = Process::bridge(&cores, &[&own[..], &[("core_tls_ca", &*strange_ca)]].concat()).await;
    for bridge in [&nameless, &unbelieving] {
        assert_eq!(bridge.server().visitor().get("/api/v1/health/ready").await.0, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_at_sighup_for_new_connections() {
    let (authority, other) = (Authority::new(), Authority::new());
    let first = authority.issue("node");
    let (here, there) = (authority.issue("service"), other.issue("service"));
    let ca = authority.ca();
    let asked = [("http_tls_client_ca", &*ca)];
    let data = Data::fresh().await;
    let node = Process::start(&data, &[&shown(&first)[..], &asked].concat()).await;
    let server = node.server();
    let known = authority.client(Some(&here));
    let addresses = [server.http(), server.grpc_address()];
    let alice = call(server, &known, "alice").await;
    // It leaves a session to come back to.
    let returning = authority.client(Some(&here));
    assert!(http_answers(server, &returning).await);
    let mut living = socket(&alice, &known).await;
    for address in addresses {
        assert_eq!(known.shown_by(address).await, first.der());
    }

    // The files of the same names hold another certificate, and another authority's own.
    let first = first.der();
    let second = authority.issue("node");
    std::fs::copy(other.ca(), &ca).unwrap();
    node.hang_up().await;
    within(PATIENCE, "a new certificate", async || {
        let is_new = async |address| known.shown_by(address).await == second.der();
        is_new(addresses[0]).await && is_new(addresses[1]).await
    })
    .await;
    assert_ne!(first, second.der());
    let welcome = authority.client(Some(&there));
    assert!(http_answers(server, &welcome).await);
    for client in [&known, &returning] {
        assert!(!http_answers(server, client).await, "nobody vouches for this one any more");
    }
    ping(&mut living).await;

    // A reload that fails changes nothing, and says why.
    std::fs::write(&second.key, "no key").unwrap();
    node.hang_up().await;
    let failed = |log: &str| log.lines().filter(|line| line.contains("certificates stay as they were")).count();
    within(PATIENCE, "two failures", async || failed(&node.log()) == 2).await;
    let log = node.log();
    for said in ["setting grpc_tls_key = ", "setting http_tls_key = ", "must hold a private key in PEM"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(log.contains(&format!("{:?}", second.key)), "{log}");
    for address in addresses {
        assert_eq!(welcome.shown_by(address).await, second.der());
    }
    ping(&mut living).await;
    ping(&mut socket(&alice, &welcome).await).await;
}

async fn http_answers(node: &Server, tls: &TlsClient) -> bool {
    tls.http(&["http/1.1"]).get(node.over(tls).url("/health")).send().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_sighup_changes_nothing() {
    let data = Data::fresh().await;
    let node = Process::start(&data, &[]).await;
    let alice = node.server().register("alice").await;
    let mut socket = alice.socket().await;
    node.hang_up().await;
    within(PATIENCE, "a line in the log", async || node.log().contains("nothing to reload")).await;
    ping(&mut socket).await;
    assert_eq!(alice.get("/api/v1/users/me").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_tls_that_do_not_fit_stop_the_start_by_name() {
    let authority = Authority::new();
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let (ca, data) = (authority.ca(), Data::fresh().await);
    let gone = data.folder().join("gone.pem").display().to_string();
    let garbage = data.folder().join("garbage.pem").display().to_string();
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let table: [Misfit<'_>; 12] = [
        ("serve", &[("http_tls_cert", &one.certificate)], "http_tls_cert", &one.certificate, "needs http_tls_key"),
        ("serve", &[("http_tls_key", &one.key)], "http_tls_key", &one.key, "needs http_tls_cert"),
        ("core", &[("grpc_tls_client_ca", &ca)], "grpc_tls_client_ca", &ca, "needs grpc_tls_cert and grpc_tls_key"),
        ("core", &[("grpc_tls_cert", &gone), ("grpc_tls_key", &one.key)], "grpc_tls_cert", &gone, "can be read"),
        ("core", &[("grpc_tls_cert", &one.certificate), ("grpc_tls_key", &gone)], "grpc_tls_key", &gone, "can be read"),
        (
            "serve",
            &[("grpc_tls_cert", &one.certificate), ("grpc_tls_key", &other.key)],
            "grpc_tls_key",
            &other.key,
            "must be the key of the certificate",
        ),
        ("serve", &[("http_tls_cert", &one.key), ("http_tls_key", &one.key)], "http_tls_cert", &one.key, "in PEM"),
        (
            "serve",
            &[("http_tls_cert", &one.certificate), ("http_tls_key", &one.certificate)],
            "http_tls_key",
            &one.certificate,
            "a private key in PEM that is not encrypted",
        ),
        (
            "serve",
            &[("http_tls_cert", &one.certificate), ("http_tls_key", &one.key), ("http_tls_client_ca", &garbage)],
            "http_tls_client_ca",
            &garbage,
            "certificates that can be read",
        ),
        ("serve", &[("http_tls_client_auth", "maybe")], "http_tls_client_auth", "maybe", "required optional"),
        ("bridge", &[("core_tls_ca", &ca)], "core_tls_ca", &ca, "no core has an address with https://"),
        ("bridge", &[("core_tls_cert", &one.certificate)], "core_tls_cert", &one.certificate, "needs core_tls_key"),
    ];
    for (command, settings, name, value, said) in table {
        let flags: &[&str] = if command == "bridge" { &["--core", "http://127.0.0.1:1"] } else { &[] };
        let exit = Process::refused(command, &data, settings, flags).await;
        assert_eq!(exit.code, Some(78), "{name}: {exit:?}");
        let line = format!("setting {name} = {value:?}: ");
        // A value that cannot be read leaves no settings, and logs are JSON without any.
        let logged = exit.stderr.replace("\\\"", "\"");
        assert!(logged.contains(&line) && logged.contains(said), "{line}{said}: {exit:?}");
    }
}

/// Says this much, and waits until the node has closed the connection.
async fn closed(address: SocketAddr, said: &[u8]) {
    let mut line = TcpStream::connect(address).await.unwrap();
    line.write_all(said).await.unwrap();
    let mut heard = Vec::new();
    // Whether it is closed or reset, it is over.
    let _ = soon("the end of the connection", line.read_to_end(&mut heard)).await;
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
}

/// What a node's page of metrics says of this series; nothing is 0.
async fn counted(node: &Server, series: &str) -> f64 {
    let page = node.visitor().request(reqwest::Method::GET, "/metrics").send().await.unwrap();
    let page = page.text().await.unwrap();
    let found = page.lines().filter_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
    found.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_shake_hands_is_gone_soon_and_counted() {
    let authority = Authority::new();
    let issued = authority.issue("node");
    let data = Data::fresh().await;
    let own = [("handshake_timeout", "3"), ("pages_need_login", "false")];
    let node = Process::start(&data, &[&shown(&issued)[..], &own].concat()).await;
    let tls = authority.client(None);
    let impolite = [node.server().http(), node.server().grpc_address()].map(async |address| {
        tokio::join!(
            closed(address, b"GET /health HTTP/1.1\r\nhost: colloquy\r\n\r\n"),
            closed(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
            closed(address, b""),
            // The beginning of a client's hello.
            closed(address, &[22, 3, 1, 0, 200, 1]),
            // A hand that was shaken, and no request.
            async {
                let mut silent = tls.connect(address, &["h2"]).await.unwrap();
                let _ = soon("the end of the connection", silent.read_to_end(&mut Vec::new())).await;
            },
        );
    });
    let [http, grpc] = impolite;
    tokio::join!(http, grpc);
    let secured = node.server().over(&tls);
    for (reason, count) in [("refused", 4.0), ("timeout", 4.0)] {
        let series = format!("colloquy_tls_handshake_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(counted(&secured, &series).await, count, "{reason}");
    }
    assert!(node.log().contains("a handshake failed"), "{}", node.log());
    call(node.server(), &tls, "alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_answers_nobody_reads_ends() {
    let authority = Authority::new();
    let issued = authority.issue("node");
    let data = Data::fresh().await;
    let node = Process::start(&data, &[&shown(&issued)[..], &[("drain_limit", "0.5")]].concat()).await;
    let mut deaf = authority.client(None).connect(node.server().http(), &["http/1.1"]).await.unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: colloquy\r\n\r\n";
    deaf.write_all(&request.repeat(ANSWERS)).await.unwrap();
    within(PATIENCE, "the end of the connection", async || node.log().contains("a connection ended badly")).await;
    let mut heard = Vec::new();
    // Whether it is closed or reset, it is over.
    let _ = soon("the rest of the connection", deaf.read_to_end(&mut heard)).await;
    let answers = String::from_utf8_lossy(&heard).matches("HTTP/1.1 200 OK").count();
    assert!((1..ANSWERS).contains(&answers), "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_takes_nothing_is_noticed_and_gets_all_of_it_later() {
    let authority = Authority::new();
    let issued = authority.issue("node");
    let data = Data::fresh().await;
    let own = [("send_timeout", "0.02"), ("send_breaker_failures", "2"), ("pages_need_login", "false")];
    let node = Process::start(&data, &[&shown(&issued)[..], &own].concat()).await;
    let tls = authority.client(None);
    let secured = node.server().over(&tls);
    let alice = secured.register("alice").await;
    let conversation = alice.conversation().await;
    let mut viewer = socket(&alice, &tls).await;
    viewer.ask("j", "join_session", json!({ "session_id": conversation })).await;
    viewer.answer_to("j").await;
    let mut said = 0;
    while counted(&secured, "colloquy_send_breaker_openings_total").await == 0.0 {
        assert!(said < 1000, "the viewer took it all");
        let message = json!({ "content": format!("{said:05}{}", "x".repeat(10_000)), "reply": false });
        let path = format!("/api/v1/conversations/{conversation}/messages");
        let (status, body) = alice.post(&path, message).await;
        assert_eq!(status, 200, "{body}");
        said += 1;
    }
    for nth in 0..said {
        let message = viewer.until("message").await;
        let content = message["data"]["content"].as_str().unwrap();
        assert!(content.starts_with(&format!("{nth:05}")), "{nth}: {message}");
    }
    ping(&mut viewer).await;
}
