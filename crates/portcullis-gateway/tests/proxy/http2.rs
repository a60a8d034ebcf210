//! HTTP/2 through the real binary: other people's clients, what a flood leaves in the records, and how much memory a
//! connection can be made to hold.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::http2::{
    self as raw, CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, INITIAL_WINDOW, PING, Raw,
};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup, portcullis};

/// An origin that answers at once, never, or with very much.
fn origin() -> Origin {
    Origin::start(|exchange| match exchange.seen.target.as_str() {
        "/hang" => {
            // Until the other side ends.
            while !exchange.some()?.is_empty() {}
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        "/large" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n")?;
            exchange.send(vec![b'x'; 4_000_000])
        }
        "/unread" => {
            sleep(Duration::from_secs(20));
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        _ => {
            exchange.read_body()?;
            exchange.answer("200 OK", &serde_json::json!({"ok": true}))
        }
    })
}

fn gateway(origin: &Origin) -> Gateway {
    Setup::open(origin).top("cores = 1").with("[client]\nh2c = true\n").start()
}

#[test]
fn h6_curl_is_served_over_http2() {
    let origin = origin();
    let gateway = gateway(&origin);
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--http2-prior-knowledge",
        "--include",
        "--data-binary",
        "@-",
        "--max-time",
        "10",
    ]);
    let output = curl.arg(format!("http://{}/a?b=c", gateway.listen)).stdin(std::process::Stdio::null()).output();
    let output = match output {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("the installed libcurl version") => output,
        _ if std::env::var_os("CI").is_some() => panic!("there is no curl that speaks HTTP/2"),
        _ => return eprintln!("curl is not asked: there is none that speaks HTTP/2"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("HTTP/2 200") && text.contains("x-content-type-options: nosniff"), "{text}");
    assert!(text.ends_with("{\"ok\":true}"), "{text}");
    let seen = origin.last();
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str(), seen.header("via")),
        ("POST", "/a?b=c", Some("2.0 portcullis"))
    );
}

#[test]
fn h6_a_flood_is_an_event_of_its_address_and_a_count() {
    let origin = origin();
    let gateway = gateway(&origin);
    let mut client = Raw::connect(gateway.listen);
    client.head(1, &[GET[0], GET[1], (":path", "/hang"), GET[3]], true);
    let bytes: Vec<u8> = (0..130).flat_map(|_| raw::frame(PING, 0, 0, &[1; 8])).collect();
    client.send(&bytes);
    assert_eq!(client.end(), Some(CALM));
    let metrics = gateway.operator().metrics();
    assert!(metrics.contains("portcullis_http2_floods_total{kind=\"ping\"} 1\n"), "{metrics}");
    assert!(metrics.contains("portcullis_events_total{kind=\"http2_flood\"} 1\n"), "{metrics}");
    let event = eventually("the flood is in the records", Duration::from_secs(10), || {
        gateway.records().into_iter().find(|event| event["kind"] == "http2_flood")
    });
    assert_eq!((event["client"].as_str(), event["reason"].as_str()), (Some("127.0.0.1"), Some("ping")));
}

/// How much memory a gate has, in KiB.
fn memory(gateway: &Gateway) -> u64 {
    gateway.memory() / 1024
}

/// What one of so many connections of a kind makes a fresh gate hold, in KiB.
fn held(what: &str, connections: u64, settings: &[(u16, u32)], begin: impl Fn(&mut Raw)) -> u64 {
    let origin = origin();
    let gateway = gateway(&origin);
    // What every first connection costs once is not theirs.
    for _ in 0..20 {
        let mut first = Raw::connect(gateway.listen);
        first.head(1, &GET, true);
        first.answered(1);
    }
    let before = memory(&gateway);
    let open: Vec<Raw> = (0..connections)
        .map(|_| {
            let mut client = Raw::with(gateway.listen, settings);
            client.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            begin(&mut client);
            client
        })
        .collect();
    let mut most = 0;
    for _ in 0..15 {
        sleep(Duration::from_millis(100));
        most = most.max(memory(&gateway).saturating_sub(before));
    }
    // Meanwhile somebody else is served.
    assert_eq!(Client::at(gateway.listen, std::net::Ipv4Addr::new(127, 0, 0, 2)).get("/").send().status, 200, "{what}");
    drop(open);
    let each = most / connections;
    println!("{what}: {each} KiB for each connection");
    each
}

