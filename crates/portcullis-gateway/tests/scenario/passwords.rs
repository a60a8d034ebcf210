//! What a password must be, that none is ever cut, and the hashes that are stored of it (A2, A3).

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

const COMMON: &str = "Must not be a common password";
const OWNERS: &str = "Must not be made of your e-mail address, your name or the name of this service";
/// The password of the imported hashes.
const IMPORTED: &str = "Tr0ub4dor & 3";

/// What begins the hashes that are made today, by either setting.
const ARGON2ID: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
const BCRYPT: &str = "$2b$12$";
const BCRYPT_OF_LONG: &str = "$bcrypt-sha256$v=2,t=2b,r=12$";

fn with_passwords(keys: &str) -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(&format!("[identity.password]\n{keys}")).start();
    (origin, gateway)
}

fn post(gateway: &Gateway, target: &str, body: &Value) -> Reply {
    gateway.client().post(target).json(body).send()
}

fn login(gateway: &Gateway, email: &str, password: &str) -> Reply {
    post(gateway, "/auth/login", &json!({ "email": email, "password": password }))
}

/// Registers and confirms.
fn enter(gateway: &Gateway, email: &str, password: &str) {
    post(gateway, "/auth/register", &json!({ "email": email, "password": password })).expect(202);
    let token = gateway.operator().await_mails(email, 1).remove(0).token();
    post(gateway, "/auth/verify", &json!({ "token": token })).expect(200);
}

/// Every rule that a registration is told that its password breaks.
fn told(gateway: &Gateway, password: &str) -> Vec<String> {
    let body = json!({ "email": "ann.lee@example.com", "password": password });
    let reply = post(gateway, "/auth/register", &body);
    if reply.status == 202 {
        return Vec::new();
    }
    let reply = reply.refused(400, "Validation failed");
    assert!(!reply.text().contains(password), "a password is never repeated: {}", reply.text());
    let body = reply.json();
    let details = body["details"].as_array().unwrap();
    let message = |detail: &Value| {
        assert_eq!(detail["field"], "password", "{body}");
        detail["message"].as_str().unwrap().to_owned()
    };
    details.iter().map(message).collect()
}

fn judged(keys: &str, cases: &[(&str, &[&str])]) {
    let (_origin, gateway) = with_passwords(keys);
    for (password, rules) in cases {
        assert_eq!(told(&gateway, password), *rules, "{keys}: {password:?}");
    }
}

#[test]
fn a2_the_default_preset_tells_each_rule_that_a_password_breaks_in_its_own_words() {
    let (short, upper, lower, number) =
        ("Must be at least 10 characters", "Must contain uppercase", "Must contain lowercase", "Must contain number");
    judged(
        "policy = \"default\"",
        &[
            ("Kettledrum 9 sails", &[]),
            ("Kettledr9m", &[]),
            ("Kettled9m", &[short]),
            ("kettledrum 9 sails", &[upper]),
            ("KETTLEDRUM 9 SAILS", &[lower]),
            ("Kettledrum nine sails", &[number]),
            ("kelp!", &[short, upper, number]),
            ("....", &[short, upper, lower, number, COMMON]),
            // What everybody tries first, in the dress that the rules ask for.
            ("Password123", &[COMMON]),
            ("P@ssw0rd2024", &[COMMON]),
            ("Qwertyuiop1", &[COMMON]),
            ("Ann.Lee.2024", &[OWNERS]),
            // Letters and digits of any script count.
            ("Парусник 42", &[]),
        ],
    );
}

