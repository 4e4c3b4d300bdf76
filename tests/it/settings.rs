//! Settings as operators meet them: shown, refused, and in force.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Actor, Data, Process, Server, within};

#[tokio::test(flavor = "multi_thread")]
async fn settings_in_force_are_shown_with_what_sets_them_and_without_secrets() {
    let data = Data::fresh().await;
    let file = data.folder().join("some.toml");
    let lines = "
        jwt_issuer = \"of the file\"
        openai_api_key = \"secret of the file\"
        redis_prefix = \"beaten\"
        local_model_url = \"http://somebody:secret@127.0.0.1:8001/v1\"
        [[providers]]
        name = \"vllm\"
        kind = \"openai\"
        base_url = \"http://somebody:secret@127.0.0.1:8000/v1\"
        api_key_env = \"VLLM_KEY\"
        [[issuers]]
        issuer = \"https://login.example\"
        audience = \"chat\"
        jwks_url = \"https://me:secret@login.example/keys\"
        [[mcp_servers]]
        name = \"files\"
        command = \"npx\"
        args = [\"--token\", \"secret\"]
    ";
    std::fs::write(&file, lines).unwrap();
    let file = file.to_str().unwrap();
    let flags = ["show", "--config", file, "--set", "redis_url=redis://me:secret@127.0.0.1/"];
    let exit = Process::run(&data, &[&["config"], &flags[..]].concat()).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for line in [
        &format!("jwt_issuer = \"of the file\"  # file {file}"),
        "bridge_key = \"[redacted]\"  # environment COLLOQUY_BRIDGE_KEY",
        "redis_url = \"redis://[redacted]@127.0.0.1/\"  # flag",
        "openai_api_key = \"[redacted]\"  # file",
        "ticket_ttl = \"30\"  # default",
        "anthropic_api_key = \"\"  # default",
        "local_model_url = \"http://[redacted]@127.0.0.1:8001/v1\"  # file",
        "name = \"vllm\"",
        "audience = \"chat\"",
        "jwks_url = \"https://[redacted]@login.example/keys\"",
        "base_url = \"http://[redacted]@127.0.0.1:8000/v1\"",
        "api_key_env = \"VLLM_KEY\"  # the key is not set",
        "command = \"npx\"",
    ] {
        assert!(exit.stdout.lines().any(|shown| shown.starts_with(line)), "{line}\n{}", exit.stdout);
    }
    assert!(!exit.stdout.contains("secret"), "{}", exit.stdout);
    exit.stdout.parse::<toml::Table>().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_out_of_bounds_or_unknown_stops_the_start_by_name() {
    let data = Data::fresh().await;
    for (setting, value, said) in [
        ("max_frame_bytes", "1048577", "setting max_frame_bytes = \"1048577\": must be from 1 to 1048576"),
        ("database_connections", "0", "setting database_connections = \"0\": must be from 1 to 10000"),
        ("provider_breaker_failures", "0", "setting provider_breaker_failures = \"0\": must be from 1"),
        ("run_lease", "0", "setting run_lease = \"0\": must be from 0.1 to 3600"),
        ("heart_beat_interval", "1", "there is no such setting, did you mean heartbeat_interval?"),
    ] {
        let exit = Process::refused("serve", &data, &[(setting, value)], &[]).await;
        assert_eq!(exit.code, Some(78), "{exit:?}");
        // Without settings the log is JSON.
        let line = exit.stderr.replace("\\\"", "\"");
        assert!(line.contains(said) && exit.stderr.lines().count() == 1, "{said}: {exit:?}");
    }
    let file = data.folder().join("wrong.toml");
    std::fs::write(&file, "max_frame_byte = 1").unwrap();
    let exit = Process::run(&data, &["config", "show", "--config", file.to_str().unwrap()]).await;
    assert_eq!(exit.code, Some(78), "{exit:?}");
    assert!(exit.stderr.contains("setting max_frame_byte: "), "{exit:?}");
    assert!(exit.stderr.contains("did you mean max_frame_bytes?"), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_variable_is_named_and_does_not_stop_the_start() {
    let data = Data::fresh().await;
    let variables = [("COLLOQUY_MAX_FRAME_BYTE", "1"), ("COLLOQUY_PORT", "tcp://10.0.0.1:80")];
    let exit = Process::run_with(&data, &["config", "show"], &variables).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for said in ["COLLOQUY_MAX_FRAME_BYTE", "COLLOQUY_MAX_FRAME_BYTES", "COLLOQUY_PORT"] {
        assert!(exit.stderr.lines().any(|line| line.contains("WARN") && line.contains(said)), "{said}: {exit:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_and_the_parts_are_told_under_the_name_that_is_set() {
    let server = Server::with(&[("node", "north-1")]).await;
    let alice = server.register("alice").await;
    let (status, page) = alice.get("/api/health/detailed").await;
    assert_eq!((status, &page["node"]), (200, &json!("north-1")), "{page}");
    assert_eq!(server.visitor().get("/api/health/detailed").await.0, 401);

    let open = Server::with(&[("pages_need_login", "false")]).await;
    let (status, page) = open.visitor().get("/api/health/detailed").await;
    assert_eq!(status, 200, "{page}");
    assert!(page["node"].as_str().is_some_and(|name| !name.is_empty()), "{page}");
}

/// The address of the caller's session, as the node knows it.
async fn address(server: &Server, forwarded: &str) -> Value {
    let login = json!({ "username": "alice", "password": crate::harness::PASSWORD });
    let forwarded_login = server.visitor().request(reqwest::Method::POST, "/api/v1/auth/login");
    let session: Value =
        forwarded_login.header("x-forwarded-for", forwarded).json(&login).send().await.unwrap().json().await.unwrap();
    let alice = server.visitor().with_token(session["access_token"].as_str().unwrap());
    let (_, sessions) = alice.get("/api/v1/auth/sessions").await;
    let own = sessions["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true);
    own.unwrap()["address"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_counts_when_the_proxy_is_trusted() {
    let trusting = Server::with(&[("trust_forwarded_for", "true")]).await;
    trusting.register("alice").await;
    assert_eq!(address(&trusting, "192.0.2.66, 192.0.2.7").await, "192.0.2.7");
    let wary = trusting.beside(&[]).await;
    assert_eq!(address(&wary, "192.0.2.7").await, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_body_than_is_set_is_refused() {
    let server = Server::with(&[("max_body_bytes", "200")]).await;
    let alice: Actor = server.register("alice").await;
    let (status, body) = alice.post("/api/v1/conversations", json!({ "title": "x".repeat(200) })).await;
    assert_eq!((status, &body["error"]["details"][0]["reason"]), (413, &json!("MESSAGE_TOO_LARGE")), "{body}");
    assert_eq!(alice.post("/api/v1/conversations", json!({ "title": "short" })).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_waits_for_its_answer_as_long_as_is_set() {
    let server = Server::with(&[("reply_wait", "0.05"), ("echo_interval", "60")]).await;
    let alice = server.register("alice").await;
    let path = format!("/api/v1/conversations/{}/messages", alice.conversation().await);
    let (status, body) = alice.post(&path, json!({ "content": "one two three", "wait": true })).await;
    assert_eq!((status, &body["reply"]["status"]), (200, &json!("streaming")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_comes_back_gets_no_more_history_than_is_set() {
    let server = Server::with(&[("history_events", "2")]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "one two three four").await;
    within(Duration::from_secs(20), "the answer", async || {
        alice.message(&conversation, &answer).await["status"] == "complete"
    })
    .await;
    for (back, recovered) in [(2, true), (3, false)] {
        let mut socket = alice.socket().await;
        socket.ask("j", "join_session", json!({ "session_id": conversation })).await;
        let now = &socket.answer_to("j").await["data"]["topics"][0];
        let offset = now["offset"].as_u64().unwrap() - back;
        let since = json!({ "topic": now["topic"], "offset": offset, "epoch": now["epoch"] });
        let mut socket = alice.socket().await;
        socket.ask("s", "subscribe", json!({ "topics": [since] })).await;
        let topic = &socket.answer_to("s").await["data"]["topics"][0];
        assert_eq!(topic["recovered"], recovered, "{topic}");
    }
}
