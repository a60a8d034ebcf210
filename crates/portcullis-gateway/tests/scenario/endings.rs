//! Every way in which a credential ends before its time (T7), and what each takes along: requests are refused and streams are
//! closed (T13) within a second, at every instance, and nothing else is.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::person::Held::{self, Bearer, Cookie, Key, Session};
use super::person::{ALL, Person};
use super::streams::{KINDS, LONG_ENOUGH, PROMISED, ROUTES, Stream, endless};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, claims, eventually};

const OTHER: &str = "Other-Horse-43";

/// What stands for a login. A key is not: it follows its owner's role and outlives passwords.
const LOGINS: &[Held] = &[Bearer, Cookie, Session];

/// One way to end something.
struct Way {
    name: &'static str,
    act: fn(&Gateway, &Person),
    /// What opens nothing any more.
    ends: &'static [Held],
    /// Whether streams that a key opened are closed although the key goes on: whoever holds it comes back by it, and is told
    /// to the API with the role and plan of then.
    parts_with_key: bool,
}

const fn way(name: &'static str, ends: &'static [Held], act: fn(&Gateway, &Person)) -> Way {
    Way { name, act, ends, parts_with_key: false }
}

const fn version(name: &'static str, act: fn(&Gateway, &Person)) -> Way {
    Way { name, act, ends: LOGINS, parts_with_key: true }
}

const WAYS: [Way; 27] = [
    version("another role", |gate, ann| run(gate, &["users", "role", &ann.email, "admin"])),
    version("another plan", |gate, ann| run(gate, &["users", "plan", &ann.email, "gold"])),
    version("an operator's revocation", |gate, ann| run(gate, &["users", "revoke", &ann.email])),
    version("a changed password", |gate, ann| {
        let body = json!({ "currentPassword": PASSWORD, "newPassword": OTHER });
        ann.post(gate, "/auth/change-password", &body, 200);
    }),
    version("a reset password", |gate, ann| {
        ann.post(gate, "/auth/forgot-password", &json!({ "email": ann.email }), 202);
        let token = gate.operator().await_mails(&ann.email, 1)[0].token();
        ann.post(gate, "/auth/reset-password", &json!({ "token": token, "password": OTHER }), 200);
    }),
    version("logout everywhere by a token", |gate, ann| ann.post(gate, "/auth/logout-all", &json!({}), 204)),
    version("logout everywhere by a session", |gate, ann| {
        gate.client()
            .post("/auth/logout-all")
            .header("Cookie", &ann.session)
            .csrf(&gate.csrf(&ann.session))
            .send()
            .expect(204);
    }),
    way("a disabled account", &ALL, |gate, ann| run(gate, &["users", "disable", &ann.email])),
    way("an account that its owner deleted", &ALL, |gate, ann| {
        let client = gate.client();
        let request = client.request("DELETE", "/auth/me").bearer(&ann.access);
        request.json(&json!({ "password": PASSWORD })).send().expect(204);
    }),
    way("an account that an operator deleted", &ALL, |gate, ann| run(gate, &["users", "delete", &ann.email, "--yes"])),
    version("another role by the admin API", |gate, ann| operate(gate, "PATCH", ann, "", &json!({ "role": "viewer" }))),
    version("another password by the admin API", |gate, ann| {
        operate(gate, "POST", ann, "/password", &json!({ "password": OTHER }));
    }),
    version("a revocation by the admin API", |gate, ann| operate(gate, "POST", ann, "/revoke", &json!({}))),
    way("an account disabled by the admin API", &ALL, |gate, ann| {
        operate(gate, "PATCH", ann, "", &json!({ "disabled": true }));
    }),
    way("an account that the admin API deleted", &ALL, |gate, ann| operate(gate, "DELETE", ann, "", &json!({}))),
    way("another address", &[], |gate, ann| {
        let new = format!("new-{}", ann.email);
        ann.post(gate, "/auth/change-email", &json!({ "email": new, "password": PASSWORD }), 202);
        let token = gate.operator().await_mails(&new, 1)[0].token();
        ann.post(gate, "/auth/confirm-email", &json!({ "token": token }), 200);
    }),
    way("a revoked jti", &[Bearer], |gate, ann| {
        let file = gate.directory().join("token");
        std::fs::write(&file, &ann.access).unwrap();
        run(gate, &["tokens", "revoke", "--token-file", file.to_str().unwrap()]);
    }),
    way("a logout by the refresh token", &[Bearer], |gate, ann| {
        let body = json!({ "refreshToken": ann.refresh });
        gate.client().post("/auth/logout").json(&body).send().expect(204);
    }),
    way("a refresh token that was used again", &[Bearer], |gate, ann| {
        let refresh = || gate.client().post("/auth/refresh").json(&json!({ "refreshToken": ann.refresh })).send();
        refresh().expect(200);
        refresh().refused(401, "Invalid refresh token");
    }),
    way("a session of tokens that was ended in the list", &[Cookie], |gate, ann| {
        let id = claims(ann.cookie.split_once('=').unwrap().1)["sid"].as_str().unwrap().to_owned();
        ann.delete(gate, &format!("/auth/sessions/{id}"));
    }),
    way("a server session that logged out", &[Session], |gate, ann| {
        gate.client()
            .post("/auth/logout")
            .header("Cookie", &ann.session)
            .csrf(&gate.csrf(&ann.session))
            .send()
            .expect(204);
    }),
    way("tokens in cookies that logged out", &[Cookie], |gate, ann| {
        gate.client()
            .post("/auth/logout")
            .header("Cookie", &ann.refresh_cookie)
            .csrf(&gate.csrf(&ann.refresh_cookie))
            .send()
            .expect(204);
    }),
    way("a server session that a login replaced", &[Session], |gate, ann| {
        let body = json!({ "email": ann.email, "password": PASSWORD, "delivery": "session" });
        gate.client().post("/auth/login").header("Cookie", &ann.session).json(&body).send().expect(200);
    }),
    way("a server session that was ended in the list", &[Session], |gate, ann| {
        let listed = gate.client().get("/auth/sessions").header("Cookie", &ann.session).send().expect(200).json();
        let sessions = listed["sessions"].as_array().unwrap();
        let id = sessions.iter().find(|session| session["current"] == true).unwrap()["id"].as_str().unwrap();
        ann.delete(gate, &format!("/auth/sessions/{id}"));
    }),
    way("a revoked API key", &[Key], |gate, ann| ann.delete(gate, &format!("/auth/api-keys/{}", ann.key_id))),
    way("an API key that an operator revoked", &[Key], |gate, ann| {
        run(gate, &["api-keys", "revoke", &ann.key_id, "--email", &ann.email]);
    }),
    way("an API key that was rotated without overlap", &[Key], |gate, ann| {
        let body = json!({ "password": PASSWORD, "overlap": 0 });
        ann.post(gate, &format!("/auth/api-keys/{}/rotate", ann.key_id), &body, 201);
    }),
];

