//! Request bodies that stream in by drops, each of them in time (H5).

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::told::{Http2, Told};

/// Between two drops.
const DROP: Duration = Duration::from_millis(100);

const ROUTES: &str = "
[[route]]
match  = \"/patient\"
access = \"public\"
body   = { min_rate = 0 }

[[route]]
match  = \"/hurried\"
access = \"public\"
body   = { min_rate = \"1MiB\" }
";

/// What has no pace may take a second; ten times what a drop brings is asked.
fn gateway(origin: &Origin) -> Gateway {
    let client = "[client]\nh2c = true\nbody_timeout = \"1s\"\nmin_body_rate = 1000\n";
    Setup::open(origin).with(client).with(ROUTES).start()
}

#[derive(Clone, Copy, Debug)]
enum By {
    Length,
    Chunks,
    Http2,
}

const WAYS: [By; 3] = [By::Length, By::Chunks, By::Http2];

/// Sends so many pieces of so many bytes, and tells how it was answered and when.
fn pieces(gateway: &Gateway, by: By, target: &str, count: usize, size: usize) -> (Told, Duration) {
    let piece = vec![b'x'; size];
    let start = Instant::now();
    if let By::Http2 = by {
        let connection = Http2::connect(gateway);
        let mut upload = connection.begin(&format!("http://{}{target}", gateway.listen), &[]);
        let told = scope(|scope| {
            for _ in 0..count {
                if !upload.send(&piece, false) {
                    break;
                }
                sleep(DROP);
            }
            upload.send(b"", true);
            scope.spawn(|| upload.answer()).join().unwrap()
        });
        let took = start.elapsed();
        let whole = connection.post(&format!("http://{}/", gateway.listen), "text/plain", None, b"next");
        assert_eq!(whole, Told::passed(), "the connection goes on");
        return (told, took);
    }
    let mut connection = gateway.client().connect();
    let framing = match by {
        By::Length => format!("Content-Length: {}", count * size),
        _ => "Transfer-Encoding: chunked".to_owned(),
    };
    connection.send(format!("POST {target} HTTP/1.1\r\nHost: {}\r\n{framing}\r\n\r\n", gateway.listen)).unwrap();
    let mut listening = connection.stream.try_clone().unwrap();
    scope(|scope| {
        let answered = scope.spawn(move || {
            let told = connection.reply().map(Told::from);
            (told.unwrap(), start.elapsed())
        });
        let send = |socket: &mut std::net::TcpStream, bytes: &[u8]| std::io::Write::write_all(socket, bytes);
        for _ in 0..count {
            let sent = match by {
                By::Chunks => send(&mut listening, &[format!("{size:x}\r\n").as_bytes(), &piece, b"\r\n"].concat()),
                _ => send(&mut listening, &piece),
            };
            if sent.is_err() || answered.is_finished() {
                break;
            }
            sleep(DROP);
        }
        if let By::Chunks = by {
            let _ = send(&mut listening, b"0\r\n\r\n");
        }
        answered.join().unwrap()
    })
}

/// All the ways at once.
fn each(gateway: &Gateway, target: &str, count: usize, size: usize) -> Vec<(By, Told, Duration)> {
    scope(|scope| {
        let sending = WAYS.map(|by| (by, scope.spawn(move || pieces(gateway, by, target, count, size))));
        sending
            .into_iter()
            .map(|(by, sent)| {
                let (told, took) = sent.join().unwrap();
                (by, told, took)
            })
            .collect()
    })
}

#[test]
fn h5_a_body_that_drips_is_a_408_however_steadily_it_drips_by_both_versions() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for (by, told, took) in each(&gateway, "/", 40, 10) {
        assert_eq!(told, Told::refused(408, "Request timeout"), "{by:?}");
        assert!(took > Duration::from_millis(900), "{by:?}: {took:?}");
    }
    let whole = origin.requests().iter().filter(|seen| seen.body != b"next").count();
    assert_eq!(whole, 0, "the API has seen no whole request");
    let metrics = gateway.operator().metrics();
    assert!(metrics.contains("portcullis_refusals_total{reason=\"request_timeout\"} 3\n"), "{metrics}");
    let blamed = metrics.lines().find_map(|line| line.strip_prefix("portcullis_upstream_errors_total "));
    assert_eq!(blamed, Some("0"), "its client's slowness is no fault of the API's");
}

