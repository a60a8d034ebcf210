//! Full defence with every header, a nonce, CORS and CSRF, over bare proxying by the same binary in the same run.

use std::fs;
use std::process::Command;

use super::stage::{Line, Rounds, Running, Stage, request};
use super::{Measured, Options};
use crate::bench::check;
use crate::bench::figure::{Bar, Figure};
use crate::bench::peer::{AUDIENCE, ISSUER, ROLE, USER_QUOTA};
use crate::bench::tokens;
use crate::process::free_port;

const NOTE: &str = "\
W1 is bare proxying. Defended requests pass the route's role, a counted limit of the user, CORS and CSRF, and their answers carry \
the preset \"web\" with a nonce drawn for each, which the upstream is told. By bearer: 1,000 users' tokens, all known, with the \
`Origin` of a page that is listed. By cookie: eight sessions, each POST with `Origin`, its session's token in the header, and \
the two cookies that a browser sends along.";

/// The page whose requests are measured.
const PAGE: &str = "https://app.example.com";
const PUBLIC: &str = "https://api.example.com";
const EMAIL: &str = "somebody@example.com";
const PASSWORD: &str = "Walks-the-wall-4711";
/// Logins whose cookies are presented in turn.
const SESSIONS: usize = 8;
/// What is posted.
const BODY: &str = r#"{"name":"something"}"#;
const JSON: &str = "Content-Type: application/json\r\n";

pub(super) fn run(options: &Options, stage: &Stage) -> Result<Measured, String> {
    let rounds = measure(options, stage)?;
    let figure = |what, unit, bar, values| Figure { what, unit, bar, values };
    Ok(Measured {
        figures: vec![
            figure("CPU of bare proxying, GET (W1)", "µs", Bar::None, rounds.of("W1")),
            figure("all defences, GET by bearer with an Origin", "µs", Bar::None, rounds.of("defended by bearer")),
            figure("that over W1", "×", Bar::AtMost(1.2), rounds.times("defended by bearer", "W1")),
            figure("CPU of bare proxying, POST", "µs", Bar::None, rounds.of("W1, POST")),
            figure(
                "all defences, POST by cookie with its token",
                "µs",
                Bar::None,
                rounds.of("defended by cookie, POST"),
            ),
            figure(
                "that over the bare POST",
                "×",
                Bar::AtMost(1.2),
                rounds.times("defended by cookie, POST", "W1, POST"),
            ),
            figure("that over W1", "×", Bar::None, rounds.times("defended by cookie, POST", "W1")),
        ],
        notes: vec![NOTE.to_owned()],
    })
}

/// Lets a binary of ours serve a little of it.
pub(super) fn train(options: &Options, stage: &Stage) -> Result<(), String> {
    measure(options, stage).map(drop)
}

fn measure(options: &Options, stage: &Stage) -> Result<Rounds, String> {
    let bare = stage.gateway("headers-bare", BARE)?;
    let bearer = stage.gateway("headers-bearer", &format!("{}{}", by_bearer(stage), defence()))?;
    let cookie = by_cookie(stage)?;
    let bearers = bearers(stage, &bearer)?;
    let cookies = cookies(&cookie)?;
    let (get, post) = (request("GET", "/api/item", "", ""), request("POST", "/api/item", JSON, BODY));
    stage.measure(
        options,
        &[
            Line::plain("W1", &bare, &[get]),
            Line::plain("W1, POST", &bare, &[post]),
            Line::plain("defended by bearer", &bearer, &bearers),
            Line::plain("defended by cookie, POST", &cookie, &cookies),
        ],
    )
}

const BARE: &str = "[identity]\nenabled = false\n\n[limits]\npreset = \"none\"\n\n[routes]\notherwise = \"public\"\n\n\
                    [headers]\npreset = \"danger-off\"\n";

/// What the defended gateways share.
fn defence() -> String {
    format!(
        "[headers]\npreset = \"web\"\ncsp = \"default-src 'self'; script-src 'nonce-{{nonce}}'\"\n\n\
         [cors]\norigins = [\"{PAGE}\"]\ncredentials = true\nallow_headers = [\"Authorization\", \"Content-Type\"]\n\n\
         [csrf]\nmode = \"token\"\n\n\
         [[limit]]\nname = \"user\"\nkey = \"user\"\nquota = \"{USER_QUOTA} per minute\"\n\n\
         [[route]]\nmatch = \"/api/**\"\nroles = [\"{ROLE}\"]\n"
    )
}

fn by_bearer(stage: &Stage) -> String {
    format!(
        "[identity]\nenabled = false\n\n[[issuer]]\nname = \"bench\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
         pem_file = \"{}\"\nalgorithms = [\"RS256\"]\n\n[issuer.claims]\nroles = \"role\"\n\n[limits]\npreset = \"none\"\n\n",
        stage.room.public_key.display()
    )
}