/// Runs a command of the operator's that has to succeed.
fn run(gateway: &Gateway, arguments: &[&str]) {
    let output = gateway.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asks the admin API to do something with somebody's account.
fn operate(gateway: &Gateway, method: &str, person: &Person, what: &str, body: &Value) {
    let desk = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    let id = claims(&person.access)["sub"].as_str().unwrap().to_owned();
    let request = desk.request(method, &format!("/api/accounts/{id}{what}")).bearer(&gateway.operator().token);
    let reply = request.json(body).send();
    assert!(matches!(reply.status, 200 | 204), "{method} {what}: {}", reply.text());
}

/// Ends something at one instance in every way, several at once, and looks at another, which may be the same.
pub(crate) fn endings(origin: &Origin, at: &Gateway, seen_by: &Gateway) {
    const AT_ONCE: usize = 9;
    let bystander = Person::new(at, "bystander");
    let named = |(held, stream)| (format!("a bystander's {held:?}"), stream);
    let mut go_on: Vec<(String, Stream)> = bystander.open(seen_by, 0).into_iter().map(named).collect();
    go_on.extend(KINDS.map(|kind| (format!("nobody's {kind:?}"), Stream::open(seen_by, kind, None))));
    let slowest = std::thread::scope(|scope| {
        let ways: Vec<(usize, &Way)> = WAYS.iter().enumerate().collect();
        let shares: Vec<_> = ways.chunks(WAYS.len().div_ceil(AT_ONCE)).map(<[_]>::to_vec).collect();
        let walk = |share: Vec<(usize, &Way)>| -> Vec<_> {
            share.into_iter().map(|(turn, way)| way.walk(turn, origin, at, seen_by)).collect()
        };
        let walkers: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || walk(share))).collect();
        let mut slowest = Duration::ZERO;
        for (took, left) in walkers.into_iter().flat_map(|walker| walker.join().unwrap()) {
            slowest = slowest.max(took);
            go_on.extend(left);
        }
        slowest
    });
    // What the last one left has to be asked about again, too.
    std::thread::sleep(LONG_ENOUGH);
    for (what, stream) in &mut go_on {
        stream.goes_on(what);
    }
    println!("{} ways to end a credential, the slowest seen after {slowest:?}", WAYS.len());
}

