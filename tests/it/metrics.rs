//! What was counted, for Prometheus.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Data, Process};

/// The main series, each with the least that one answer makes of it.
const SERIES: [(&str, f64); 7] = [
    ("colloquy_bus_events_total", 4.0),
    ("colloquy_http_request_seconds", 0.0),
    ("colloquy_http_requests_total{method=\"POST\",route=\"/api/v1/chat/stream\",status=\"200\"}", 1.0),
    ("colloquy_runs_active", 0.0),
    ("colloquy_runs_ended_total{status=\"complete\"}", 1.0),
    ("colloquy_store_transaction_seconds", 0.0),
    ("colloquy_viewers", 0.0),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_is_shown_to_those_who_are_signed_in() {
    let data = Data::fresh().await;
    let node = Process::start(&data, &[]).await;
    let alice = node.server().register("alice").await;
    let mut events = alice.stream_chat(json!({ "message": "hi" })).await;
    while events.next().await.is_some() {}

    let (status, body) = node.server().visitor().get("/metrics").await;
    assert_eq!((status, &body["error"]["code"]), (401, &"UNAUTHENTICATED".into()));
    let page = alice.request(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let page = page.text().await.unwrap();
    let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let samples: Vec<(&str, f64)> = lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (series, value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        })
        .collect();
    for (series, least) in SERIES {
        let found = samples.iter().find(|(name, _)| name.starts_with(series));
        assert!(found.is_some_and(|(_, value)| *value >= least), "{series} {least}: {found:?} in\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_shows_everybody_what_it_counted_where_it_is_told_to() {
    let data = Data::fresh().await;
    let shown = [("metrics_addr", "127.0.0.1:0")];
    let core = Process::core(&data, &shown).await;
    let bridge = Process::bridge(&[core.server().grpc_address()], &shown).await;
    bridge.server().register("alice").await.conversation().await;
    let page = async |node: &Process, path: &str| {
        let page = reqwest::get(format!("http://{}{path}", node.server().metrics())).await.unwrap();
        (page.status().as_u16(), page.text().await.unwrap())
    };
    for (node, series) in
        [(&core, "colloquy_store_transaction_seconds_count"), (&bridge, "colloquy_http_requests_total{")]
    {
        let (status, text) = page(node, "/metrics").await;
        assert!(status == 200 && text.lines().any(|line| line.starts_with(series)), "{series}: {text}");
        assert_eq!(page(node, "/health").await.0, 404);
    }
}
