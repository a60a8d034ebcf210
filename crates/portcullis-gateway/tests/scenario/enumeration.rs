//! No answer tells which addresses have an account: not by its status, its body, its headers or its time (A4, A6, A7). The
//! owner of the mailbox is told instead.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::PASSWORD;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// The endpoints that name an address, each with a body that is none of its owner's.
const ENDPOINTS: [&str; 4] = ["/auth/login", "/auth/register", "/auth/forgot-password", "/auth/resend-verification"];

/// What an address can be; none of them is used twice for an endpoint that changes it.
const STANDINGS: [&str; 4] = ["known", "unverified", "disabled", "unknown"];

fn body(target: &str, email: &str) -> Value {
    match target {
        "/auth/login" => json!({ "email": email, "password": "Wrong-password-1" }),
        "/auth/register" => json!({ "email": email, "password": "Another-password-1" }),
        _ => json!({ "email": email }),
    }
}

fn ask(client: &Client, target: &str, email: &str) -> Reply {
    client.post(target).json(&body(target, email)).send()
}

/// A gate without limits of its own, so that it can be asked often, and an address of each standing; the unknown one is
/// another for each number.
fn strangers() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with("[limits]\npreset = \"none\"\n").start();
    for email in ["known@example.com", "disabled@example.com"] {
        gateway.create_user(email, "viewer");
    }
    assert!(gateway.command(&["users", "disable", "disabled@example.com"]).status.success());
    let unverified = json!({ "email": "unverified@example.com", "password": PASSWORD });
    gateway.client().post("/auth/register").json(&unverified).send().expect(202);
    gateway.operator().await_mails("unverified@example.com", 1);
    (origin, gateway)
}

fn address(standing: &str, number: usize) -> String {
    if standing == "unknown" { format!("unknown{number}@example.com") } else { format!("{standing}@example.com") }
}

/// What whoever asks can see of an answer, but for the name of the request and the time of day.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let headers = reply.headers.iter().filter(|(name, _)| name != "date" && name != "x-request-id").cloned();
    let text = reply.text().replace(reply.header("x-request-id").unwrap(), "?");
    (reply.status, headers.collect(), text)
}

#[test]
fn a6_no_answer_tells_the_standing_of_an_address_and_its_owner_is_mailed() {
    let (_origin, gateway) = strangers();
    for (number, target) in ENDPOINTS.into_iter().enumerate() {
        let unknown = seen(&ask(&gateway.client(), target, &address("unknown", number)));
        assert_eq!(unknown.0, if target == "/auth/login" { 401 } else { 202 }, "{target}");
        for standing in STANDINGS {
            // However often it is asked, and however the address is written.
            for email in [address(standing, number + 10), address(standing, number + 10).to_uppercase()] {
                assert_eq!(seen(&ask(&gateway.client(), target, &email)), unknown, "{target}: {email}");
            }
        }
    }
    let subjects = |email: &str| -> Vec<String> {
        let mut subjects: Vec<String> = gateway.operator().mails(email).into_iter().map(|mail| mail.subject).collect();
        subjects.sort();
        subjects
    };
    let (confirm, known, reset) =
        ("Confirm your e-mail address", "You already have an account", "Set another password");
    gateway.operator().await_mails("known@example.com", 6);
    // Registered twice, forgotten twice; asked for another letter, with what a stranger has registered.
    assert_eq!(subjects("known@example.com"), [reset, reset, known, known, known, known]);
    assert_eq!(subjects("disabled@example.com"), [known, known, known, known]);
    // The owner's and two of strangers, each of which is mailed again.
    let unverified = subjects("unverified@example.com");
    assert!(unverified.len() > 3 && unverified.iter().all(|subject| subject == confirm), "{unverified:?}");
    assert_eq!(subjects(&address("unknown", 11)), [confirm, confirm], "registered");
    for number in [0, 2, 3, 10, 12, 13] {
        assert!(subjects(&address("unknown", number)).is_empty(), "{number}");
    }
}

#[test]
fn a6_an_address_without_an_account_is_asked_for_by_a_page_like_one_with() {
    let (_origin, gateway) = strangers();
    for (target, fields) in [
        ("/auth/login", "password=Wrong-password-1"),
        ("/auth/register", "password=Another-password-1"),
        ("/auth/forgot-password", ""),
    ] {
        let shown = STANDINGS.map(|standing| {
            let email = address(standing, 20);
            let client = gateway.client();
            let page = client.get(target).header("Accept", "text/html").send().expect(200);
            let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
            let page = page.text();
            let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("{page}"));
            let token = rest.split('"').next().unwrap();
            let form = format!("csrf={token}&email={}&{fields}", email.replace('@', "%40"));
            let reply = client
                .post(target)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .header("Origin", &format!("http://{}", gateway.listen))
                .header("Cookie", &cookie)
                .body(form.as_bytes())
                .send();
            // The page shows the address that was typed, a form with a token of its own and a style with a nonce.
            let mut text = reply.text().replace(&email, "?");
            for begin in ["name=\"csrf\" value=\"", "nonce=\""] {
                if let Some((_, rest)) = text.clone().split_once(begin) {
                    text = text.replace(rest.split('"').next().unwrap(), "?");
                }
            }
            let names: Vec<String> = reply.headers.iter().map(|(name, _)| name.clone()).collect();
            (reply.status, names, reply.header("location").map(str::to_owned), text)
        });
        assert!(shown[0].0 != 403 && shown[0].0 < 500, "{target}: {shown:?}");
        for other in &shown[1..] {
            assert_eq!(*other, shown[0], "{target}");
        }
    }
}

/// How long answers take for each standing: medians of many, asked in turns, so that what else the machine does meets all.
fn medians(gateway: &Gateway, target: &str, first: usize) -> [Duration; STANDINGS.len()] {
    const TURNS: usize = 11;
    let mut times = STANDINGS.map(|_| Vec::with_capacity(TURNS));
    let client = gateway.client();
    for turn in 0..TURNS {
        for (place, standing) in STANDINGS.into_iter().enumerate() {
            let email = address(standing, first + turn);
            let begun = Instant::now();
            let reply = ask(&client, target, &email);
            times[place].push(begun.elapsed());
            assert!(matches!(reply.status, 202 | 401), "{target}: {}", reply.text());
        }
    }
    times.map(|mut times| {
        times.sort();
        times[TURNS / 2]
    })
}

#[test]
fn a6_no_answer_tells_the_standing_of_an_address_by_its_time() {
    // Without its hash an answer would come in a tenth of the time, with one of two in half of it; that of a write to the
    // disk is shorter than what a busy machine adds.
    const RATIO: f64 = 1.6;
    const NOISE: Duration = Duration::from_millis(8);
    let (_origin, gateway) = strangers();
    for target in ENDPOINTS {
        // What else the machine does passes; a difference that the code makes is there every time.
        let alike = (0..4).any(|attempt| {
            let medians = medians(&gateway, target, 100 + attempt * 50);
            let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
            eprintln!("{target}: {medians:?} ({STANDINGS:?})");
            *most < *least + NOISE || most.as_secs_f64() < least.as_secs_f64() * RATIO
        });
        assert!(alike, "{target} takes longer for some than for others, four times out of four");
    }
}
