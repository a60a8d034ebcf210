//! Which certificate is shown, and which requests may follow (SNI and Host).

use crate::caller::{Call, Caller};
use crate::support::origin::Origin;
use crate::support::process::Gateway;
use crate::{Authority, open, pair};

/// A gate with certificates for three groups of names.
struct Three {
    origin: Origin,
    authority: Authority,
    shown: [Vec<u8>; 3],
    gateway: Gateway,
    _files: tempfile::TempDir,
}

const FIRST: usize = 0;
const STARRED: usize = 1;
const OTHER: usize = 2;

fn three(more: &str) -> Three {
    let origin = Origin::echo();
    let authority = Authority::new();
    let files = tempfile::tempdir().unwrap();
    let issued = [
        authority.server(&["api.example.test", "www.example.test"]),
        authority.server(&["*.tenants.example.test"]),
        authority.server(&["one.tenants.example.test"]),
    ];
    for (certificate, name) in issued.iter().zip(["first", "starred", "other"]) {
        certificate.write(files.path(), name);
    }
    let pairs = [pair("first"), pair("starred"), pair("other")].join(", ");
    let gateway = open(&origin, files.path(), &format!("certificates = [{pairs}]\n{more}"));
    Three { origin, authority, shown: issued.map(|certificate| certificate.der), gateway, _files: files }
}

impl Three {
    fn caller(&self) -> Caller {
        Caller::new(&self.authority, self.gateway.listen)
    }

    fn call(&self, name: &str) -> Call {
        self.caller().connect(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

#[test]
fn h6_the_certificate_follows_the_name_that_is_asked_for() {
    let three = three("");
    for (name, expected) in [
        ("api.example.test", FIRST),
        ("WWW.Example.Test", FIRST),
        ("two.tenants.example.test", STARRED),
        ("TWO.tenants.example.test", STARRED),
        ("one.tenants.example.test", OTHER),
    ] {
        assert_eq!(three.call(name).shown(), three.shown[expected], "{name}");
    }
    // A star is one label; the client refuses what it is shown instead, and so it should.
    for name in ["a.two.tenants.example.test", "tenants.example.test", "unknown.test"] {
        let error = three.caller().connect(name).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{name}: {error}");
    }
}

#[test]
fn h6_an_unknown_name_is_refused_where_that_is_asked_for() {
    let three = three("unknown_name = \"refuse\"");
    assert_eq!(three.call("api.example.test").shown(), three.shown[FIRST]);
    for caller in [three.caller(), three.caller().nameless()] {
        let error = caller.connect("unknown.test").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("alert"), "the gate refuses, not the client: {error}");
    }
}

#[test]
fn h6_a_request_for_a_host_of_another_certificate_is_misdirected() {
    let three = three("");
    for (name, host, expected) in [
        ("api.example.test", "api.example.test", 200),
        ("api.example.test", "API.example.test:8443", 200),
        ("api.example.test", "api.example.test.", 200),
        // Two hosts of one certificate may share a connection.
        ("api.example.test", "www.example.test", 200),
        ("two.tenants.example.test", "three.tenants.example.test", 200),
        ("api.example.test", "one.tenants.example.test", 421),
        ("two.tenants.example.test", "one.tenants.example.test", 421),
        ("one.tenants.example.test", "api.example.test", 421),
        // Whatever has no certificate is the first one's.
        ("api.example.test", "unknown.test", 200),
        ("one.tenants.example.test", "127.0.0.1", 421),
        ("one.tenants.example.test", "[::1]:443", 421),
    ] {
        let answer = three.call(name).get(host, "/", "").unwrap();
        assert_eq!(answer.status, expected, "{name} asked for, {host} meant: {}", answer.text());
        if expected == 421 {
            assert_eq!(answer.json()["error"], "Misdirected request");
            assert_eq!(answer.header("connection"), Some("close"), "the next one belongs on another connection");
        }
    }
    assert!(three.origin.requests().iter().all(|seen| !seen.header("host").unwrap().contains("one.tenants")));
}
