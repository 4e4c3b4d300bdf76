//! `colloquy db`, and databases that are none for this program.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};

use crate::harness::{Data, Process, Server, eventually};

/// Runs `colloquy db` and returns what it printed; fails when it fails.
async fn db(data: &Data, words: &[&str]) -> String {
    let exit = Process::run(data, &[&["db"], words].concat()).await;
    assert_eq!(exit.code, Some(0), "db {words:?}: {exit:?}");
    exit.stdout
}

/// The one line that a node logs which does not start, and its exit code.
async fn refusal(data: &Data, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let exit = Process::refused("serve", data, settings, &[]).await;
    let errors: Vec<&str> = exit.stderr.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{exit:?}");
    (exit.code, errors[0].to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_describes_asks_and_drops_a_database() {
    let data = Data::fresh().await;
    db(&data, &["recreate"]).await;
    let status = db(&data, &["status"]).await;
    assert!(!status.is_empty() && status.lines().all(|line| line.ends_with("\tapplied")), "{status}");
    let tables = db(&data, &["tables"]).await;
    for table in ["users", "conversations", "messages", "run_chunks"] {
        assert!(tables.lines().any(|line| line == format!("{table}\t0")), "{table}: {tables}");
    }
    db(&data, &["migrate"]).await;
    let answer = db(&data, &["sql", "SELECT 1 + 1 AS two, CAST(NULL AS text) AS empty, 'x' AS letter"]).await;
    assert_eq!(answer, "two\tempty\tletter\n2\tNULL\tx\n");

    let process = Process::start(&data, &[]).await;
    let alice = process.server().register("alice").await;
    let id = alice.me().await.unwrap().id;
    assert_eq!(db(&data, &["sql", "SELECT id, is_active FROM users"]).await.to_lowercase(), {
        let is_active = if data.is_postgres() { "true" } else { "1" };
        format!("id\tis_active\n{id}\t{is_active}\n")
    });
    for action in ["create", "drop", "recreate"] {
        let exit = Process::run(&data, &["db", action]).await;
        assert_eq!(exit.code, Some(69), "{action} while it is served: {exit:?}");
    }
    process.terminate().await;
    assert_eq!(process.ended().await, Some(0));

    db(&data, &["drop"]).await;
    assert_ne!(Process::run(&data, &["db", "status"]).await.code, Some(0));
    db(&data, &["create"]).await;
    let exit = Process::run(&data, &["db", "create"]).await;
    assert_eq!(exit.code, Some(69), "{exit:?}");
    let exit = Process::run(&data, &["db", "sql", "SELECT * FROM nowhere"]).await;
    assert!(exit.code == Some(69) && exit.stderr.contains("nowhere"), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_can_be_undone_and_made_again() {
    let data = Data::fresh().await;
    db(&data, &["migrate"]).await;
    let tables = data.rows();
    data.undo_migrations().await;
    assert_eq!(data.rows().into_keys().collect::<Vec<_>>(), ["__diesel_schema_migrations"]);
    db(&data, &["migrate"]).await;
    assert_eq!(data.rows(), tables);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_later_program_is_refused() {
    let data = Data::fresh().await;
    db(&data, &["migrate"]).await;
    db(&data, &["sql", "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231235959')"]).await;
    let status = db(&data, &["status"]).await;
    assert!(status.ends_with("99991231235959\tunknown\n"), "{status}");
    let (code, line) = refusal(&data, &[]).await;
    assert_eq!(code, Some(78), "{line}");
    assert!(line.contains("database_url") && line.contains("newer"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_nowhere_is_refused() {
    let data = Data::fresh().await;
    let (code, line) = refusal(&data, &[("database_url", "mysql://root@127.0.0.1/colloquy")]).await;
    assert_eq!(code, Some(78), "{line}");
    assert!(line.contains("database_url") && line.contains("postgres://"), "{line}");
    let (code, line) = refusal(&data, &[("database_url", "postgres://somebody@127.0.0.1:1/colloquy")]).await;
    assert_eq!(code, Some(69), "{line}");
    assert!(line.contains("database_url"), "{line}");
    let Some(url) = data.postgres_url() else { return };
    let wrong_password = url.replacen("colloquy@", "wrong@", 1);
    let no_such_database = format!("{url}_of_nobody");
    for wrong in [wrong_password, no_such_database] {
        let (code, line) = refusal(&data, &[("database_url", &wrong)]).await;
        assert_eq!(code, Some(78), "{line}");
        assert!(line.contains("database_url") && !line.contains("wrong"), "a secret is told: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_for_the_database_is_its_owners_alone() {
    let data = Data::fresh().await;
    let (served, made) = (data.folder().join("a/served"), data.folder().join("b/made"));
    let text = served.to_str().unwrap();
    let server = Server::with(&[("data_dir", text), ("database_url", "")]).await;
    server.register("alice").await;
    let address = format!("sqlite:{}", made.join("colloquy.db").display());
    let exit = Process::refused("db", &data, &[("database_url", &address)], &["create"]).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for (folder, files) in
        [(&served, &["colloquy.db", "colloquy.db-wal", "colloquy.db-shm"][..]), (&made, &["colloquy.db"])]
    {
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
        for file in files {
            assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_leave_connections_to_others() {
    let server = Server::with(&[("database_connections", "4")]).await;
    let alice = server.register("alice").await;
    alice.conversation().await;
    // On PostgreSQL the searches wait as long as somebody else holds what they read.
    let blocker = match server.data().postgres_url() {
        Some(url) => {
            let mut blocker = AsyncPgConnection::establish(&url).await.unwrap();
            blocker.batch_execute("BEGIN; LOCK TABLE members IN ACCESS EXCLUSIVE MODE").await.unwrap();
            Some(blocker)
        }
        None => None,
    };
    let mut searches: FuturesUnordered<_> =
        (0..12).map(|_| alice.get("/api/v1/messages:search?query=tea").boxed()).collect();
    let waiting =
        "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    let others = async {
        if blocker.is_some() {
            eventually("a search waits", async || server.data().number(waiting) > 0).await;
        }
        for _ in 0..20 {
            alice.me().await.unwrap();
        }
        drop(blocker);
    };
    tokio::pin!(others);
    loop {
        tokio::select! {
            () = &mut others => break,
            Some((status, body)) = searches.next() => assert_eq!(status, 200, "{body}"),
        }
    }
    while let Some((status, body)) = searches.next().await {
        assert_eq!(status, 200, "{body}");
    }
}

#[test]
fn every_migration_has_a_stamp_of_its_own_and_stands_in_both_folders() {
    let names = |database: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<BTreeSet<String>>()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    assert_eq!(sqlite, postgres);
    // Of two with one stamp only one would be run.
    let stamps: BTreeSet<&str> = sqlite.iter().map(|name| name.split_once('_').unwrap().0).collect();
    assert_eq!(stamps.len(), sqlite.len(), "{sqlite:#?}");
}