#[test]
fn h5_a_body_that_keeps_the_pace_and_one_that_is_let_off_go_on_by_both_versions() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    scope(|scope| {
        // Three times as fast as is asked, for longer than there is to begin with.
        scope.spawn(|| {
            for (by, told, _) in each(&gateway, "/", 20, 300) {
                assert_eq!(told, Told::passed(), "{by:?}");
            }
        });
        scope.spawn(|| {
            for (by, told, _) in each(&gateway, "/patient", 20, 1) {
                assert_eq!(told, Told::passed(), "{by:?}");
            }
        });
        for (by, told, _) in each(&gateway, "/hurried", 40, 300) {
            assert_eq!(told, Told::refused(408, "Request timeout"), "{by:?}");
        }
    });
}

#[test]
fn h5_waiting_for_the_api_costs_its_clients_nothing() {
    let origin = Origin::start(|exchange| {
        sleep(Duration::from_secs(5));
        exchange.read_body()?;
        exchange.answer("200 OK", &serde_json::json!({}))
    });
    // No waiting for a client could be made up for.
    let gateway = Setup::open(&origin)
        .with("[client]\nh2c = true\nbody_timeout = \"4s\"\nmin_body_rate = \"1GiB\"\n")
        .with("[[route]]\nmatch = \"/large\"\naccess = \"public\"\nbody = { max = \"32MiB\" }\n")
        .start();
    // More than all buffers on the way have room for.
    let body = vec![b'x'; 24 << 20];
    scope(|scope| {
        scope.spawn(|| gateway.client().post("/large").body(&body).send().expect(200));
        let url = format!("http://{}/large", gateway.listen);
        assert_eq!(Http2::connect(&gateway).post(&url, "text/plain", Some(body.len()), &body), Told::passed());
    });
}

#[test]
fn h5_once_the_answer_has_begun_both_speak_when_they_have_something_to_say() {
    let origin = Origin::start(|exchange| {
        // The patience with the client is nearly used up before there is an answer.
        for _ in 0..2 {
            exchange.read_piece()?;
        }
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        while let Some(piece) = exchange.read_piece()? {
            exchange.send(format!("{:x}\r\n", piece.len()))?;
            exchange.send(piece)?;
            exchange.send("\r\n")?;
        }
        exchange.send("0\r\n\r\n")
    });
    let gateway = gateway(&origin);
    let mut connection = gateway.client().connect();
    connection
        .send(format!("POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", gateway.listen))
        .unwrap();
    for _ in 0..2 {
        sleep(3 * DROP);
        connection.send("1\r\nx\r\n").unwrap();
    }
    assert_eq!(connection.head().unwrap().status, 200);
    for pause in [7, 4, 4, 4, 4] {
        sleep(pause * DROP);
        connection.send("1\r\nx\r\n").unwrap();
        assert_eq!(connection.chunk().unwrap().unwrap(), b"x");
    }
    connection.send("0\r\n\r\n").unwrap();
    assert!(connection.chunk().unwrap().is_none());
}

#[test]
fn h5_the_name_of_grpc_is_no_way_around_the_pace_of_an_api_that_does_not_speak_it() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let connection = Http2::connect(&gateway);
    let url = format!("http://{}/", gateway.listen);
    let mut upload = connection.begin(&url, &[("content-type", "application/grpc"), ("te", "trailers")]);
    for _ in 0..25 {
        upload.send(b"x", false);
        sleep(DROP);
    }
    // Had nobody minded, it would be whole now.
    upload.send(b"", true);
    // UNAVAILABLE.
    assert_eq!(upload.whole().headers().get("grpc-status").unwrap(), "14");
    assert!(origin.requests().is_empty());
}

#[test]
fn h5_the_pace_is_changed_by_a_reload() {
    let origin = Origin::echo();
    let mut gateway = gateway(&origin);
    let text = std::fs::read_to_string(&gateway.config).unwrap();
    std::fs::write(&gateway.config, text.replace("min_body_rate = 1000", "min_body_rate = 0")).unwrap();
    gateway.process().signal(Signal::HUP);
    eventually("the reload is recorded", Duration::from_secs(10), || {
        gateway.records().iter().any(|line| line["kind"] == "reloaded").then_some(())
    });
    for (by, told, _) in each(&gateway, "/", 20, 1) {
        assert_eq!(told, Told::passed(), "{by:?}");
    }
}
