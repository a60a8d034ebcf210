//! An API that answers what each request dictates: the tests of what is done to answers need every kind of them.

use std::io;

use crate::support::client::{Client, Reply};
use crate::support::origin::{Exchange, Origin};
use crate::support::process::Gateway;

/// What stands in answers and must not be told. Tests look for it in every byte.
pub(crate) const SECRET: &str = "s3cr3t";

/// The API: a request's `X-Answer` is the whole answer, with `|` for the ends of lines. Without a `Content-Length` or
/// `Transfer-Encoding` in it, the length of what follows the empty line is added.
pub(crate) fn origin() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let answer = exchange.seen.header("x-answer").unwrap_or("200 OK||").to_owned();
        dictate(exchange, &answer)
    })
}

fn dictate(exchange: &mut Exchange<'_>, answer: &str) -> io::Result<()> {
    let (head, body) = answer.split_once("||").unwrap_or((answer, ""));
    // The client may write only what a header can hold.
    let body = body.replace("\\n", "\n").replace("<big>", &SECRET.repeat(200_000));
    let body = body.replace('|', "\r\n");
    let mut head = format!("HTTP/1.1 {}\r\n", head.replace('|', "\r\n"));
    let lower = head.to_ascii_lowercase();
    if !lower.contains("content-length") && !lower.contains("transfer-encoding") && !lower.contains("connection: close")
    {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let body = if exchange.seen.method == "HEAD" { "" } else { &body };
    exchange.send(format!("{head}\r\n{body}"))?;
    if lower.contains("connection: close") || lower.contains("x-break: 1") {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}

/// A JSON answer with status 200.
pub(crate) fn ok(body: &str) -> String {
    format!("200 OK|Content-Type: application/json|ETag: \"e1\"||{body}")
}

/// Asks somebody's question, and dictates the answer.
pub(crate) fn ask(client: &Client, method: &str, target: &str, token: &str, answer: &str) -> Reply {
    client.request(method, target).bearer(token).header("X-Answer", answer).send()
}

/// All that a reply says but what differs between any two.
pub(crate) fn told(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let differs = |name: &str| ["date", "x-request-id"].contains(&name) || name.starts_with("x-ratelimit-");
    let headers = reply.headers.iter().filter(|(name, _)| !differs(name)).cloned();
    let id = reply.header("x-request-id").unwrap_or("none");
    (reply.status, headers.collect(), reply.text().replace(id, "ID"))
}

/// How often the gate has refused for a reason.
pub(crate) fn refusals(gateway: &Gateway, reason: &str) -> u64 {
    let metrics = gateway.operator().metrics();
    let wanted = format!("reason=\"{reason}\"");
    let line = metrics.lines().find(|line| line.contains("refus") && line.contains(&wanted));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {reason} in {metrics}"))
}
