//! What admins do with accounts, and where it is felt.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{deleted, entry, id, log, posted};
use crate::harness::{ADMIN, Actor, Native, PASSWORD, RedisServer, Server, eventually};

/// How long the end of an account may take to be felt anywhere.
const FELT_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_who_can_sign_in_stays_one() {
    let server = Server::with(&ADMIN).await;
    let (root, alice) = (server.admin().await, server.register("alice").await);
    let (admin, user) = (id(&root).await, id(&alice).await);
    let refused = async |answer: (u16, Value)| {
        let (status, body) = answer;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("FAILED_PRECONDITION")), "{body}");
    };
    refused(posted(&root, &format!("users/{admin}/demote")).await).await;
    refused(posted(&root, &format!("users/{admin}/deactivate")).await).await;
    refused(deleted(&root, "users/me").await).await;
    // An admin who cannot sign in is none.
    assert_eq!(posted(&root, &format!("users/{user}/promote")).await.0, 200);
    assert_eq!(posted(&root, &format!("users/{user}/deactivate")).await.0, 200);
    refused(posted(&root, &format!("users/{admin}/demote")).await).await;
    assert_eq!(posted(&root, &format!("users/{user}/activate")).await.0, 200);
    assert_eq!(posted(&root, &format!("users/{admin}/demote")).await.0, 200);
    let alice = server.visitor().login("alice", PASSWORD).await.unwrap();
    let (target, admin) = (format!("user:{user}"), format!("user:{admin}"));
    assert_eq!(
        log(&alice, "").await,
        [
            entry("user.demote", &admin, "ok"),
            entry("user.activate", &target, "ok"),
            entry("user.demote", &admin, "FAILED_PRECONDITION"),
            entry("user.deactivate", &target, "ok"),
            entry("user.promote", &target, "ok"),
            entry("user.deactivate", &admin, "FAILED_PRECONDITION"),
            entry("user.demote", &admin, "FAILED_PRECONDITION"),
        ]
    );
}

/// How the last two admins leave at once.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// Each demotes the own account.
    Demote,
    /// Each deactivates the own account.
    Deactivate,
    /// Each demotes the other one.
    DemoteOther,
    /// Each deletes the own account.
    Delete,
}

impl Leave {
    async fn take(self, (admin, own): (&Actor, &str), other: &str) -> u16 {
        let (status, _) = match self {
            Self::Demote => posted(admin, &format!("users/{own}/demote")).await,
            Self::Deactivate => posted(admin, &format!("users/{own}/deactivate")).await,
            Self::DemoteOther => posted(admin, &format!("users/{other}/demote")).await,
            Self::Delete => deleted(admin, "users/me").await,
        };
        status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_last_two_admins_who_leave_at_once_one_stays() {
    for leave in [Leave::Demote, Leave::Deactivate, Leave::DemoteOther, Leave::Delete] {
        for _ in 0..2 {
            let here = Server::with(&ADMIN).await;
            let there = here.beside(&[]).await;
            let (root, second) = (here.admin().await, here.register("second").await.at(&there));
            let (first_id, second_id) = (id(&root).await, id(&second).await);
            assert_eq!(posted(&root, &format!("users/{second_id}/promote")).await.0, 200);
            eventually("it is felt", async || second.get("/api/v1/admin/users").await.0 == 200).await;
            let left =
                tokio::join!(leave.take((&root, &first_id), &second_id), leave.take((&second, &second_id), &first_id),);
            assert!((left.0 == 200) != (left.1 == 200), "{leave:?}: {left:?}");
            let admins = "(SELECT count(*) FROM users WHERE role = 'admin' AND is_active)";
            assert_eq!(here.data().number(admins), 1, "{leave:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_may_do_changes_on_every_node_within_seconds() {
    let here = Server::with(&[&ADMIN[..], &[("redis_url", "")]].concat()).await;
    let there = here.beside(&[("redis_url", "")]).await;
    let (root, alice) = (here.admin().await, here.register("alice").await);
    let user = id(&alice).await;
    for (act, status) in [("promote", 200), ("demote", 403)] {
        assert_eq!(posted(&root, &format!("users/{user}/{act}")).await.0, 200);
        for node in [&here, &there] {
            let alice = alice.at(node);
            eventually(act, async || alice.get("/api/v1/admin/metrics").await.0 == status).await;
        }
    }
}

/// What a deactivated user has left, on these nodes.
async fn a_deactivated_user_is_out(here: &Server, there: &Server) {
    let (root, alice) = (here.admin().await, here.register("alice").await);
    let user = id(&alice).await;
    let (mut near, mut far) = (alice.socket().await, alice.at(there).socket().await);
    let mut native = Native::open(&alice.at(there), None).await;
    assert_eq!(posted(&root, &format!("users/{user}/deactivate")).await.0, 200);
    let ends = async {
        assert_eq!(near.close_code().await, 1008);
        assert_eq!(far.close_code().await, 1008);
        while let Ok(Some(_)) = native.try_next().await {}
    };
    timeout(FELT_WITHIN, ends).await.expect("every connection ends in time");
    for node in [here, there] {
        let alice = alice.at(node);
        eventually("her calls are refused", async || alice.get("/api/v1/users/me").await.0 == 401).await;
        assert!(alice.at(node).refresh().await.is_err());
        assert!(node.visitor().login("alice", PASSWORD).await.is_err());
    }
    assert_eq!(posted(&root, &format!("users/{user}/activate")).await.0, 200);
    assert_eq!(alice.get("/api/v1/users/me").await.0, 401, "the sessions are over");
    assert_eq!(there.visitor().login("alice", PASSWORD).await.unwrap().get("/api/v1/users/me").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_user_is_out_on_nodes_that_share_a_redis() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let here = Server::with(&[&ADMIN[..], &[("redis_url", &url)]].concat()).await;
    let there = here.beside(&[("redis_url", &url)]).await;
    a_deactivated_user_is_out(&here, &there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_user_is_out_on_nodes_that_share_nothing_but_the_database() {
    let here = Server::with(&[&ADMIN[..], &[("redis_url", "")]].concat()).await;
    let there = here.beside(&[("redis_url", "")]).await;
    a_deactivated_user_is_out(&here, &there).await;
}
