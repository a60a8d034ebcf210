//! The two collections: how they are decoded, and how answers to them are counted.

use std::path::Path;

use serde_json::Value;

/// One difficult request.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Whether every server must serve it.
    pub(crate) must_pass: bool,
}

impl Case {
    /// Whether its answer has no body.
    pub(crate) fn is_head(&self) -> bool {
        self.bytes.starts_with(b"HEAD ")
    }
}

/// Every case of both collections, and those that were cut or changed in the recording, made anew.
pub(crate) fn load(directory: &Path) -> Vec<Case> {
    let read = |name: &str| -> Value {
        let file = directory.join(name);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    let text = |case: &Value, member: &str| case[member].as_str().unwrap_or_default().to_owned();
    let mut cases = Vec::new();
    for case in read("http11probe_143.json")["cases"].as_array().expect("a list of cases") {
        let (id, expected) = (text(case, "id"), text(case, "expected"));
        cases.push(Case {
            bytes: latin1(&text(case, "raw_request")),
            // A gate may know better than to pass on a question about the whole server.
            must_pass: matches!(expected.as_str(), "2xx" | "2xx + close") && id != "COMP-OPTIONS-STAR",
            name: id,
        });
    }
    for (index, case) in read("gunicorn_http1_requests.json")["cases"].as_array().expect("a list").iter().enumerate() {
        let name = format!("gunicorn {} {} #{index}", text(case, "verdict"), text(case, "name"));
        cases.push(Case { bytes: unescape(&text(case, "raw_escaped")), must_pass: false, name });
    }
    cases.extend(made_anew());
    cases
}

/// The recording cut long inputs to 8 KiB and wrote `?` for what is not ASCII; these are as they were described.
fn made_anew() -> Vec<Case> {
    let head = "GET / HTTP/1.1\r\nHost: localhost:8080\r\n";
    let long = |letter: &str| letter.repeat(100 * 1024);
    let many: String = (0..10_000).map(|number| format!("X-H-{number}: value\r\n")).collect();
    let chunked = "POST / HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = [
        ("LONG-URL", format!("GET /{} HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", long("A")).into_bytes()),
        ("LONG-HEADER-VALUE", format!("{head}X-Big: {}\r\n\r\n", long("B")).into_bytes()),
        ("MANY-HEADERS", format!("{head}{many}\r\n").into_bytes()),
        ("LONG-HEADER-NAME", format!("{head}{}: value\r\n\r\n", long("A")).into_bytes()),
        ("LONG-METHOD", format!("{} / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", long("A")).into_bytes()),
        ("CHUNK-EXT-64K", format!("{chunked}5;ext={}\r\nhello\r\n0\r\n\r\n", "a".repeat(65_536)).into_bytes()),
        ("NON-ASCII-HEADER-NAME", [head.as_bytes(), b"X-T\xc3\xabst: value\r\n\r\n"].concat()),
        ("NON-ASCII-URL", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n".to_vec()),
        ("URL-OVERLONG-UTF8", b"GET /\xc0\xaf HTTP/1.1\r\nHost: localhost:8080\r\n\r\n".to_vec()),
    ];
    whole.into_iter().map(|(name, bytes)| Case { name: format!("whole {name}"), bytes, must_pass: false }).collect()
}

/// Code points as the bytes they stand for.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
}

/// Physical line ends are layout; `\r \n \t \0 \xNN` are bytes.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = latin1(&text.replace('\n', ""));
    let mut plain = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        let (byte, length) = match &bytes[index..] {
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', b'0', ..] => (0, 2),
            [b'\\', b'x', high, low, ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit");
                (u8::try_from(digit(*high) * 16 + digit(*low)).expect("two hex digits are a byte"), 4)
            }
            [byte, ..] => (*byte, 1),
            [] => unreachable!("the loop ends before"),
        };
        plain.push(byte);
        index += length;
    }
    plain
}

