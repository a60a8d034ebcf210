//! A reader of HTTP/1.1 requests that forgives nothing: what an upstream could misread is an error here, even where
//! RFC 9112 leaves a server the choice to put up with it.

/// What the bytes of one connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Requests that are there from the first byte to the last.
    pub(crate) complete: usize,
    /// Whether a beginning of another request follows that is valid as far as it goes.
    pub(crate) broken_off: bool,
}

/// Why bytes are not a sequence of valid and unambiguous requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsafe(pub(crate) String);

/// Either the input ended too early, or it is wrong.
enum Fault {
    End,
    Wrong(String),
}

type Parsed<T> = Result<T, Fault>;

/// Reads everything that one connection sent.
pub(crate) fn read(bytes: &[u8]) -> Result<Stream, Unsafe> {
    let mut complete = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        match request(rest) {
            Ok(after) => {
                complete += 1;
                rest = after;
            }
            Err(Fault::End) => return Ok(Stream { complete, broken_off: true }),
            Err(Fault::Wrong(why)) => return Err(Unsafe(format!("request {}: {why}", complete + 1))),
        }
    }
    Ok(Stream { complete, broken_off: false })
}

fn wrong<T>(why: impl Into<String>) -> Parsed<T> {
    Err(Fault::Wrong(why.into()))
}

/// How a body is delimited (RFC 9112 §6.3).
enum Framing {
    None,
    Length(usize),
    Chunked,
}

fn request(bytes: &[u8]) -> Parsed<&[u8]> {
    let (line, mut rest) = line(bytes)?;
    let (method, version) = request_line(line)?;
    let mut fields = Vec::new();
    loop {
        let (text, after) = self::line(rest)?;
        rest = after;
        if text.is_empty() {
            break;
        }
        fields.push(field(text)?);
    }
    match framing(&method, version, &fields)? {
        Framing::None => Ok(rest),
        Framing::Length(length) => rest.get(length..).ok_or(Fault::End),
        Framing::Chunked => chunks(rest),
    }
}

/// A line without its CRLF. A bare CR or LF is wrong as soon as it is seen.
fn line(bytes: &[u8]) -> Parsed<(&[u8], &[u8])> {
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => return wrong("a bare LF"),
            b'\r' => {
                return match bytes.get(index + 1) {
                    Some(b'\n') => Ok((&bytes[..index], &bytes[index + 2..])),
                    Some(_) => wrong("a bare CR"),
                    None => Err(Fault::End),
                };
            }
            _ => {}
        }
    }
    Err(Fault::End)
}

/// RFC 9112 §3. The version is told as its minor number.
fn request_line(line: &[u8]) -> Parsed<(String, u8)> {
    let text: String = line.iter().map(|byte| char::from(*byte)).collect();
    let words: Vec<&str> = text.split(' ').collect();
    let [method, target, version] = words.as_slice() else {
        return wrong(format!("the request line has {} words: {text:?}", words.len()));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return wrong(format!("the method {method:?}"));
    }
    if matches!(*method, "CONNECT" | "TRACE") {
        return wrong(format!("{method} through a gate"));
    }
    let minor = match *version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        _ => return wrong(format!("the version {version:?}")),
    };
    request_target(method, target)?;
    Ok(((*method).to_owned(), minor))
}

