//! Somebody who holds one of everything that opens the API: what many tests ask about.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::streams::{KINDS, Stream};
use crate::support::PASSWORD;
use crate::support::client::{Client, Reply};
use crate::support::process::Gateway;

/// What somebody here holds: one login of each kind, and a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Bearer,
    Cookie,
    Session,
    Key,
}

pub(crate) const ALL: [Held; 4] = [Held::Bearer, Held::Cookie, Held::Session, Held::Key];
/// Somebody with one of everything.
pub(crate) struct Person {
    pub(crate) email: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// `name=value` of the access token's cookie.
    pub(crate) cookie: String,
    /// `name=value` of the refresh token's cookie that came with it.
    pub(crate) refresh_cookie: String,
    /// `name=value` of the server session's cookie.
    pub(crate) session: String,
    pub(crate) key: String,
    pub(crate) key_id: String,
}

impl Person {
    pub(crate) fn new(gateway: &Gateway, name: &str) -> Self {
        let email = format!("{name}@example.com");
        let operator = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
        let account = json!({ "email": email, "password": PASSWORD, "role": "editor" });
        operator.post("/api/accounts").bearer(&gateway.operator().token).json(&account).send().expect(201);
        let (access, refresh) = gateway.login(&email);
        let login = |delivery: &str| {
            let body = json!({ "email": email, "password": PASSWORD, "delivery": delivery });
            gateway.client().post("/auth/login").json(&body).send().expect(200)
        };
        let set = |reply: &Reply, cookie: &str| reply.set_cookie(cookie).unwrap().split(';').next().unwrap().to_owned();
        let tokens = login("cookie");
        let (cookie, refresh_cookie) = (set(&tokens, "access"), set(&tokens, "refresh"));
        let session = set(&login("session"), "session");
        let body = json!({ "name": "build server", "password": PASSWORD });
        let made = gateway.client().post("/auth/api-keys").bearer(&access).json(&body).send().expect(201).json();
        let text = |member: &str| made[member].as_str().unwrap().to_owned();
        Self { email, access, refresh, cookie, refresh_cookie, session, key: text("key"), key_id: text("id") }
    }

    /// The header by which something that is held is presented.
    pub(crate) fn header(&self, held: Held) -> (&'static str, String) {
        match held {
            Held::Bearer => ("Authorization", format!("Bearer {}", self.access)),
            Held::Cookie => ("Cookie", self.cookie.clone()),
            Held::Session => ("Cookie", self.session.clone()),
            Held::Key => ("X-API-Key", self.key.clone()),
        }
    }

    pub(crate) fn post(&self, gateway: &Gateway, target: &str, body: &Value, status: u16) {
        gateway.client().post(target).bearer(&self.access).json(body).send().expect(status);
    }

    pub(crate) fn delete(&self, gateway: &Gateway, target: &str) {
        gateway.client().request("DELETE", target).bearer(&self.access).send().expect(204);
    }

    /// Asks the API for something with what is held.
    pub(crate) fn asks(&self, gateway: &Gateway, held: Held) -> Reply {
        let (name, value) = self.header(held);
        gateway.client().get("/once/more").header(name, &value).send()
    }

    /// Refreshes the tokens that were got in the body, or those that were got in cookies.
    pub(crate) fn refreshes(&self, gateway: &Gateway, held: Held, secret: &str) -> Reply {
        let client = gateway.client();
        let request = client.post("/auth/refresh");
        if held == Held::Cookie {
            return request.header("Cookie", secret).csrf(&gateway.csrf(secret)).json(&json!({})).send();
        }
        request.json(&json!({ "refreshToken": secret })).send()
    }

    /// A stream or a tunnel for each thing that is held, of all kinds in turn.
    pub(crate) fn open(&self, gateway: &Gateway, turn: usize) -> Vec<(Held, Stream)> {
        let open = |(place, held): (usize, Held)| {
            let (name, value) = self.header(held);
            let kind = KINDS[(turn + place) % KINDS.len()];
            (held, Stream::open(gateway, kind, Some((name, &value))))
        };
        ALL.into_iter().enumerate().map(open).collect()
    }
}
