//! Two public collections of difficult requests, through the binary, whole, fragmented and slow: an upstream never sees
//! what could be misread, never more requests than answers, and no client waits forever.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/strict.rs"]
mod strict;
#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use corpus::{Answers, Case};
use support::origin::Origin;
use support::process::{Gateway, Setup};

/// The gate's own time-outs, as the configuration below sets them, and the second it has beyond them.
const PATIENCE: Duration = Duration::from_secs(1 + 1 + 1);

const WORKERS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    Whole,
    Fragmented,
    Slow,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Refused or closed; the upstream saw nothing.
    Reject,
    /// The upstream saw valid requests, one for each answer.
    Clean,
    /// The upstream saw the valid beginning of a request and then the end of the connection.
    CutOff,
    Unsafe(String),
    Hang,
}

impl Manner {
    /// The pieces to send and the pause between them.
    fn pieces(self, bytes: &[u8]) -> (Vec<&[u8]>, Duration) {
        match self {
            Self::Whole => (vec![bytes], Duration::ZERO),
            // Byte by byte where that is bearable.
            Self::Fragmented => (bytes.chunks((bytes.len() / 200).max(1)).collect(), Duration::from_micros(300)),
            Self::Slow => (bytes.chunks(bytes.len().div_ceil(5).max(1)).collect(), Duration::from_millis(80)),
        }
    }
}

struct Stage {
    origin: Origin,
    gateway: Gateway,
}

impl Stage {
    fn set() -> Self {
        let origin = Origin::echo();
        let gateway = Setup::open(&origin)
            .with(
                "[client]\nhead_timeout = \"1s\"\nbody_timeout = \"1s\"\nidle_timeout = \"1s\"\n\
                 max_connections = 10000\nmax_connections_per_address = 10000\n",
            )
            .start();
        Self { origin, gateway }
    }

    fn judge(&self, case: &Case, manner: Manner) -> Verdict {
        let before: Vec<usize> = self.origin.connections().iter().map(|connection| connection.bytes.len()).collect();
        let (answers, hang) = self.send(case, manner);
        let answers = match answers {
            Ok(answers) => answers,
            Err(why) => return Verdict::Unsafe(format!("the answer is malformed: {why}")),
        };
        // What was forwarded may reach the upstream a moment after the answer reached the client.
        sleep(Duration::from_millis(20));
        let verdict = self.upstream(&before, &answers);
        if hang && !matches!(verdict, Verdict::Unsafe(_)) {
            return Verdict::Hang;
        }
        verdict
    }

    /// What the upstream saw since `before`, held against what the client was answered.
    fn upstream(&self, before: &[usize], answers: &Answers) -> Verdict {
        let mut complete = 0;
        let mut cut_off = false;
        for (index, connection) in self.origin.connections().iter().enumerate() {
            let new = &connection.bytes[before.get(index).copied().unwrap_or(0)..];
            match strict::read(new) {
                Ok(stream) => {
                    complete += stream.complete;
                    if stream.broken_off {
                        cut_off = true;
                        if !self.closes(index) {
                            return Verdict::Unsafe(format!("left open in the middle: {}", shown(new)));
                        }
                    }
                }
                Err(why) => return Verdict::Unsafe(format!("{}: {}", why.0, shown(new))),
            }
        }
        let successes = answers.statuses.iter().filter(|status| **status < 400).count();
        if complete > answers.statuses.len() {
            return Verdict::Unsafe(format!("{complete} requests upstream, answers {:?}", answers.statuses));
        }
        if successes > complete {
            return Verdict::Unsafe(format!("answers {:?} to {complete} requests upstream", answers.statuses));
        }
        match (complete, cut_off) {
            (0, false) => Verdict::Reject,
            (_, true) => Verdict::CutOff,
            (_, false) => Verdict::Clean,
        }
    }

