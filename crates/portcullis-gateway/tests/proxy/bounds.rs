//! What a request may have at most, by each version of HTTP: fields, bytes of its head and of its target, bytes of its body by
//! what it declares and by what it is (H5).

use http::Request;

use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::told::{Http2, Told};

const HEAD: &str = "Request header fields too large";
const TARGET: &str = "URI too long";
const BODY: &str = "Request body too large";

/// Sends bytes on a connection of their own; whoever is refused may not get rid of all of them.
fn http1(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Told {
    let mut connection = gateway.client().connect();
    let _ = connection.send(bytes);
    let reply = connection.reply().unwrap();
    if reply.status == 431 || reply.status == 414 {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "a refusal is hardened like any answer");
    }
    reply.into()
}

fn gateway(origin: &Origin, more: &str) -> Gateway {
    Setup::open(origin).with(&format!("[client]\nh2c = true\n{more}")).start()
}

/// A head of HTTP/1.1 that ends with a field which makes it exactly so long.
fn long_head(host: &str, length: usize) -> String {
    let begin = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: ");
    format!("{begin}{}\r\n\r\n", "x".repeat(length - begin.len() - 4))
}

/// The same of HTTP/2, as RFC 9113 section 6.5.2 counts it.
fn long_list(host: &str, length: usize) -> Request<()> {
    let begin = "GET".len() + host.len() + "/".len() + "x".len() + 32;
    let builder = Request::get(format!("http://{host}/")).header("x", "x".repeat(length - begin));
    builder.body(()).unwrap()
}

#[test]
fn h5_a_head_has_so_many_fields_and_no_more_by_both_versions() {
    for (more, most) in [("", 100), ("max_headers = 20", 20)] {
        let origin = Origin::echo();
        let gateway = gateway(&origin, more);
        let host = gateway.listen.to_string();
        // Host is one of them in HTTP/1.1.
        let fields = |count: usize| (1..count).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
        let head = |count: usize| format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", fields(count));
        assert_eq!(http1(&gateway, head(most)), Told::passed(), "{most}");
        assert_eq!(http1(&gateway, head(most + 1)), Told::refused(431, HEAD), "{most}");
        // One name again and again is no way around it.
        let again = "X-Again: 1\r\n".repeat(most);
        let told = http1(&gateway, format!("GET / HTTP/1.1\r\nHost: {host}\r\n{again}\r\n"));
        assert_eq!(told, Told::refused(431, HEAD), "{most}");

        let connection = Http2::connect(&gateway);
        let head = |count: usize, name: &dyn Fn(usize) -> String| {
            let mut request = Request::get(format!("http://{host}/"));
            for number in 0..count {
                request = request.header(name(number), "1");
            }
            request.body(()).unwrap()
        };
        let numbered = |number: usize| format!("x-{number}");
        assert_eq!(connection.ask(head(most, &numbered), None), Told::passed(), "{most}");
        assert_eq!(connection.ask(head(most + 1, &numbered), None), Told::refused(431, HEAD), "{most}");
        let told = connection.ask(head(most + 1, &|_| "x-again".to_owned()), None);
        assert_eq!(told, Told::refused(431, HEAD), "{most}");
        // One request too large costs the others on its connection nothing.
        assert_eq!(connection.ask(head(0, &numbered), None), Told::passed());
        assert_eq!(origin.requests().len(), 3, "what was refused went no further");
    }
}

#[test]
fn h5_a_head_has_so_many_bytes_and_no_more_by_both_versions() {
    for (more, most) in [("", 32 * 1024), ("max_head = \"8KiB\"", 8 * 1024)] {
        let origin = Origin::echo();
        let gateway = gateway(&origin, more);
        let host = gateway.listen.to_string();
        assert_eq!(http1(&gateway, long_head(&host, most)), Told::passed(), "{most}");
        assert_eq!(http1(&gateway, long_head(&host, most + 1)), Told::refused(431, HEAD), "{most}");
        assert_eq!(http1(&gateway, long_head(&host, 4 * most)), Told::refused(431, HEAD), "{most}");
        let connection = Http2::connect(&gateway);
        assert_eq!(connection.ask(long_list(&host, most), None), Told::passed(), "{most}");
        assert_eq!(connection.ask(long_list(&host, most + 1), None), Told::refused(431, HEAD), "{most}");
        assert_eq!(connection.ask(long_list(&host, 2 * most - 200), None), Told::refused(431, HEAD), "{most}");
        assert_eq!(connection.ask(long_list(&host, 200), None), Told::passed());
        assert_eq!(origin.requests().len(), 3, "what was refused went no further");
    }
}