#[test]
fn a2_the_preset_special_asks_for_8_to_100_characters_with_a_special_one() {
    let (length, upper, lower, number, special) = (
        "Must be 8 to 100 characters",
        "Must contain uppercase",
        "Must contain lowercase",
        "Must contain number",
        "Must contain special character",
    );
    let words = "sails and kettledrums, ".repeat(5);
    let (longest, too_long) = (format!("K7-{}", &words[..97]), format!("K7-{}", &words[..98]));
    judged(
        "policy = \"special\"",
        &[
            ("Kelp-9sa", &[]),
            ("Kelp-9s", &[length]),
            (&longest, &[]),
            (&too_long, &[length]),
            ("Kettledrum9", &[special]),
            // A space is no mark that somebody chose.
            ("Kettledrum 9", &[special]),
            ("kelp-sails", &[upper, number]),
            ("KELP-SAILS-9", &[lower]),
            ("kelp", &[length, upper, number, special]),
            ("Password123!", &[COMMON]),
        ],
    );
}

#[test]
fn a2_the_preset_nist_asks_for_15_characters_and_nothing_else() {
    let short = "Must be at least 15 characters";
    judged(
        "policy = \"nist\"",
        &[
            ("kelp kettle sai", &[]),
            ("kelp kettle sa", &[short]),
            ("K3lp-Kettl3-S4", &[short]),
            ("парусник и море", &[]),
            ("passwordpassword", &[COMMON]),
            ("aaaaaaaaaaaaaaaaaaaa", &[COMMON]),
            ("123456789012345", &[COMMON]),
            ("ann.lee.2024.ann.lee", &[OWNERS]),
        ],
    );
}

#[test]
fn a2_a_passphrase_of_any_script_counts_to_its_last_character() {
    // 301 characters of one to four bytes each.
    let phrase = format!("Ünïcode 7 {}", "вёсла 帆船 🛶 ".repeat(25)).chars().take(300).collect::<String>();
    let whole = format!("{phrase}x");
    for (policy, hash) in [("default", "argon2id"), ("nist", "bcrypt")] {
        let (_origin, gateway) = with_passwords(&format!("policy = \"{policy}\"\nhash = \"{hash}\""));
        enter(&gateway, "long@example.com", &whole);
        for other in [format!("{phrase}y"), phrase.clone(), format!("{whole}x")] {
            login(&gateway, "long@example.com", &other).refused(401, "Invalid credentials");
        }
        login(&gateway, "long@example.com", &whole).expect(200);
    }
}

#[test]
fn a3_under_bcrypt_passwords_that_differ_beyond_its_72_bytes_are_different() {
    let (_origin, gateway) = with_passwords("hash = \"bcrypt\"");
    // 73 bytes each, the last of which bcrypt would not read; and what it would read of both.
    let read = format!("Kettledrum 9 {}", "sails and ".repeat(6))[..72].to_owned();
    let (one, other) = (format!("{read}1"), format!("{read}2"));
    for (email, password, begin) in [("one@example.com", &one, BCRYPT_OF_LONG), ("read@example.com", &read, BCRYPT)] {
        enter(&gateway, email, password);
        let stored = gateway.accounts().password_of(email);
        assert!(stored.starts_with(begin), "{stored}");
        for wrong in [&one, &other, &read].into_iter().filter(|wrong| *wrong != password) {
            login(&gateway, email, wrong).refused(401, "Invalid credentials");
        }
        login(&gateway, email, password).expect(200);
    }
    // bcrypt would stop at a NUL, too.
    enter(&gateway, "nul@example.com", "Kettledrum 9\0sails");
    login(&gateway, "nul@example.com", "Kettledrum 9").refused(401, "Invalid credentials");
    login(&gateway, "nul@example.com", "Kettledrum 9\0kelps").refused(401, "Invalid credentials");
    login(&gateway, "nul@example.com", "Kettledrum 9\0sails").expect(200);
}

