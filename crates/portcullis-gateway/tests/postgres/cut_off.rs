//! An instance that is cut off from its database: what goes on, for how long, and what comes back (T7, T9, T10, T13).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::scenario::person::{ALL, Held, Person};
use crate::scenario::streams::{KINDS, ROUTES, Stream, endless};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};

/// For so long an instance goes on by what it has read.
const STALE: Duration = Duration::from_secs(4);

fn start(origin: &Origin, database: &str) -> Gateway {
    let tables = format!("{ROUTES}max_staleness = \"{}s\"\n", STALE.as_secs());
    Setup::before(origin).public_url("https://api.example.com").on(database).with(&tables).start()
}

fn status(gateway: &Gateway, person: &Person, held: Held, target: &str) -> u16 {
    let (name, value) = person.header(held);
    let reply = gateway.client().get(target).header(name, &value).send();
    assert!(reply.status != 503 || reply.header("retry-after").is_some(), "{:?}", reply.headers);
    reply.status
}

fn open(gateway: &Gateway, person: &Person) -> Vec<(String, Stream)> {
    let mut streams = Vec::new();
    for held in ALL {
        let (name, value) = person.header(held);
        for kind in KINDS {
            streams.push((format!("{held:?} {kind:?}"), Stream::open(gateway, kind, Some((name, &value)))));
        }
    }
    streams
}

#[test]
fn t7_t13_without_its_database_a_gate_goes_on_for_max_staleness_and_then_closes_what_somebody_opened() {
    if !postgres::is_installed() {
        return;
    }
    let mut server = Cluster::start();
    let origin = endless();
    let gateway = start(&origin, &server.database());
    let (ann, bob) = (Person::new(&gateway, "ann"), Person::new(&gateway, "bob"));
    for held in ALL {
        assert_eq!(status(&gateway, &ann, held, "/once/more"), 200, "{held:?}");
    }
    let mut streams = open(&gateway, &ann);
    let mut nobodys = KINDS.map(|kind| Stream::open(&gateway, kind, None));
    server.kill();
    let killed = Instant::now();

    for (what, stream) in &mut streams {
        stream.goes_on(what);
    }
    for held in ALL {
        let got = status(&gateway, &ann, held, "/once/more");
        assert!(got == 200 || killed.elapsed() > STALE, "{held:?}: {got} after {:?}", killed.elapsed());
    }
    // Of a key or session that has not been asked about before nobody can say anything, now or later.
    for held in [Held::Key, Held::Session] {
        assert_eq!(status(&gateway, &bob, held, "/once/more"), 503, "{held:?}");
        assert_eq!(status(&gateway, &ann, Held::Key, "/auth/me"), 503, "what has to be read is not made up");
    }
    eventually("nobody can say any more", 2 * STALE, || {
        (status(&gateway, &ann, Held::Bearer, "/once/more") == 503).then_some(())
    });
    let over = Instant::now();
    for (what, stream) in streams {
        stream.closes(&format!("{what}, of which nobody can say any more whether it may"), &origin, over);
    }
    for held in ALL {
        assert_eq!(status(&gateway, &ann, held, "/once/more"), 503, "{held:?}");
    }
    // What needs no identity goes on, and whoever names one explicitly is not taken for nobody.
    for (kind, stream) in KINDS.iter().zip(&mut nobodys) {
        stream.goes_on(&format!("nobody's {kind:?}"));
    }
    gateway.client().get("/public/once").send().expect(200);
    for held in [Held::Bearer, Held::Key] {
        assert_eq!(status(&gateway, &ann, held, "/public/once"), 503, "{held:?}");
    }
    for held in [Held::Cookie, Held::Session] {
        let (name, value) = ann.header(held);
        let reply = gateway.client().get("/public/once").header(name, &value).send().expect(200);
        let seen = origin.last();
        assert_eq!((seen.header("x-user-id"), seen.header("cookie")), (None, None), "{held:?}");
        assert!(reply.headers("set-cookie").is_empty(), "a cookie that may be good is not taken back: {reply:?}");
    }

    server.restart();
    let back = Instant::now();
    for held in ALL {
        for person in [&ann, &bob] {
            eventually(&format!("{held:?} is good again"), Duration::from_secs(5), || {
                (status(&gateway, person, held, "/once/more") == 200).then_some(())
            });
        }
    }
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    for (what, mut stream) in open(&gateway, &ann) {
        stream.goes_on(&what);
    }
}

#[test]
fn t7_what_was_revoked_elsewhere_while_an_instance_was_stopped_is_obeyed_by_its_first_answer() {
    if !postgres::is_installed() {
        return;
    }
    let server = Cluster::start();
    let database = server.database();
    let origin = endless();
    let (one, mut two) = (start(&origin, &database), start(&origin, &database));
    let ann = Person::new(&one, "ann");
    let bob = Person::new(&one, "bob");
    for held in ALL {
        assert_eq!(status(&two, &ann, held, "/once/more"), 200, "{held:?}");
    }
    let streams = open(&two, &ann);
    two.process().signal(rustix::process::Signal::STOP);
    ann.post(&one, "/auth/logout-all", &json!({}), 204);
    let (access, _) = one.login(&ann.email);
    one.client().request("DELETE", &format!("/auth/api-keys/{}", ann.key_id)).bearer(&access).send().expect(204);
    // Longer than what it may go on by without reading.
    std::thread::sleep(STALE + Duration::from_millis(500));
    two.process().signal(rustix::process::Signal::CONT);
    let woken = Instant::now();
    for held in ALL {
        let got = status(&two, &ann, held, "/once/more");
        assert!(matches!(got, 401 | 503), "{held:?}: {got}");
    }
    for (what, stream) in streams {
        stream.closes(&what, &origin, woken);
    }
    for held in ALL {
        eventually(&format!("{held:?} is known to be revoked"), Duration::from_secs(2), || {
            (status(&two, &ann, held, "/once/more") == 401).then_some(())
        });
        eventually(&format!("{held:?} of another is good"), Duration::from_secs(2), || {
            (status(&two, &bob, held, "/once/more") == 200).then_some(())
        });
    }
}