/// The final answers that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) statuses: Vec<u16>,
    /// Whether another answer has begun and is not whole.
    pub(crate) unfinished: bool,
}

impl Answers {
    /// Reads what came back. `ended`: the connection has closed, which ends a body without a length.
    pub(crate) fn read(bytes: &[u8], head: bool, ended: bool) -> Result<Self, String> {
        let mut statuses = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(Self { statuses, unfinished: true });
            };
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            let mut lines = text.split("\r\n");
            let status_line = lines.next().unwrap_or_default();
            let status = status_line
                .strip_prefix("HTTP/1.1 ")
                .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
                .and_then(|rest| rest.get(..3)?.parse::<u16>().ok())
                .ok_or_else(|| format!("the status line {status_line:?}"))?;
            let mut length = None;
            let mut chunked = false;
            let mut hardened = false;
            for line in lines {
                let (name, value) = line.split_once(':').ok_or_else(|| format!("the field {line:?}"))?;
                match name.to_ascii_lowercase().as_str() {
                    "content-length" if length.is_none() => {
                        length = Some(value.trim().parse::<usize>().map_err(|_| format!("the length {value:?}"))?);
                    }
                    "content-length" => return Err("two lengths".to_owned()),
                    "transfer-encoding" => chunked = true,
                    "x-content-type-options" => hardened = true,
                    _ => {}
                }
            }
            rest = &rest[end + 4..];
            if (100..200).contains(&status) {
                continue;
            }
            if !hardened {
                return Err(format!("a {status} without the headers of every answer"));
            }
            let after = if head || matches!(status, 204 | 304) {
                Some(rest)
            } else if chunked && length.is_none() {
                after_chunks(rest)?
            } else if chunked {
                return Err("a length beside chunks".to_owned());
            } else if let Some(length) = length {
                rest.get(length..)
            } else {
                ended.then_some(&rest[rest.len()..])
            };
            match after {
                Some(after) => {
                    statuses.push(status);
                    rest = after;
                }
                None => return Ok(Self { statuses, unfinished: true }),
            }
        }
        Ok(Self { statuses, unfinished: false })
    }
}

/// What follows a chunked body; `None` while it is not whole.
fn after_chunks(mut rest: &[u8]) -> Result<Option<&[u8]>, String> {
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(&text, 16).map_err(|_| format!("the chunk size {text:?}"))?;
        let Some(after) = rest.get(end + 2 + size..) else { return Ok(None) };
        match after {
            [b'\r', b'\n', after @ ..] if size > 0 => rest = after,
            _ if size > 0 => return Ok(None),
            _ => {
                rest = after;
                break;
            }
        }
    }
    // Trailers end with an empty line.
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        rest = &rest[end + 2..];
        if end == 0 {
            return Ok(Some(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_layout_is_dropped() {
        assert_eq!(unescape("a\\r\\n\nb\\t\\0\\x7Fc\u{c3}"), b"a\r\nb\t\0\x7fc\xc3");
    }

    #[test]
    fn answers_are_counted() {
        let hard = "X-Content-Type-Options: nosniff\r\n";
        let one = format!("HTTP/1.1 200 OK\r\n{hard}Content-Length: 2\r\n\r\nab");
        let chunked = format!("HTTP/1.1 404 No\r\n{hard}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
        let both = format!("HTTP/1.1 100 Continue\r\n\r\n{one}{chunked}");
        let read = |text: &str| Answers::read(text.as_bytes(), false, false);
        assert_eq!(read(&both), Ok(Answers { statuses: vec![200, 404], unfinished: false }));
        assert_eq!(read(&both[..both.len() - 1]), Ok(Answers { statuses: vec![200], unfinished: true }));
        assert_eq!(read("HTTP/1.1 100 Continue\r\n\r\n"), Ok(Answers { statuses: vec![], unfinished: false }));
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err(), "every answer is hardened");
        assert!(read("nonsense\r\n\r\n").is_err());
        assert!(read(&format!("{one}surplus\r\n\r\n")).is_err());
    }
}
