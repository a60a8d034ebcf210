//! Whether a proxy does what its workload means, before anybody looks at its time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::peer::{SECURITY_HEADERS, Setup};
use super::tokens::{self, Tokens};
use super::upstream::LARGE;

/// Asks what the setup must allow and refuse; the first wrong answer is the error.
pub(crate) fn setup(setup: Setup, proxy: SocketAddr, tokens: &Tokens) -> Result<(), String> {
    match setup {
        Setup::Bare => {
            expect("a GET", &ask(proxy, "GET", "/api/item", "", "")?, 200)?;
            let large = ask(proxy, "GET", "/api/large", "", "")?;
            expect("a large GET", &large, 200)?;
            if large.len() < LARGE {
                return Err(format!("a large GET was answered with only {} bytes", large.len()));
            }
            expect("a POST", &ask(proxy, "POST", "/api/item", "", &"x".repeat(10 * 1024))?, 200)
        }
        Setup::Defended => defended(proxy, tokens),
        Setup::Flood => {
            let body = r#"{"email":"somebody@example.com","password":"Wrong-password-1"}"#;
            let mut answer = String::new();
            for _ in 0..8 {
                answer = ask(proxy, "POST", "/auth/login", "Content-Type: application/json\r\n", body)?;
            }
            expect("the eighth login", &answer, 429)?;
            let lower = answer.to_ascii_lowercase();
            if lower.contains("application/problem+json") && lower.contains("too many login attempts") {
                Ok(())
            } else {
                Err(format!("the eighth login was answered without a problem+json body:\n{answer}"))
            }
        }
    }
}

fn defended(proxy: SocketAddr, tokens: &Tokens) -> Result<(), String> {
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let valid = tokens.sign(7, &[])?;
    let mut forged = valid.clone();
    // The last character of a signature of 256 bytes carries padding bits; the one before it is signature alone.
    let at = forged.len() - 2;
    let other = if forged.as_bytes()[at] == b'A' { "B" } else { "A" };
    forged.replace_range(at..=at, other);
    let expired = tokens.sign(7, &[("exp", json!(tokens::now() - 3600)), ("iat", json!(tokens::now() - 7200))])?;
    for (what, header, status) in [
        ("no token", String::new(), 401),
        ("an expired token", bearer(&expired), 401),
        ("a forged signature", bearer(&forged), 401),
        ("another audience", bearer(&tokens.sign(7, &[("aud", json!("elsewhere"))])?), 401),
        ("another issuer", bearer(&tokens.sign(7, &[("iss", json!("https://evil.example"))])?), 401),
        ("another role", bearer(&tokens.sign(7, &[("role", json!("viewer"))])?), 403),
        ("a valid token", bearer(&valid), 200),
    ] {
        expect(what, &ask(proxy, "GET", "/api/item", &header, "")?, status)?;
    }
    let spoofed = format!("{}X-User-Id: somebody-else\r\nx-user-role: admin\r\n", bearer(&valid));
    let answer = ask(proxy, "GET", "/api/seen", &spoofed, "")?;
    if !answer.contains("user=user-0000007;role=editor;") {
        return Err(format!("the upstream was told another identity than the token's:\n{answer}"));
    }
    let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
    for (name, _) in SECURITY_HEADERS {
        if !head.contains(&format!("\r\n{}:", name.to_ascii_lowercase())) {
            return Err(format!("an answer lacks {name}:\n{head}"));
        }
    }
    Ok(())
}

pub(super) fn expect(what: &str, answer: &str, status: u16) -> Result<(), String> {
    if answer.split(' ').nth(1) == Some(&status.to_string()) {
        return Ok(());
    }
    let line = answer.lines().next().unwrap_or("nothing");
    Err(format!("{what} must be answered with {status}, and was with \"{line}\""))
}

pub(super) fn ask(proxy: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{method} {path}: {error}");
    let mut stream = TcpStream::connect(proxy).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {proxy}\r\nConnection: close\r\n{headers}{length}\r\n{body}");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    // Not everybody closes when asked to, so the end is where the answer says it is.
    while !is_whole(&answer) {
        match stream.read(&mut piece).map_err(failed)? {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether an answer has come to the end that its head tells.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) => body.len() >= length,
        None => head.contains("transfer-encoding: chunked") && body.ends_with("0\r\n\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_is_where_its_head_says() {
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n"));
    }
}