/// Hashes of [`IMPORTED`] by Python's bcrypt, argon2-cffi and hashlib.
#[rustfmt::skip]
const HASHES: &[(&str, &str)] = &[
    ("bcrypt-2a", "$2a$05$Z47eEhioIO8WLxeFpR7Yku2ulMPN6k5jUN6iEwWV3RKOanyaSsi4G"),
    ("bcrypt-2b", "$2b$05$dZx7BDmwLHGosEw0SMN0feH7sOLLGMyMUnjBrFydK0t5jzApLk1KK"),
    ("bcrypt-2y", "$2y$05$bHeUM3DM1dxhpUpzGpxSAOUXyz.K4Hcjadry0/rMBPBAj7d9I.WwG"),
    ("argon2id", "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4+/nfCig7o6EfMU3DiDDNIOAm0pTmQMgxBKPaDJbC9Y"),
    ("argon2i", "$argon2i$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$1c5dOwlKDq9rCSVJDVDJmHJWMS8e0RWus5D3mUUTO18"),
    ("argon2d", "$argon2d$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4OR0D0Ao4uiydOXvwjw0IShlUAH8gtpsOUDPstBVn9M"),
    ("scrypt", "$scrypt$ln=8,r=8,p=1$c29tZXNhbHQ$zvGDnk89CGV/dReupuCLI52GaHDTleF/TuUK3G5EViY"),
    ("pbkdf2", "$pbkdf2-sha256$1000$8PHy8/T19vf4.fr7/P3./w$NtLAa.b625fO0h3Sm2nfRgwk5jfsLqYdWQghB87qHLA"),
    ("pbkdf2-sha512", "$pbkdf2-sha512$1000$8PHy8/T19vf4.fr7/P3./w$s400nxUussewMD5vD5aPyYa2.ptcIcORaDFDuNJHSksqwnUjRfTx1NBFXpcmsg.NiEjvORB8w9mwpVD1LwucTw"),
];