    /// Whether the gate closes an upstream connection that it has begun and cannot finish.
    fn closes(&self, index: usize) -> bool {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.origin.connections()[index].closed {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        true
    }

    /// Sends the case; its answers, and whether the gate left it without an answer and without an end.
    fn send(&self, case: &Case, manner: Manner) -> (Result<Answers, String>, bool) {
        let mut stream = self.gateway.client().connect().stream;
        let (pieces, pause) = manner.pieces(&case.bytes);
        let mut received = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                sleep(pause);
            }
            // The gate may answer and close before everything is sent.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let sent = Instant::now();
        let mut last = sent;
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a read time-out can be set");
        loop {
            let mut buffer = [0; 16 * 1024];
            match stream.read(&mut buffer) {
                Ok(0) => return (Answers::read(&received, case.is_head(), true), false),
                Ok(count) => {
                    received.extend_from_slice(&buffer[..count]);
                    last = Instant::now();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A reset is an end as well.
                Err(_) => return (Answers::read(&received, case.is_head(), true), false),
            }
            let answers = Answers::read(&received, case.is_head(), false);
            let answered = answers.as_ref().map_or(true, |answers| !answers.statuses.is_empty() && !answers.unfinished);
            if answered && last.elapsed() > Duration::from_millis(250) {
                return (answers, false);
            }
            if sent.elapsed() > PATIENCE {
                return (answers, true);
            }
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let text: String = bytes.iter().take(300).map(|byte| std::ascii::escape_default(*byte).to_string()).collect();
    if bytes.len() > 300 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// Every case in every manner, spread over gateways that each see one at a time, so that what an upstream saw belongs
/// to a case.
fn run(cases: &[Case]) -> BTreeMap<(String, Manner), Verdict> {
    let manners = [Manner::Whole, Manner::Fragmented, Manner::Slow];
    let jobs: VecDeque<(&Case, Manner)> =
        manners.into_iter().flat_map(|manner| cases.iter().map(move |case| (case, manner))).collect();
    let (jobs, verdicts) = (Mutex::new(jobs), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let stage = Stage::set();
                loop {
                    let job = jobs.lock().expect("no worker panics with the lock").pop_front();
                    let Some((case, manner)) = job else { return };
                    let verdict = stage.judge(case, manner);
                    let mut verdicts = verdicts.lock().expect("no worker panics with the lock");
                    verdicts.insert((case.name.clone(), manner), verdict);
                }
            });
        }
    });
    verdicts.into_inner().expect("no worker panics with the lock")
}

#[test]
fn h7_no_difficult_request_is_forwarded_unsafely_and_none_hangs() {
    let Some(directory) = support::vectors() else { return };
    let cases = corpus::load(&directory);
    assert!(cases.len() >= 280, "both collections are whole: {}", cases.len());
    let start = Instant::now();
    let verdicts = run(&cases);

    let mut table: BTreeMap<(Manner, &str), usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for ((name, manner), verdict) in &verdicts {
        let column = match verdict {
            Verdict::Reject => "REJECT",
            Verdict::Clean => "CLEAN",
            Verdict::CutOff => "CUT OFF",
            Verdict::Unsafe(_) => "UNSAFE",
            Verdict::Hang => "HANG",
        };
        *table.entry((*manner, column)).or_default() += 1;
        if let Verdict::Unsafe(_) | Verdict::Hang = verdict {
            failures.push(format!("{name} ({manner:?}): {verdict:?}"));
        }
    }
    println!("{:<12}{:>8}{:>8}{:>9}{:>8}{:>6}", "", "REJECT", "CLEAN", "CUT OFF", "UNSAFE", "HANG");
    for manner in [Manner::Whole, Manner::Fragmented, Manner::Slow] {
        let count = |column| table.get(&(manner, column)).copied().unwrap_or(0);
        let [reject, clean, cut, bad, hang] = ["REJECT", "CLEAN", "CUT OFF", "UNSAFE", "HANG"].map(count);
        println!("{:<12}{reject:>8}{clean:>8}{cut:>9}{bad:>8}{hang:>6}", format!("{manner:?}"));
    }
    println!("{} cases in {:.0?}", verdicts.len(), start.elapsed());

    // A gate that refuses everything is safe and useless: what must be served is served, however it arrives.
    for case in cases.iter().filter(|case| case.must_pass) {
        for manner in [Manner::Whole, Manner::Fragmented, Manner::Slow] {
            let verdict = &verdicts[&(case.name.clone(), manner)];
            if *verdict != Verdict::Clean {
                failures.push(format!("{} ({manner:?}) is valid but was not served: {verdict:?}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn h7_a_request_behind_a_difficult_one_is_never_somebody_elses() {
    // What one client leaves unread must not become the beginning of another client's request: after each of these the
    // next client gets its own answer.
    let stage = Stage::set();
    let host = stage.gateway.listen;
    let openings = [
        format!(
            "POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nX: "
        ),
        format!(
            "POST /a HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2e\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: 12345678\r\n0\r\n\r\n"
        ),
        format!(
            "POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: "
        ),
        format!(
            "GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ),
        format!(
            "GET /a HTTP/1.1\r\nHost: {host}\r\nA: b\nContent-Length: 33\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n"
        ),
        format!(
            "POST /a HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ),
    ];
    for opening in &openings {
        let mut attacker = stage.gateway.client().connect();
        attacker.send(opening).expect("the gate reads");
        sleep(Duration::from_millis(100));
        for number in 0..3 {
            let path = format!("/mine/{number}");
            let reply = stage.gateway.client().get(&path).send().expect(200);
            assert_eq!(reply.json()["target"], path.as_str(), "after {opening:?}");
        }
    }
    for connection in stage.origin.connections() {
        let read =
            strict::read(&connection.bytes).unwrap_or_else(|why| panic!("{}: {}", why.0, shown(&connection.bytes)));
        assert!(read.complete > 0 || read.broken_off || connection.bytes.is_empty());
    }
}
