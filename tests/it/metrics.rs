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
