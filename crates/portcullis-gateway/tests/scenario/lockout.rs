//! Account lockout that a stranger cannot use against the owner (L13). Every client of these tests has an address of its
//! own, so that the limit by address never speaks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Client, Reply};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

pub(crate) const PUBLIC_URL: &str = "https://api.example.com";
pub(crate) const CEO: &str = "ceo@example.com";
pub(crate) const OTHER: &str = "Other-Horse-43";
pub(crate) const WRONG: &str = "Wrong-password-1";
pub(crate) const REFUSED: &str = "Too many login attempts. Try again in 15 minutes.";
const SUBJECT: &str = "Wrong passwords were tried for your account";

pub(crate) fn house() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with(PROJECT_ROUTES).start();
    gateway.create_user(CEO, "viewer");
    (origin, gateway)
}

/// A login from an address that nobody has used.
pub(crate) fn login(gateway: &Gateway, email: &str, password: &str, device: Option<&str>) -> Reply {
    let mut body = json!({ "email": email, "password": password });
    if let Some(device) = device {
        body["deviceToken"] = device.into();
    }
    gateway.client().post("/auth/login").json(&body).send()
}

/// What the device of a login, a reset or a letter is known by from now on.
pub(crate) fn device(reply: &Reply) -> String {
    let token = reply.json()["deviceToken"].as_str().unwrap_or_else(|| panic!("no token: {}", reply.text())).to_owned();
    assert!(reply.headers("set-cookie").is_empty(), "a body holds it, and no cookie");
    token
}

/// Wrong passwords from ever new addresses, until strangers are refused.
pub(crate) fn exhaust(gateway: &Gateway, email: &str) {
    for _ in 0..5 {
        login(gateway, email, WRONG, None).refused(401, "Invalid credentials");
    }
    is_locked(gateway, email, None);
}

fn is_locked(gateway: &Gateway, email: &str, device: Option<&str>) {
    for password in [WRONG, PASSWORD, OTHER] {
        let refused = login(gateway, email, password, device);
        assert_eq!(refused.status, 429, "{password}: {}", refused.text());
    }
}

pub(crate) fn notices(gateway: &Gateway, email: &str) -> Vec<String> {
    let mails = gateway.operator().mails(email);
    mails.into_iter().filter(|mail| mail.subject == SUBJECT).map(|mail| mail.token()).collect()
}

pub(crate) fn post(gateway: &Gateway, target: &str, body: &Value) -> Reply {
    gateway.client().post(target).json(body).send()
}

#[test]
fn l13_a_stranger_with_ever_new_addresses_guesses_five_times_and_the_owner_goes_on() {
    let (_origin, gateway) = house();
    let known = device(&login(&gateway, CEO, PASSWORD, None).expect(200));
    exhaust(&gateway, CEO);
    let refused = login(&gateway, CEO, WRONG, None).refused(429, REFUSED);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((880..=900).contains(&wait), "{wait}");
    let body = refused.json();
    assert_eq!((&body["limit"], &body["remaining"], &body["status"]), (&json!(5), &json!(0), &json!(429)), "{body}");
    assert!(body["resetAt"].as_str().unwrap().ends_with('Z'), "{body}");
    assert!(refused.header("cache-control").unwrap().contains("no-store"));

    // However long the siege: the owner mistypes, and gets in where they have been before.
    for _ in 0..20 {
        login(&gateway, CEO, WRONG, None).expect(429);
    }
    login(&gateway, CEO, WRONG, Some(&known)).refused(401, "Invalid credentials");
    let next = device(&login(&gateway, CEO, PASSWORD, Some(&known)).expect(200));
    assert_ne!(next, known, "a copy of the former token shares no pool with the device");
    login(&gateway, CEO, PASSWORD, Some(&next)).expect(200);
    // A stranger's refusals push nothing: what was tried comes back a window after it was tried.
    gateway.operator().advance("15m");
    login(&gateway, CEO, PASSWORD, None).expect(200);
}