impl Way {
    /// What the holder of something that ended is told.
    fn error(&self, held: Held) -> &'static str {
        // Whoever asks whose a deleted account's key or session is finds nobody.
        let gone = matches!(held, Session | Key) && self.name.ends_with("deleted");
        if gone { "Invalid or expired token" } else { "Token has been revoked" }
    }

    /// Goes this way with somebody of its own. Gives how long everything that ends by it took, and the streams that go on.
    fn walk(&self, turn: usize, origin: &Origin, at: &Gateway, seen_by: &Gateway) -> (Duration, Vec<(String, Stream)>) {
        let ann = Person::new(at, &format!("ann{turn}"));
        let streams = ann.open(seen_by, turn);
        for held in ALL {
            ann.asks(seen_by, held).expect(200);
        }
        (self.act)(at, &ann);
        let decided = Instant::now();
        for held in self.ends {
            let what = format!("{}: {held:?}", self.name);
            let refused = eventually(&format!("{what} ends"), PROMISED, || {
                let reply = ann.asks(seen_by, *held);
                (reply.status != 200).then_some(reply)
            });
            refused.refused(401, self.error(*held));
        }
        let closes = |held: Held| self.ends.contains(&held) || (self.parts_with_key && held == Key);
        let mut left = Vec::new();
        for (held, stream) in streams {
            let what = format!("{}: {held:?}", self.name);
            if closes(held) {
                stream.closes(&what, origin, decided);
            } else {
                left.push((what, stream));
            }
        }
        let took = decided.elapsed();
        for held in ALL.into_iter().filter(|held| !self.ends.contains(held)) {
            let reply = ann.asks(seen_by, held);
            assert_eq!(reply.status, 200, "{}: {held:?} goes on: {}", self.name, reply.text());
        }
        // A family of refresh tokens ends with its session; a single token is void without it.
        for (held, secret) in [(Bearer, ann.refresh.as_str()), (Cookie, ann.refresh_cookie.as_str())] {
            let reply = ann.refreshes(seen_by, held, secret);
            let is_over = self.ends.contains(&held) && self.name != "a revoked jti";
            assert_eq!(reply.status, if is_over { 401 } else { 200 }, "{}: {held:?}: {}", self.name, reply.text());
        }
        (took, left)
    }
}

#[test]
fn t7_t13_whatever_ends_a_credential_closes_its_streams_within_a_second_and_takes_nothing_else_along() {
    let origin = endless();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    endings(&origin, &gateway, &gateway);
}

#[test]
fn t7_what_was_ended_stays_so_after_a_kill_for_as_long_as_a_token_lives() {
    let origin = endless();
    let mut gateway = Setup::before(&origin).with(ROUTES).start();
    let people: Vec<Person> = WAYS
        .iter()
        .enumerate()
        .map(|(turn, way)| {
            let ann = Person::new(&gateway, &format!("ann{turn}"));
            (way.act)(&gateway, &ann);
            ann
        })
        .collect();
    // Long after, and a moment before the tokens end by themselves, everything is read anew, and what nobody needs any more is
    // tidied away as at every start. The mark of this time is kept once a second.
    gateway.operator().advance("13m");
    std::thread::sleep(Duration::from_millis(1_500));
    gateway.kill();
    gateway.launch();
    std::thread::sleep(Duration::from_millis(500));
    for (way, ann) in WAYS.iter().zip(&people) {
        for held in ALL {
            let (reply, what) = (ann.asks(&gateway, held), format!("{}: {held:?}", way.name));
            if way.ends.contains(&held) {
                assert_eq!((reply.status, reply.error().as_str()), (401, way.error(held)), "{what}");
            } else {
                assert_eq!(reply.status, 200, "{what}: {}", reply.text());
            }
        }
    }
}