#[test]
fn h5_a_target_has_so_many_bytes_and_no_more_by_both_versions() {
    for (more, most) in [("", 8 * 1024), ("max_target = 64", 64)] {
        let origin = Origin::echo();
        let gateway = gateway(&origin, more);
        let host = gateway.listen.to_string();
        let head = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let path = |length: usize| format!("/{}", "x".repeat(length - 1));
        let query = |length: usize| format!("/?{}", "x".repeat(length - 2));
        // What is counted of an absolute target is its host and what follows, whichever version it came by.
        let absolute = |length: usize| format!("http://{host}{}", path(length - host.len()));
        for target in [path(most), query(most), absolute(most)] {
            assert_eq!(http1(&gateway, head(&target)), Told::passed(), "{most}");
        }
        for target in [path(most + 1), query(most + 1), absolute(most + 1), path(3 * most)] {
            assert_eq!(http1(&gateway, head(&target)), Told::refused(414, TARGET), "{most}");
        }
        let connection = Http2::connect(&gateway);
        let get = |target: String| Request::get(target).body(()).unwrap();
        assert_eq!(connection.ask(get(absolute(most)), None), Told::passed(), "{most}");
        for length in [most + 1, 3 * most] {
            assert_eq!(connection.ask(get(absolute(length)), None), Told::refused(414, TARGET), "{most}");
        }
        assert_eq!(connection.ask(get(format!("http://{host}/")), None), Told::passed());
        assert_eq!(origin.requests().len(), 5, "what was refused went no further");
    }
    // Longer than the HTTP library takes any, though the head has room for it.
    let origin = Origin::echo();
    let gateway = gateway(&origin, "max_head = \"1MiB\"\nmax_target = \"64KiB\"");
    let target = "x".repeat(70_000);
    let told = http1(&gateway, format!("GET /{target} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen));
    assert_eq!(told, Told::refused(414, TARGET));
    assert!(origin.requests().is_empty());
}

const ROUTES: &str = "
[routes]
max_body = \"2KiB\"
max_json = \"1KiB\"

[[route]]
match  = \"/small\"
access = \"public\"
body   = { max = 100 }

[[route]]
match  = \"/large\"
access = \"public\"
body   = { max = \"300KiB\" }

[[route]]
match  = \"/none\"
access = \"public\"
body   = { max = 0 }

[[route]]
match  = \"/checked\"
access = \"public\"
body   = { json = true, max = 512 }
";

#[test]
fn h5_a_body_is_as_large_as_its_route_says_by_what_it_declares_and_by_what_it_is_by_both_versions() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.answer("200 OK", &serde_json::json!({"read": exchange.seen.body.len()}))
    });
    let gateway = gateway(&origin, ROUTES);
    let host = gateway.listen.to_string();
    let connection = Http2::connect(&gateway);
    let mut passed = 0;
    for (target, kind, most) in [
        ("/any", "text/plain", 2_048),
        ("/any", "application/json", 1_024),
        ("/small", "text/plain", 100),
        ("/small", "application/json", 100),
        ("/large", "application/octet-stream", 300 * 1024),
        ("/large", "application/json", 300 * 1024),
        ("/none", "text/plain", 0),
        ("/checked", "application/json", 512),
    ] {
        let what = format!("{kind} to {target}");
        let (head, url) = (
            format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"),
            format!("http://{host}{target}"),
        );
        let declared = |length: usize, body: &str| format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let chunked = |body: &str| match body.len() {
            0 => format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            length => format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
        };
        let text = |length: usize| match length {
            0 | 1 => "1".repeat(length),
            _ => format!("\"{}\"", "x".repeat(length - 2)),
        };
        let (full, over) = (text(most), text(most + 1));
        for told in [
            http1(&gateway, declared(most, &full)),
            http1(&gateway, chunked(&full)),
            connection.post(&url, kind, Some(most), full.as_bytes()),
            connection.post(&url, kind, None, full.as_bytes()),
        ] {
            assert_eq!(told, Told::passed(), "{what}: {most} bytes");
            passed += 1;
        }
        let too_large = Told::refused(413, BODY);
        for told in [
            // By the length alone: of the body there is nothing yet.
            http1(&gateway, declared(most + 1, "")),
            http1(&gateway, declared(most + 1, &over)),
            http1(&gateway, chunked(&over)),
            connection.post(&url, kind, Some(most + 1), over.as_bytes()),
            connection.post(&url, kind, None, over.as_bytes()),
        ] {
            assert_eq!(told, too_large, "{what}: {} bytes", most + 1);
        }
        // The largest number that can be declared, and nobody is invited to send it.
        let expecting = format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", u64::MAX >> 1);
        let mut client = gateway.client().connect();
        client.send(expecting).unwrap();
        assert_eq!(Told::from(client.head().unwrap()).0, 413, "{what}");
        let upload = connection.begin(&url, &[("content-type", kind), ("content-length", &(most + 1).to_string())]);
        assert_eq!(upload.answer(), too_large, "{what}: by its length alone");
    }
    assert_eq!(origin.requests().len(), passed, "the API saw whole bodies only");
}