#[test]
fn l13_a_known_device_has_an_allowance_of_its_own_and_no_more() {
    let (_origin, gateway) = house();
    let known = device(&login(&gateway, CEO, PASSWORD, None).expect(200));
    let other = device(&login(&gateway, CEO, PASSWORD, None).expect(200));
    // Whoever stole a device's token guesses five times, too.
    for _ in 0..5 {
        login(&gateway, CEO, WRONG, Some(&known)).refused(401, "Invalid credentials");
    }
    login(&gateway, CEO, PASSWORD, Some(&known)).refused(429, REFUSED);
    // Strangers and the owner's other device have spent nothing.
    login(&gateway, CEO, PASSWORD, Some(&other)).expect(200);
    for _ in 0..4 {
        login(&gateway, CEO, WRONG, None).expect(401);
    }
    login(&gateway, CEO, PASSWORD, None).expect(200);
    gateway.operator().advance("15m");
    login(&gateway, CEO, PASSWORD, Some(&known)).expect(200);
}

#[test]
fn l13_a_device_proves_nobody_and_is_worth_nothing_to_another_account() {
    let (_origin, gateway) = house();
    gateway.create_user("eve@example.com", "viewer");
    let eves = device(&login(&gateway, "eve@example.com", PASSWORD, None).expect(200));
    let mine = device(&login(&gateway, CEO, PASSWORD, None).expect(200));
    exhaust(&gateway, CEO);
    let last = mine.len() - 1;
    let turned = if mine.ends_with('A') { "B" } else { "A" };
    let forged = [
        eves.clone(),
        format!("{}{turned}", &mine[..last]),
        mine[..last].to_owned(),
        mine.to_lowercase(),
        "A".repeat(mine.len()),
        format!("{eves}.{}", "A".repeat(mine.len())),
        String::new(),
        "A".repeat(8_000),
    ];
    for token in &forged {
        is_locked(&gateway, CEO, Some(token));
    }
    // It stands in for no password and opens nothing.
    for header in ["Authorization", "X-API-Key", "Cookie"] {
        let value = match header {
            "Authorization" => format!("Bearer {mine}"),
            "Cookie" => format!("__Host-portcullis_device={mine}; __Host-portcullis_session={mine}"),
            _ => mine.clone(),
        };
        assert_eq!(gateway.client().get("/projects").header(header, &value).send().status, 401, "{header}");
    }
    post(&gateway, "/auth/login", &json!({ "email": CEO, "password": "", "deviceToken": mine })).expect(401);
    post(&gateway, "/auth/login", &json!({ "email": CEO, "deviceToken": mine })).expect(400);
    post(&gateway, "/auth/refresh", &json!({ "refreshToken": mine })).expect(401);
    login(&gateway, CEO, PASSWORD, Some(&mine)).expect(200);
}

#[test]
fn l13_a_device_is_forgotten_after_ninety_days() {
    let (_origin, gateway) = house();
    let known = device(&login(&gateway, CEO, PASSWORD, None).expect(200));
    gateway.operator().advance("89d");
    exhaust(&gateway, CEO);
    login(&gateway, CEO, PASSWORD, Some(&known)).expect(200);
    gateway.operator().advance("1d");
    exhaust(&gateway, CEO);
    is_locked(&gateway, CEO, Some(&known));
}

#[test]
fn l13_a_new_password_forgets_every_device_and_knows_the_one_that_set_it() {
    let (_origin, gateway) = house();
    let first = login(&gateway, CEO, PASSWORD, None).expect(200);
    let access = first.json()["accessToken"].as_str().unwrap().to_owned();
    let change = json!({ "currentPassword": PASSWORD, "newPassword": OTHER });
    let changed = gateway.client().post("/auth/change-password").bearer(&access).json(&change).send().expect(200);
    exhaust(&gateway, CEO);
    is_locked(&gateway, CEO, Some(&device(&first)));
    login(&gateway, CEO, OTHER, Some(&device(&changed))).expect(200);

    // A reset by the mailed link is the owner's way in from anywhere, in the middle of the siege.
    post(&gateway, "/auth/forgot-password", &json!({ "email": CEO })).expect(202);
    let token = eventually("the link", Duration::from_secs(5), || {
        let mails = gateway.operator().mails(CEO);
        mails.iter().find(|mail| mail.subject == "Set another password").map(super::support::operator::Mail::token)
    });
    let reset = json!({ "token": token, "password": PASSWORD });
    let known = device(&post(&gateway, "/auth/reset-password", &reset).expect(200));
    exhaust(&gateway, CEO);
    is_locked(&gateway, CEO, Some(&device(&changed)));
    login(&gateway, CEO, PASSWORD, Some(&known)).expect(200);
}