/// A gateway with an account of its own.
fn by_cookie(stage: &Stage) -> Result<Running, String> {
    let (directory, listen) = (stage.fresh("headers-cookie")?, free_port()?);
    let tables = format!("[identity]\nregistration = false\n\n[limits]\npreset = \"none\"\n\n{}", defence());
    let file = stage.config(&directory, listen, &tables)?;
    let password = directory.join("password");
    fs::write(&password, PASSWORD).map_err(|error| format!("{}: {error}", password.display()))?;
    let mut create = Command::new(&stage.binary);
    create.args(["users", "create", "--email", EMAIL, "--role", ROLE, "--password-file"]).arg(&password);
    let output = create.arg("--config").arg(&file).output();
    let output = output.map_err(|error| format!("{}: {error}", stage.binary.display()))?;
    if !output.status.success() {
        return Err(format!("the account: {}", String::from_utf8_lossy(&output.stderr)));
    }
    stage.serve("headers-cookie", listen, &file)
}

/// The requests by bearer, after a look at whether they are defended.
fn bearers(stage: &Stage, running: &Running) -> Result<Vec<String>, String> {
    let file = stage.tokens.file(0..tokens::USERS)?;
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let headers: Vec<String> =
        text.lines().map(|token| format!("Origin: {PAGE}\r\nAuthorization: Bearer {token}\r\n")).collect();
    let first = headers.first().ok_or("no tokens were signed")?;
    let ask = |headers: &str| check::ask(running.address, "GET", "/api/item", headers, "");
    check::expect("no token", &ask("")?, 401)?;
    let (one, other) = (ask(first)?, ask(first)?);
    check::expect("a valid token", &one, 200)?;
    defended(&one, PAGE)?;
    if value(&one, "content-security-policy") == value(&other, "content-security-policy") {
        return Err("two answers carry one nonce".to_owned());
    }
    Ok(headers.iter().map(|headers| request("GET", "/api/item", headers, "")).collect())
}

/// Whether an answer carries what it must.
fn defended(answer: &str, page: &str) -> Result<(), String> {
    let wanted = [
        ("content-security-policy", "script-src 'nonce-"),
        ("strict-transport-security", "max-age=31536000"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("permissions-policy", "camera=()"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("access-control-allow-origin", page),
        ("access-control-allow-credentials", "true"),
        ("vary", "rigin"),
    ];
    match wanted.iter().find(|(name, part)| !value(answer, name).is_some_and(|value| value.contains(part))) {
        Some((name, _)) => Err(format!("an answer lacks {name}:\n{answer}")),
        None => Ok(()),
    }
}

/// The value of a header of an answer.
fn value<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The requests by cookie, after a look at whether they are defended.
fn cookies(running: &Running) -> Result<Vec<String>, String> {
    let sessions: Vec<(String, String)> = (0..SESSIONS).map(|_| login(running)).collect::<Result<_, _>>()?;
    let headers = |jar: &str, token: &str, origin: &str| {
        format!("{JSON}Origin: {origin}\r\nCookie: {jar}\r\nX-CSRF-Token: {token}\r\n")
    };
    let ask = |headers: &str| check::ask(running.address, "POST", "/api/item", headers, BODY);
    let (Some((jar, token)), Some((_, foreign))) = (sessions.first(), sessions.last()) else {
        return Err("nobody is logged in".to_owned());
    };
    check::expect("the token of another session", &ask(&headers(jar, foreign, PUBLIC))?, 403)?;
    check::expect("a token that is none", &ask(&headers(jar, "null", PUBLIC))?, 403)?;
    check::expect("a page of strangers", &ask(&headers(jar, token, "https://evil.example"))?, 403)?;
    let answer = ask(&headers(jar, token, PUBLIC))?;
    check::expect("the session's own token", &answer, 200)?;
    if value(&answer, "content-security-policy").is_none_or(|policy| !policy.contains("'nonce-")) {
        return Err(format!("an answer lacks its nonce:\n{answer}"));
    }
    Ok(sessions.iter().map(|(jar, token)| request("POST", "/api/item", &headers(jar, token, PUBLIC), BODY)).collect())
}

/// A session: the cookies that a browser presents, and its token.
fn login(running: &Running) -> Result<(String, String), String> {
    let body = serde_json::json!({ "email": EMAIL, "password": PASSWORD, "delivery": "cookie" }).to_string();
    let headers = format!("{JSON}Origin: {PUBLIC}\r\n");
    let answer = check::ask(running.address, "POST", "/auth/login", &headers, &body)?;
    check::expect("a login", &answer, 200)?;
    let set = |part: &str| {
        let lines = answer.lines().filter_map(|line| line.split_once(": "));
        let mut pairs = lines
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
            .filter_map(|(_, cookie)| cookie.split(';').next());
        let found = pairs.find(|pair| pair.split('=').next().is_some_and(|name| name.ends_with(part)));
        found.map(str::to_owned).ok_or_else(|| format!("a login set no cookie of {part}:\n{answer}"))
    };
    let pair = set("_csrf")?;
    let token = pair.split_once('=').map(|(_, token)| token.to_owned()).unwrap_or_default();
    Ok((format!("{}; {pair}", set("_access")?), token))
}