/// What it is, with which settings it begins, and what it sends.
type Flood<'a> = (&'a str, &'a [(u16, u32)], &'a dyn Fn(&mut Raw));

#[test]
fn h6_no_connection_holds_more_than_twenty_times_what_an_honest_one_does() {
    let request = |client: &mut Raw, number: u32, path: &str| {
        client.head(1 + 2 * number, &[GET[0], GET[1], (":path", path), GET[3]], true);
    };
    // An honest client: a browser with windows as wide as browsers have them, that reads none of ten downloads for the moment.
    let honest = held("ten downloads", 10, &[(INITIAL_WINDOW, 6 << 20)], |client| {
        client.frame(raw::WINDOW_UPDATE, 0, 0, &(15_u32 << 20).to_be_bytes());
        (0..10).for_each(|number| request(client, number, "/large"));
    });
    let honest = honest.max(64);
    let long = "x".repeat(15_000);
    let floods: [Flood<'_>; 6] = [
        ("zero windows (CVE-2019-9517)", &[(INITIAL_WINDOW, 0)], &|client| {
            (0..100).for_each(|number| request(client, number, "/large"));
        }),
        ("wide windows and nothing read", &[(INITIAL_WINDOW, 0x7fff_ffff)], &|client| {
            client.frame(raw::WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
            (0..100).for_each(|number| request(client, number, "/large"));
        }),
        ("long heads", &[], &|client| {
            for number in 0..100 {
                let head = [GET[0], GET[1], (":path", "/hang"), GET[3], ("x-long", &*long)];
                client.head(1 + 2 * number, &head, true);
            }
        }),
        ("a header block that does not end", &[], &|client| {
            let mut block = raw::block(&GET);
            block.extend([0, 1, b'x', 0x7f, 0xff, 0xff, 0x7f]);
            client.frame(raw::HEADERS, END_STREAM, 1, &block);
            for _ in 0..3 {
                client.frame(CONTINUATION, 0, 1, &vec![b'y'; 15_000]);
            }
        }),
        ("bodies that nobody reads, in small pieces", &[], &|client| {
            for number in 0..10 {
                client.head(1 + 2 * number, &[(":method", "POST"), GET[1], (":path", "/unread"), GET[3]], false);
            }
            let piece: Vec<u8> = (0..10_u32).flat_map(|number| raw::frame(DATA, 0, 1 + 2 * number, b"x")).collect();
            let bytes = piece.repeat(400);
            client.send(&bytes);
        }),
        ("half-open streams", &[], &|client| {
            for number in 0..100 {
                client.frame(
                    raw::HEADERS,
                    END_HEADERS,
                    1 + 2 * number,
                    &raw::block(&[(":method", "POST"), GET[1], (":path", "/unread"), GET[3]]),
                );
            }
        }),
    ];
    for (what, settings, begin) in floods {
        let each = held(what, 5, settings, begin);
        assert!(each <= 20 * honest, "{what}: {each} KiB, an honest one {honest} KiB");
    }
}

#[test]
fn h6_the_streams_of_two_connections_do_not_use_up_the_files_that_the_process_opens() {
    let origin = origin();
    let mut gateway = gateway(&origin);
    gateway.kill();
    // As a shell starts it: with few open files, and leave to take more.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 128; exec \"$0\" \"$@\""]).arg(portcullis().get_program());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    gateway.launch_by(command);
    let hang = [(":method", "GET"), (":scheme", "http"), (":path", "/hang"), (":authority", "api.example")];
    let _held = [(); 2].map(|()| {
        let mut raw = Raw::connect(gateway.listen);
        for stream in (1..200).step_by(2) {
            raw.head(stream, &hang, true);
        }
        raw
    });
    let files = format!("/proc/{}/fd", gateway.id());
    eventually("every stream has its connection to the origin", Duration::from_secs(10), || {
        (std::fs::read_dir(&files).ok()?.count() > 200).then_some(())
    });
    gateway.client().get("/").send().expect(200);
}