#[test]
fn l13_of_fifty_wrong_passwords_at_once_five_are_heard() {
    let (_origin, gateway) = house();
    let known = device(&login(&gateway, CEO, PASSWORD, None).expect(200));
    let clients: Vec<Client> = (0..50).map(|_| gateway.client()).collect();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guess = |client: &Client| {
            let body = json!({ "email": CEO, "password": WRONG });
            client.post("/auth/login").json(&body).send().status
        };
        let threads: Vec<_> = clients.iter().map(|client| scope.spawn(move || guess(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|told| **told == status).count();
    assert_eq!((count(401), count(429)), (5, 45), "{statuses:?}");
    login(&gateway, CEO, PASSWORD, Some(&known)).expect(200);
}

/// What can be told from an answer: its status, the names and values of its headers but those that name the request or the
/// time, and its body without the same.
fn told(reply: &Reply) -> (u16, Vec<(String, String)>, Value) {
    let passing = ["date", "x-request-id", "x-ratelimit-reset", "retry-after"];
    let mut headers: Vec<_> = reply.headers.clone();
    headers.retain(|(name, _)| !passing.contains(&name.as_str()));
    headers.sort();
    let mut body = reply.json();
    for member in ["request_id", "resetAt"] {
        body.as_object_mut().unwrap().remove(member);
    }
    (reply.status, headers, body)
}

#[test]
fn l13_no_answer_tells_which_address_has_an_account() {
    let (_origin, gateway) = house();
    post(&gateway, "/auth/register", &json!({ "email": "new@example.com", "password": OTHER })).expect(202);
    gateway.create_user("off@example.com", "viewer");
    let disabled = gateway.command(&["users", "disable", "off@example.com"]);
    assert!(disabled.status.success(), "{}", String::from_utf8_lossy(&disabled.stderr));
    // A device that is known to somebody else tells as little as none.
    gateway.create_user("eve@example.com", "viewer");
    let eves = device(&login(&gateway, "eve@example.com", PASSWORD, None).expect(200));
    let addresses = [CEO, "new@example.com", "off@example.com", "nobody@example.com"];
    let answers = addresses.map(|email| {
        let turn = |turn: usize| told(&login(&gateway, email, WRONG, (turn % 2 == 1).then_some(&eves)));
        (0..7).map(turn).collect::<Vec<_>>()
    });
    for (email, answers) in addresses.iter().zip(&answers) {
        let statuses: Vec<u16> = answers.iter().map(|(status, ..)| *status).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429], "{email}");
    }
    for (email, told) in addresses.iter().zip(&answers).skip(1) {
        assert_eq!(told, &answers[0], "{email} beside {CEO}");
    }
    // Only an owner gets a letter, and only one.
    gateway.operator().await_mails(CEO, 1);
    let letters = addresses.map(|email| notices(&gateway, email).len());
    assert_eq!(letters, [1, 0, 0, 0]);
}

/// How long the last wrong password that is heard takes, and the first that is not.
fn last_and_next(gateway: &Gateway, email: &str) -> [Duration; 2] {
    login(gateway, email, WRONG, None).expect(401);
    [401, 429].map(|status| {
        let start = Instant::now();
        login(gateway, email, WRONG, None).expect(status);
        start.elapsed()
    })
}

#[test]
fn l13_the_answer_that_exhausts_takes_as_long_for_a_stranger_as_for_an_owner() {
    let origin = Origin::echo();
    let few = "[identity.lockout]\nattempts = 2\nper_day = 1000\n";
    let gateway = Setup::before(&origin).with(few).start();
    gateway.create_user(CEO, "viewer");
    // What else the machine does passes; a difference that the code makes is there every time.
    let alike = (0..4).any(|attempt| {
        let mut times: [Vec<[Duration; 2]>; 2] = Default::default();
        for turn in 0..7 {
            times[0].push(last_and_next(&gateway, CEO));
            times[1].push(last_and_next(&gateway, &format!("nobody{attempt}-{turn}@example.com")));
            gateway.operator().advance("15m");
        }
        let median = |of: usize, which: usize| {
            let mut times: Vec<Duration> = times[of].iter().map(|pair| pair[which]).collect();
            times.sort();
            times[times.len() / 2].as_secs_f64()
        };
        eprintln!("{times:?}");
        // A refusal hashes nothing, and a letter that is written or not makes no difference.
        (0.6..1.7).contains(&(median(0, 0) / median(1, 0))) && median(0, 1) < median(0, 0) / 2.0
    });
    assert!(alike, "four times out of four");
}

