//! What an operator does to accounts at the machine: admins made, tokens printed, whether a server runs or not.

use reqwest::Method;
use serde_json::json;

use crate::{
    admin::OPERATOR,
    harness::{Actor, Data, PASSWORD, Process, within},
    service_accounts::service,
};

const ANALYTICS: &str = "/api/v1/admin/websocket-analytics";
/// How long a promotion may take to be felt by a server that runs.
const FELT_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

fn create<'a>(username: &'a str, email: &'a str) -> [&'a str; 7] {
    ["admin", "create", "--username", username, "--email", email, "--password-stdin"]
}

/// What the log tells of the operator, newest first: the action, the target and whose account it is.
async fn log(admin: &Actor) -> Vec<[String; 3]> {
    let (status, log) = admin.get("/api/v1/admin/audit-log").await;
    assert_eq!(status, 200, "{log}");
    let acts = log["audit_log"].as_array().unwrap().iter().filter(|entry| entry["admin_id"] == OPERATOR);
    acts.map(|entry| {
        assert_eq!((&entry["result"], &entry["address"]), (&json!("ok"), &json!("")), "{entry}");
        [&entry["action"], &entry["target"], &entry["details"]["username"]]
            .map(|text| text.as_str().unwrap_or_default().to_owned())
    })
    .collect()
}

async fn may_administer(actor: &Actor) -> bool {
    actor.request(Method::GET, ANALYTICS).send().await.unwrap().status() == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_the_first_admin_before_the_first_start() {
    let data = Data::fresh().await;
    let exit = Process::run_told(&data, &create("root", "root@example.com"), &format!("{PASSWORD}\n")).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let id = exit.stdout.trim_end().to_owned();

    for (words, password, said) in [
        (create("ROOT", "other@example.com"), PASSWORD, "this username is already taken"),
        (create("other", "Root@example.com"), PASSWORD, "this email is already taken"),
        (create("a b", "nobody"), "short", "username: "),
        (create("other", "other@example.com"), "", "password: must be 8 to 128 characters"),
    ] {
        let exit = Process::run_told(&data, &words, password).await;
        assert!(exit.code == Some(64) && exit.stderr.contains(said), "{said}: {exit:?}");
        assert!(!exit.stderr.contains(PASSWORD) && exit.stdout.is_empty(), "{exit:?}");
    }
    let exit = Process::run(&data, &create("other", "other@example.com")[..6]).await;
    assert!(exit.code == Some(64) && exit.stderr.contains("--password-stdin"), "{exit:?}");

    let node = Process::start(&data, &[]).await;
    let root = node.server().admin().await;
    assert_eq!(root.me().await.unwrap().id, id);
    assert_eq!(log(&root).await, [["admin.create", &format!("user:{id}"), "root"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_promoted_while_it_is_served() {
    let data = Data::fresh().await;
    let node = Process::start(&data, &[]).await;
    let alice = node.server().register("alice").await;
    assert!(!may_administer(&alice).await);
    for name in ["Alice", "alice@example.com"] {
        let exit = Process::run(&data, &["admin", "promote", name]).await;
        assert_eq!((exit.code, exit.stdout), (Some(0), format!("{}\n", alice.me().await.unwrap().id)));
    }
    within(FELT_WITHIN, "alice is an admin", async || may_administer(&alice).await).await;
    service(&alice, "robot", &[]).await;
    for (name, said) in [("bob", "no such user"), ("robot", "a service account has an API key instead")] {
        let exit = Process::run(&data, &["admin", "promote", name]).await;
        assert!(exit.code == Some(64) && exit.stderr.contains(said), "{exit:?}");
    }
    let exit = Process::run_told(&data, &create("root", "root@example.com"), PASSWORD).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let root = node.server().admin().await;
    assert_eq!(Process::run(&data, &["token", "alice"]).await.code, Some(0));
    // What was refused, or was so already, is no act.
    let [alice, root_id] = [&alice, &root].map(async |actor| format!("user:{}", actor.me().await.unwrap().id));
    let (alice, root_id) = (alice.await, root_id.await);
    let expected = [["token.issue", &alice, ""], ["admin.create", &root_id, "root"], ["user.promote", &alice, "alice"]];
    assert_eq!(log(&root).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_printed_for_whoever_is_named() {
    let data = Data::fresh().await;
    let node = Process::start(&data, &[]).await;
    let alice = node.server().register("alice").await;
    let exit = Process::run(&data, &["token", "alice", "--set", "access_token_ttl=3600"]).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let token = exit.stdout.trim_end();
    assert!(!exit.stderr.contains(token), "{exit:?}");
    let bearer = node.server().visitor().with_token(token);
    assert_eq!(bearer.me().await.unwrap(), alice.me().await.unwrap());
    let (_, listed) = bearer.get("/api/v1/auth/sessions").await;
    let own = listed["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
    assert_eq!(own["user_agent"], "colloquy token");
    assert_eq!(bearer.post("/api/v1/auth/logout", json!({})).await.0, 200);
    assert!(bearer.me().await.is_err());

    data.sql("UPDATE users SET is_active = false WHERE username = 'alice'");
    for (name, said) in [("alice", "the account is deactivated"), ("bob", "no such user")] {
        let exit = Process::run(&data, &["token", name]).await;
        assert!(exit.code == Some(64) && exit.stderr.contains(said) && exit.stdout.is_empty(), "{exit:?}");
    }
    assert_eq!(Process::run(&data, &["token"]).await.code, Some(64));
    let exit =
        Process::refused("token", &data, &[("database_url", "postgres://me@127.0.0.1:1/colloquy")], &["alice"]).await;
    assert_eq!(exit.code, Some(69), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_a_server_that_runs_is_not_changed_under_it() {
    let data = Data::fresh().await;
    let node = Process::start(&data, &[("database_url", "")]).await;
    node.server().register("alice").await;
    let at = ["--set", "database_url=", "--set"];
    let folder = format!("data_dir={}", data.folder().display());
    let run = async |words: &[&str]| Process::run(&data, &[words, &at, &[&folder]].concat()).await;
    let forget = "DELETE FROM __diesel_schema_migrations WHERE version = \
                  (SELECT max(version) FROM __diesel_schema_migrations)";
    assert_eq!(run(&["token", "alice"]).await.code, Some(0));
    assert_eq!(run(&["db", "sql", forget]).await.code, Some(0));
    let exit = run(&["token", "alice"]).await;
    assert!(exit.code == Some(69) && exit.stderr.contains("stop the server first"), "{exit:?}");
}