fn import(gateway: &Gateway, users: &[(&str, &str)]) {
    let row = |(name, hash): &(&str, &str)| {
        let email = format!("{name}@example.com");
        json!({ "email": email, "verified": true, "password_hash": hash }).to_string() + "\n"
    };
    let file = gateway.directory().join("users.jsonl");
    std::fs::write(&file, users.iter().map(row).collect::<String>()).unwrap();
    let done = gateway.command(&["users", "import", file.to_str().unwrap()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a3_hashes_of_other_systems_log_in_and_are_made_again_as_configured() {
    // A hash of our own kind from before the setting was changed is made again like any other.
    let mut few = vec![HASHES[2], HASHES[3], HASHES[6]];
    let ours = projects().1;
    ours.create_user("ours@example.com", "viewer");
    let argon2id = ours.accounts().password_of("ours@example.com");
    few.push(("ours", &argon2id));
    for (hash, begin, users) in [("argon2id", ARGON2ID, HASHES), ("bcrypt", BCRYPT, &few)] {
        let (_origin, gateway) = with_passwords(&format!("hash = \"{hash}\""));
        import(&gateway, users);
        for (name, imported) in users {
            let email = format!("{name}@example.com");
            let password = if *name == "ours" { PASSWORD } else { IMPORTED };
            // Neither the import nor a wrong password makes it again.
            login(&gateway, &email, "Tr0ub4dor & 4").refused(401, "Invalid credentials");
            assert_eq!(gateway.accounts().password_of(&email), *imported);
            login(&gateway, &email, password).expect(200);
            let stored = gateway.accounts().password_of(&email);
            assert!(stored.starts_with(begin), "{hash}, {name}: {stored}");
            login(&gateway, &email, password).expect(200);
            assert_eq!(gateway.accounts().password_of(&email), stored, "{name}: it is made again once");
        }
        let shown = gateway.command(&["users", "show", "bcrypt-2y@example.com"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(if hash == "bcrypt" { "bcrypt" } else { "argon2" }), "{shown}");
    }
}

#[test]
fn a2_every_way_to_set_a_password_obeys_the_preset_and_makes_the_configured_hash() {
    let (_origin, gateway) = with_passwords("policy = \"nist\"\nhash = \"bcrypt\"");
    // Good enough for the other presets.
    const SHORT: &str = "Kelp-Sails-93";
    const RULE: &str = "Must be at least 15 characters";
    let stored = |email: &str| {
        let hash = gateway.accounts().password_of(email);
        assert!(hash.starts_with(BCRYPT), "{hash}");
        hash
    };
    let phrase = |number: u32| format!("kelp and sails and {number} kettledrums");
    let refused = |reply: Reply| assert!(reply.expect(400).text().contains(RULE));

    // Registering, by a program.
    assert_eq!(told(&gateway, SHORT), [RULE]);
    enter(&gateway, "owner@example.com", &phrase(0));
    let mut hashes = vec![stored("owner@example.com")];
    // Changing it.
    let pair = login(&gateway, "owner@example.com", &phrase(0)).expect(200).json();
    let change = |new: &str| {
        let body = json!({ "currentPassword": phrase(0), "newPassword": new });
        let client = gateway.client();
        client.post("/auth/change-password").bearer(pair["accessToken"].as_str().unwrap()).json(&body).send()
    };
    refused(change(SHORT));
    change(&phrase(1)).expect(200);
    hashes.push(stored("owner@example.com"));
    // By a mailed link, as a program and as its page does.
    let link = |count: usize, former: &str| {
        post(&gateway, "/auth/forgot-password", &json!({ "email": "owner@example.com" })).expect(202);
        let mails = gateway.operator().await_mails("owner@example.com", count).into_iter();
        let mut links = mails.filter(|mail| mail.subject == "Set another password").map(|mail| mail.token());
        links.find(|token| token != former).unwrap()
    };
    let token = link(3, "");
    refused(post(&gateway, "/auth/reset-password", &json!({ "token": token, "password": SHORT })));
    post(&gateway, "/auth/reset-password", &json!({ "token": token, "password": phrase(2) })).expect(200);
    hashes.push(stored("owner@example.com"));
    let token = link(5, &token);
    let by_form = |password: &str| {
        let client = gateway.client();
        let form = format!("token={token}&password={}", password.replace(' ', "+"));
        let post = client.post("/auth/reset-password").header("Content-Type", "application/x-www-form-urlencoded");
        post.body(form.as_bytes()).send()
    };
    assert!(by_form(SHORT).expect(400).text().contains("must be at least 15 characters"));
    by_form(&phrase(3)).expect(303);
    hashes.push(stored("owner@example.com"));
    // By an operator, at the admin listener and at the command line.
    let desk = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    let ask = |target: &str, body: Value| desk.post(target).bearer(&gateway.operator().token).json(&body).send();
    refused(ask("/api/accounts", json!({ "email": "made@example.com", "password": SHORT })));
    let id = ask("/api/accounts", json!({ "email": "made@example.com", "password": phrase(4) })).expect(201).json();
    hashes.push(stored("made@example.com"));
    let target = format!("/api/accounts/{}/password", id["id"].as_str().unwrap());
    refused(ask(&target, json!({ "password": SHORT })));
    ask(&target, json!({ "password": phrase(5) })).expect(204);
    hashes.push(stored("made@example.com"));
    login(&gateway, "made@example.com", &phrase(5)).expect(200);
    let file = gateway.directory().join("password");
    let create = |password: &str| {
        std::fs::write(&file, password).unwrap();
        let file = file.to_str().unwrap();
        gateway.command(&["users", "create", "--email", "cli@example.com", "--password-file", file])
    };
    let short = create(SHORT);
    assert_eq!(short.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&short.stderr).contains("15 characters"), "{short:?}");
    assert!(create(&phrase(6)).status.success());
    hashes.push(stored("cli@example.com"));
    let all = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "each is another");
    // One that is made at random obeys whatever is configured.
    let drawn = gateway.command(&["users", "create", "--email", "drawn@example.com"]);
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    stored("drawn@example.com");
}