#[test]
fn l13_the_owner_is_told_once_and_the_letter_lets_a_new_device_in() {
    let (_origin, gateway) = house();
    exhaust(&gateway, CEO);
    gateway.operator().await_mails(CEO, 1);
    for _ in 0..10 {
        login(&gateway, CEO, WRONG, None).expect(429);
    }
    let [link] = notices(&gateway, CEO).try_into().expect("one letter");
    // A scanner opens the link; nothing happens until the button is pressed, and that works once.
    let path = format!("/auth/confirm-device?token={link}");
    let page = gateway.client().get(&path).header("Accept", "text/html").send().expect(200).text();
    assert!(page.contains("Let this device sign in") && page.contains("method=\"post\""), "{page}");
    is_locked(&gateway, CEO, None);
    let known = device(&post(&gateway, "/auth/confirm-device", &json!({ "token": link })).expect(200));
    post(&gateway, "/auth/confirm-device", &json!({ "token": link })).refused(400, "Invalid or expired link");
    post(&gateway, "/auth/reset-password", &json!({ "token": link, "password": OTHER })).expect(400);
    // It still asks for the password.
    login(&gateway, CEO, WRONG, Some(&known)).refused(401, "Invalid credentials");
    login(&gateway, CEO, PASSWORD, Some(&known)).expect(200);
    is_locked(&gateway, CEO, None);

    // A link to another purpose makes no device known.
    post(&gateway, "/auth/forgot-password", &json!({ "email": CEO })).expect(202);
    let mails = gateway.operator().await_mails(CEO, 2);
    let reset = mails.iter().find(|mail| mail.subject == "Set another password").unwrap().token();
    post(&gateway, "/auth/confirm-device", &json!({ "token": reset })).expect(400);

    let metrics = gateway.operator().metrics();
    for line in ["portcullis_events_total{kind=\"logins_exhausted\"} 1", "portcullis_lockout_keys "] {
        assert!(metrics.lines().any(|shown| shown.starts_with(line)), "{line}:\n{metrics}");
    }
    let hits = metrics.lines().find(|line| line.starts_with("portcullis_limit_hits_total{limit=\"lockout\"}"));
    assert!(hits.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
}

#[test]
fn l13_an_operator_lets_strange_devices_try_again_at_once() {
    let (_origin, gateway) = house();
    exhaust(&gateway, CEO);
    exhaust(&gateway, "cfo@example.com");
    let said = gateway.command(&["users", "unlock", CEO]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    eventually("the running process has heard of it", Duration::from_secs(2), || {
        (login(&gateway, CEO, PASSWORD, None).status == 200).then_some(())
    });
    is_locked(&gateway, "cfo@example.com", None);
    // Five more are five, and no more.
    exhaust(&gateway, CEO);
}

#[test]
fn l13_the_limit_by_address_stands_beside_it() {
    let (_origin, gateway) = house();
    let client = gateway.client();
    for number in 0..5 {
        let body = json!({ "email": format!("nobody{number}@example.com"), "password": WRONG });
        client.post("/auth/login").json(&body).send().expect(401);
    }
    let body = json!({ "email": CEO, "password": PASSWORD });
    client.post("/auth/login").json(&body).send().refused(429, REFUSED);
    // What an address may not try is not charged to the account.
    for _ in 0..20 {
        client.post("/auth/login").json(&json!({ "email": CEO, "password": WRONG })).send().expect(429);
    }
    login(&gateway, CEO, PASSWORD, None).expect(200);
}

#[test]
fn l13_an_operator_chooses_the_numbers_or_none() {
    let origin = Origin::echo();
    let table = "[identity.lockout]\nattempts = 2\nwindow = \"1h\"\nnotice = false\n";
    let gateway = Setup::before(&origin).with(table).start();
    gateway.create_user(CEO, "viewer");
    for _ in 0..2 {
        login(&gateway, CEO, WRONG, None).expect(401);
    }
    login(&gateway, CEO, PASSWORD, None).refused(429, "Too many login attempts. Try again in 60 minutes.");
    assert!(gateway.operator().mails(CEO).is_empty());

    let gateway = Setup::before(&origin).with("[identity.lockout]\nenabled = false\n").start();
    gateway.create_user(CEO, "viewer");
    for _ in 0..8 {
        login(&gateway, CEO, WRONG, None).expect(401);
    }
    let reply = login(&gateway, CEO, PASSWORD, Some("a token from before")).expect(200);
    assert!(reply.json().get("deviceToken").is_none(), "{}", reply.text());
}
