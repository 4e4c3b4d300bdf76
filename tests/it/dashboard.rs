//! deploy/grafana/colloquy.json, held to what operators are told that there is and to what a node shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Data, PATIENCE, Process, within};

/// What Prometheus adds to every series of a node's.
const ADDED: &str = "instance";
/// What a series of a distribution has beside its own labels.
const QUANTILE: &str = "quantile";

/// A series that a panel asks for, with the labels by which it does.
#[derive(Debug)]
struct Asked {
    name: String,
    labels: BTreeSet<String>,
}

impl Asked {
    /// The metric, which of a distribution has further series.
    fn metric(&self) -> &str {
        let parts = ["_sum", "_count"];
        parts.iter().find_map(|part| self.name.strip_suffix(*part)).unwrap_or(&self.name)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The queries of all panels, each with its panel's title.
fn queries() -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(&read("deploy/grafana/colloquy.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut queries = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has another panel's id");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{title} is out of the grid");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target.get("datasource").unwrap_or(&panel["datasource"])["uid"], "${datasource}", "{title}");
            queries.push((title.clone(), text(&target["expr"])));
        }
    }
    let variables = board["templating"]["list"].as_array().unwrap().iter();
    let asked = variables.filter_map(|variable| variable["query"]["query"].as_str());
    queries.extend(asked.map(|query| ("a variable".to_owned(), query.to_owned())));
    queries
}

/// The series that a query asks for: selectors in braces, and labels to sum by, which are those of all of its series.
fn asked(query: &str) -> Vec<Asked> {
    let is_of_name = |c: char| c == '_' || c.is_ascii_lowercase();
    let names = |list: &str| list.split(',').map(|name| name.trim().to_owned()).collect::<BTreeSet<_>>();
    let by: BTreeSet<String> =
        query.split("by (").skip(1).flat_map(|rest| names(&rest[..rest.find(')').unwrap()])).collect();
    let starts = query.match_indices("colloquy_").map(|(start, _)| start);
    let series = starts.map(|start| {
        let rest = &query[start..];
        let name = &rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())];
        let selector = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matched = selector.into_iter().flat_map(|(selector, _)| selector.split(','));
        let mut labels: BTreeSet<String> =
            matched.map(|it| it.split(['=', '!']).next().unwrap().trim().to_owned()).collect();
        labels.extend(by.iter().cloned());
        Asked { name: name.to_owned(), labels }
    });
    series.collect()
}

#[test]
fn every_panel_asks_for_what_is_documented() {
    let page = read("docs/operations.md");
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `colloquy_")?.split_once('`'))
        .map(|(name, _)| format!("colloquy_{name}"))
        .collect();
    let queries = queries();
    assert!(queries.len() > 50, "{}", queries.len());
    for (title, query) in queries {
        let asked = asked(&query);
        assert!(!asked.is_empty(), "{title} asks for nothing of ours: {query}");
        for series in asked {
            assert!(documented.contains(series.metric()), "{title} asks for {}, which nobody counts", series.metric());
        }
    }
}

/// What a node shows: the labels of each series, and whether a metric is a distribution.
fn shown(page: &str) -> (BTreeMap<String, BTreeSet<String>>, BTreeMap<String, bool>) {
    let (mut series, mut kinds) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeMap::new());
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind == "summary");
        } else if !line.starts_with('#') {
            let (name, labels) =
                line.rsplit_once(' ').unwrap().0.split_once('{').unwrap_or((line.split(' ').next().unwrap(), ""));
            let names = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
            series.entry(name.to_owned()).or_default().extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    (series, kinds)
}

#[tokio::test(flavor = "multi_thread")]
async fn panels_ask_by_labels_that_a_node_shows() {
    let data = Data::fresh().await;
    let node = Process::start(&data, &[("report_interval", "0.05"), ("tools", "calculator")]).await;
    let alice = node.server().register("alice").await;
    let mut events = alice.stream_chat(json!({ "message": r#"/tool calculator {"expression":"6*7"}"# })).await;
    while events.next().await.is_some() {}
    let mut socket = alice.socket().await;
    socket.ask("none", "stop", json!({ "message_id": "none" })).await;
    socket.answer_to("none").await;
    socket.send_text("not json".to_owned()).await;
    socket.until("error").await;

    let page = async || alice.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    within(PATIENCE, "the node has reported", async || page().await.contains("colloquy_connection_health")).await;
    let (series, is_distribution) = shown(&page().await);
    let mut found = BTreeSet::new();
    for (title, query) in queries() {
        for asked in asked(&query) {
            let Some(is_distribution) = is_distribution.get(asked.metric()) else { continue };
            let own = &series[&asked.name];
            let labels = asked.labels.iter().filter(|label| *label != ADDED);
            let missing: Vec<_> = labels.filter(|label| !own.contains(*label)).collect();
            assert!(missing.is_empty(), "{title} asks {} by {missing:?} of {own:?}: {query}", asked.name);
            let is_part = asked.name != asked.metric() || asked.labels.contains(QUANTILE);
            assert_eq!(is_part, *is_distribution, "{title} takes {} for something else: {query}", asked.name);
            found.insert(asked.name);
        }
    }
    assert!(found.len() >= 20, "few of the series are there: {found:?}");
}
