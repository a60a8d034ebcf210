//! Slow heads, slow bodies, ranges without end and slow reads, by slowhttptest: everybody else is served as before (H5).

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// What a slow reader is sent: more than the system holds for a connection.
const LONG: usize = 16 << 20;

/// Connections of each attack.
const CONNECTIONS: usize = 40;

/// Deadlines that a test can wait for.
const CONFIG: &str = "
[client]
head_timeout = \"2s\"
body_timeout = \"2s\"
idle_timeout = \"2s\"

[[route]]
match  = \"/checked\"
access = \"public\"
body   = { json = true }
";

/// A running attack.
struct Attack {
    name: &'static str,
    child: Child,
}

impl Attack {
    /// Begins one of forty connections at once from 127.0.0.1, which gives up by itself after 10 seconds.
    fn begin(gateway: &Gateway, name: &'static str, target: &str, arguments: &[&str]) -> Self {
        let count = CONNECTIONS.to_string();
        let mut command = Command::new("slowhttptest");
        command.args(["-c", &count, "-r", &count, "-l", "10", "-p", "5", "-v", "1"]).args(arguments);
        command.arg("-u").arg(format!("http://{}{target}", gateway.listen));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        Self { name, child: child.expect("slowhttptest can be started: cargo xtask test installs it") }
    }

    /// Waits for its end; what it said last.
    fn end(mut self) -> String {
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        said
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The 99th percentile of 200 requests, one after the other. What got no good answer took for ever: one of a hundred may, on a
/// machine that has much else to do.
fn p99(client: &Client) -> Duration {
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            let answer = client.get("/small").try_send();
            if answer.is_ok_and(|answer| answer.status == 200) { start.elapsed() } else { Duration::MAX }
        })
        .collect();
    took.sort_unstable();
    took[197]
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

/// A counter of the gateway's metrics.
fn counter(gateway: &Gateway, series: &str) -> u64 {
    let page = gateway.operator().metrics();
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

#[test]
fn h5_slow_clients_of_four_kinds_are_sent_away_and_nobody_else_waits() {
    if Command::new("slowhttptest").arg("-h").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "slowhttptest is absent");
        eprintln!("SKIPPED: slowhttptest is absent");
        return;
    }
    let long = vec![b'x'; LONG];
    let origin = Origin::start(move |exchange| {
        exchange.read_body()?;
        let body = if exchange.seen.target == "/long" { &long[..] } else { b"small" };
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        exchange.send(body)
    });
    let gateway = Setup::open(&origin).with(CONFIG).start();
    let client = gateway.client();
    p99(&client);
    let quiet = median((0..5).map(|_| p99(&client)).collect());
    let before = gateway.memory();

    let attacks = [
        ("slow heads", "/small", &["-H", "-i", "1", "-x", "10"][..]),
        ("slow bodies", "/small", &["-B", "-i", "1", "-x", "10", "-s", "4096"]),
        ("slow bodies that are looked at", "/checked", &["-B", "-i", "1", "-x", "10", "-f", "application/json"]),
        ("ranges", "/small", &["-R", "-a", "5", "-b", "2000"]),
        ("slow reads", "/long", &["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32"]),
    ]
    .map(|(name, target, arguments)| Attack::begin(&gateway, name, target, arguments));
    // Rounds until the deadlines have passed, and while connections come and go.
    let (start, mut rounds, mut most) = (Instant::now(), Vec::new(), before);
    while start.elapsed() < Duration::from_secs(6) {
        rounds.push(p99(&client));
        most = most.max(gateway.memory());
        std::thread::sleep(Duration::from_millis(100));
    }
    let besieged = median(rounds);
    let bound = quiet.saturating_mul(20).max(Duration::from_millis(150));
    assert!(besieged < bound, "the 99th percentile went from {quiet:?} to {besieged:?}");
    let grown = (most - before) / (attacks.len() * CONNECTIONS) as u64;
    assert!(grown < 256 * 1024, "{grown} bytes for each connection");

    // The gate has let go of every one of them; only the client that was served may still be there. What slowhttptest says of
    // its readers does not count: it takes what had arrived before the reset for a connection.
    eventually("every slow connection is closed", Duration::from_secs(6), || {
        (counter(&gateway, "portcullis_connections_open") <= 1).then_some(())
    });
    for attack in attacks {
        let name = attack.name;
        let said = attack.end();
        let probed = said.rsplit("service available:").next().unwrap_or_default();
        assert!(probed.contains("YES"), "{name}: its own probe was not served: {said}");
    }
    // A few of each may never have come about, on a machine that has much else to do.
    let most_of = |kinds: usize| (kinds * CONNECTIONS * 3 / 4) as u64;
    let late = counter(&gateway, "portcullis_refusals_total{reason=\"request_timeout\"}");
    assert!(late >= most_of(3), "{late} heads and bodies were late");
    let stalled = counter(&gateway, "portcullis_connections_stalled_total");
    assert!(stalled >= most_of(1), "{stalled} readers were sent away");
    let blamed = counter(&gateway, "portcullis_upstream_errors_total");
    assert!(blamed < CONNECTIONS as u64 / 4, "the API is blamed {blamed} times for its clients");
    client.get("/small").send().expect(200);
}