/// Origin form (RFC 9112 §3.2.1), and `*` for OPTIONS. Whatever else a client may write, an upstream is sent this.
fn request_target(method: &str, target: &str) -> Parsed<()> {
    if target == "*" {
        return if method == "OPTIONS" { Ok(()) } else { wrong("\"*\" with another method than OPTIONS") };
    }
    if !target.starts_with('/') {
        return wrong(format!("the target {target:?} is not in origin form"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pchar = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte);
    // Browsers send these in a query as they are (URL Standard), so a gate that refuses them breaks pages.
    let in_query = |byte: u8| pchar(byte) || b"?^`{|}\\[]".contains(&byte);
    if let Some(byte) = path.bytes().find(|byte| !pchar(*byte)) {
        return wrong(format!("{:?} in the path of {target:?}", char::from(byte)));
    }
    if let Some(byte) = query.bytes().find(|byte| !in_query(*byte)) {
        return wrong(format!("{:?} in the query of {target:?}", char::from(byte)));
    }
    let escapes_are_whole = path.match_indices('%').all(|(index, _)| {
        path.as_bytes().get(index + 1..index + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes_are_whole {
        return wrong(format!("a \"%\" without two digits in {target:?}"));
    }
    let folded = path.to_ascii_lowercase().replace("%2e", ".");
    if folded.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | ".."))) {
        return wrong(format!("a dot segment in {target:?}"));
    }
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A field line (RFC 9112 §5): its name in lower case, its value without the space around it.
fn field(line: &[u8]) -> Parsed<(String, String)> {
    let text: String = line.iter().map(|byte| char::from(*byte)).collect();
    if text.starts_with([' ', '\t']) {
        return wrong(format!("a folded line {text:?}"));
    }
    let Some((name, value)) = text.split_once(':') else {
        return wrong(format!("a field without a colon {text:?}"));
    };
    if name.is_empty() || !name.bytes().all(is_token) {
        return wrong(format!("the field name {name:?}"));
    }
    if let Some(control) = value.chars().find(|&c| (c < ' ' && c != '\t') || c == '\u{7f}') {
        return wrong(format!("{control:?} in the value of {name}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// Fields that frame or route a message, under names that a server which reads `_` as `-` would take for them.
const FRAMING: [&str; 6] = ["content-length", "transfer-encoding", "host", "connection", "expect", "upgrade"];

fn framing(method: &str, version: u8, fields: &[(String, String)]) -> Parsed<Framing> {
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    };
    for (name, _) in fields {
        let plain = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if plain != *name && FRAMING.contains(&plain.as_str()) {
            return wrong(format!("{name} is {plain} to some"));
        }
    }
    match all("host").as_slice() {
        [host] if is_host(host) => {}
        hosts => return wrong(format!("the Host fields {hosts:?}")),
    }
    if all("content-type").len() > 1 {
        return wrong("two Content-Type fields");
    }
    let expectations = all("expect");
    if expectations.iter().any(|value| !value.eq_ignore_ascii_case("100-continue")) || expectations.len() > 1 {
        return wrong(format!("the Expect fields {expectations:?}"));
    }
    let encodings = all("transfer-encoding");
    let lengths = all("content-length");
    let framing = match (encodings.as_slice(), lengths.as_slice()) {
        ([], []) => Framing::None,
        ([], [length]) => {
            // RFC 9110 §8.6 allows leading zeros; a reader of octal numbers does not read the same number.
            let canonical = !length.is_empty()
                && length.bytes().all(|byte| byte.is_ascii_digit())
                && (length.len() == 1 || !length.starts_with('0'));
            match length.parse() {
                Ok(length) if canonical => Framing::Length(length),
                _ => return wrong(format!("the Content-Length {length:?}")),
            }
        }
        ([encoding], []) if encoding.eq_ignore_ascii_case("chunked") && version == 1 => Framing::Chunked,
        _ => {
            return wrong(format!(
                "Transfer-Encoding {encodings:?} beside Content-Length {lengths:?}, version 1.{version}"
            ));
        }
    };
    let upgrades = all("upgrade");
    if !upgrades.is_empty() {
        let asked = all("connection")
            .iter()
            .flat_map(|list| list.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case("upgrade"));
        let body = !matches!(framing, Framing::None | Framing::Length(0));
        if !asked || body || version == 0 || method != "GET" {
            return wrong(format!("an Upgrade {upgrades:?} that is not asked for properly, or with a body"));
        }
    }
    Ok(framing)
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without the comma that would make it a list.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, after)) = rest.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match after {
                "" => ("v6", ""),
                after => match after.strip_prefix(':') {
                    Some(port) => ("v6", port),
                    None => return false,
                },
            }
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte);
    !name.is_empty()
        && name.bytes().all(in_name)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && (port.is_empty() || port.parse::<u16>().is_ok())
}

/// Trailer fields that must have been dropped: they frame, route, authenticate or describe what is over
/// (RFC 9110 §6.5.1).
const NEVER_IN_TRAILERS: [&str; 16] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "x-user-id",
    "x-user-plan",
    "x-user-role",
];

/// A chunked body (RFC 9112 §7.1) and its trailers. What follows it.
fn chunks(mut bytes: &[u8]) -> Parsed<&[u8]> {
    loop {
        let (size, after) = line(bytes)?;
        let size = std::str::from_utf8(size).unwrap_or("not ASCII");
        let digits = !size.is_empty() && size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = usize::from_str_radix(size, 16).ok().filter(|_| digits) else {
            return wrong(format!("the chunk size {size:?}"));
        };
        bytes = after;
        if size == 0 {
            break;
        }
        let data_end = bytes.get(size..).ok_or(Fault::End)?;
        match data_end {
            [b'\r', b'\n', after @ ..] => bytes = after,
            [] | [b'\r'] => return Err(Fault::End),
            _ => return wrong("a chunk that does not end where it said"),
        }
    }
    loop {
        let (text, after) = line(bytes)?;
        bytes = after;
        if text.is_empty() {
            return Ok(bytes);
        }
        let (name, _) = field(text)?;
        if NEVER_IN_TRAILERS.contains(&name.replace('_', "-").as_str()) {
            return wrong(format!("{name} in the trailers"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(count: usize) -> Result<Stream, Unsafe> {
        Ok(Stream { complete: count, broken_off: false })
    }

    #[test]
    fn valid_requests_are_counted() {
        let one = b"GET /a?b=c HTTP/1.1\r\nHost: a:80\r\n\r\n";
        assert_eq!(read(one), complete(1));
        assert_eq!(read(&one.repeat(3)), complete(3));
        assert_eq!(
            read(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: [::1]:1\r\n\r\n"),
            complete(2)
        );
        assert_eq!(
            read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
            complete(1)
        );
        assert_eq!(read(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), complete(1));
        let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(read(upgrade), complete(1));
        assert_eq!(read(b""), complete(0));
    }

    #[test]
    fn a_request_that_breaks_off_is_not_complete() {
        let whole = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), Ok(Stream { complete: 0, broken_off: true }), "{end}");
        }
        let short = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab";
        assert_eq!(read(short), Ok(Stream { complete: 0, broken_off: true }));
    }

    #[test]
    fn whatever_can_be_misread_is_unsafe() {
        let heads = [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n",
            "GET / HTTP/1.1\r\nHost: a:99999\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n",
            "GET /a\\b HTTP/1.1\r\nHost: a\r\n",
            "GET /caf\u{e9} HTTP/1.1\r\nHost: a\r\n",
            "GET /a/../b HTTP/1.1\r\nHost: a\r\n",
            "GET /a/%2E%2e/b HTTP/1.1\r\nHost: a\r\n",
            "GET /a/..;x/b HTTP/1.1\r\nHost: a\r\n",
            "GET /%zz HTTP/1.1\r\nHost: a\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\n",
            "GE(T / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: \u{7f}\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: pony\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent.Length: 3\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n",
        ];
        for head in heads {
            let bytes: Vec<u8> = format!("{head}\r\n").chars().map(|c| u8::try_from(c).unwrap()).collect();
            let outcome = read(&[&bytes[..], b"abc"].concat());
            assert!(outcome.is_err(), "{head:?}: {outcome:?}");
        }
        let bodies = [
            "3;a=b\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "11111111111111111\r\n",
            "0\r\nHost: b\r\n\r\n",
            "0\r\nX_User_Id: b\r\n\r\n",
            "0\r\nContent-Length: 3\r\n\r\n",
            "0\r\n bad\r\n\r\n",
        ];
        for body in bodies {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert!(read(bytes.as_bytes()).is_err(), "{body:?}");
        }
    }
}
