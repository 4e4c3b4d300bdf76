//! Those who play the rows, and what their requests name.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

use crate::harness::{ADMIN, Actor, PASSWORD, Server, Socket};

/// A browser's public key: that of RFC 8291, §5.
const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

/// Those who call.
pub(crate) struct Cast {
    pub(crate) server: Server,
    /// In the order of `CALLERS`.
    pub(crate) callers: [Actor; 6],
    guest: Actor,
    /// The connections that requests name.
    sockets: Mutex<Vec<Socket>>,
}

static NAMES: AtomicU32 = AtomicU32::new(0);

pub(crate) fn new_name() -> String {
    format!("extra{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

impl Cast {
    pub(crate) async fn assemble() -> Self {
        Self::on(Server::with(&ADMIN).await).await
    }

    /// Those who call this server.
    pub(crate) async fn on(server: Server) -> Self {
        let callers = [
            server.visitor(),
            server.register("stranger").await,
            server.register("viewer").await,
            server.register("member").await,
            server.register("owner").await,
            server.admin().await,
        ];
        Self { guest: server.register("guest").await, server, callers, sockets: Mutex::default() }
    }

    /// Somebody new in the place of this caller.
    pub(super) async fn another(&self, caller: &str) -> Actor {
        let actor = self.server.register(&new_name()).await;
        if caller == "admin" {
            let [.., admin] = &self.callers;
            let path = format!("/api/v1/admin/users/{}/promote", id_of_user(&actor).await);
            let (status, body) = admin.post(&path, json!({})).await;
            assert_eq!(status, 200, "{body}");
        }
        actor
    }

    /// The request of a template, in a conversation of its own.
    pub(crate) async fn request(&self, template: &str, callers: &[Actor; 6], caller: usize) -> Value {
        let [_, _, viewer, member, owner, admin] = callers;
        let mut text = template.replace("{password}", PASSWORD).replace("{new}", &new_name());
        text = text
            .replace("{p256dh}", P256DH)
            .replace("{owner_name}", "owner")
            .replace("{guest}", &id_of_user(&self.guest).await);
        if text.contains("{self}") {
            let known = if caller == 0 { &self.guest } else { &callers[caller] };
            text = text.replace("{self}", &id_of_user(known).await);
        }
        if text.contains("{other}") {
            let other = self.server.visitor().register(&new_name()).await.unwrap();
            text = text.replace("{other}", &other.id);
        }
        if text.contains("{connection}") {
            let mut socket = Socket::open(&self.guest.socket_url("")).await;
            let established = socket.until("connection.established").await;
            text = text.replace("{connection}", established["data"]["connection_id"].as_str().unwrap());
            self.sockets.lock().unwrap().push(socket);
        }
        if text.contains("{service_account}") {
            let account = json!({ "name": new_name(), "scopes": [] });
            let (_, made) = admin.post("/api/v1/admin/service-accounts", account).await;
            text = text.replace("{service_account}", &id_of(&made["service_account"]));
        }
        if text.contains("{session}") {
            let (_, sessions) = owner.get("/api/v1/auth/sessions").await;
            text = text.replace("{session}", &id_of(&sessions["sessions"][0]));
        }
        if text.contains("{refresh_token}") {
            let again = self.server.visitor().login("owner", PASSWORD).await.unwrap();
            text = text.replace("{refresh_token}", &again.refresh_token);
        }
        if ["{conversation}", "{message}", "{reply}", "{context}"].iter().any(|name| text.contains(name)) {
            let conversation = owner.conversation().await;
            owner.add(&conversation, viewer, "viewer").await;
            owner.add(&conversation, member, "member").await;
            owner.add(&conversation, &self.guest, "viewer").await;
            let path = format!("/api/v1/conversations/{conversation}");
            let (_, sent) = member.post(&format!("{path}/messages"), json!({ "content": "hello", "wait": true })).await;
            let (_, context) = owner.post(&format!("{path}/contexts"), json!({ "content": "be kind" })).await;
            for (name, id) in [
                ("{conversation}", conversation),
                ("{message}", id_of(&sent["message"])),
                ("{reply}", id_of(&sent["reply"])),
                ("{context}", id_of(&context["context"])),
            ] {
                text = text.replace(name, &id);
            }
        }
        serde_json::from_str(&text).unwrap()
    }
}

async fn id_of_user(actor: &Actor) -> String {
    actor.me().await.unwrap().id
}

fn id_of(resource: &Value) -> String {
    resource["id"].as_str().unwrap_or_else(|| panic!("no id in {resource}")).to_owned()
}
