//! The event log as a whole: a real directory, a clock that the test moves.

use std::path::Path;

use portcullis_core::{EventKind, ManualClock, RequestId, SystemClock, Timestamp};

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn start(directory: &Path, queue: usize) -> (EventLog, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let options = EventLogOptions { directory: Some(directory.into()), queue, ..EventLogOptions::default() };
    (EventLog::start(options, Arc::clone(&clock) as Arc<dyn Clock>).unwrap(), clock)
}

fn event(kind: EventKind, client: &str) -> Event {
    let mut event = Event::new(Timestamp::from_secs(1), kind);
    event.client = Some(client.parse().unwrap());
    event.request_id = Some(RequestId::from_bits(1));
    event
}

fn lines(directory: &Path, file: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn w1_limit_hits_have_their_own_stream() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = start(&directory.path().join("made/if/absent"), 16);
    log.record(event(EventKind::LimitHit, "192.0.2.1"));
    log.record(event(EventKind::LimitWouldHit, "192.0.2.1"));
    log.record(event(EventKind::LoginSucceeded, "192.0.2.1"));
    assert!(log.flush(SOON));
    let directory = directory.path().join("made/if/absent");
    let kinds = |file| -> Vec<String> {
        lines(&directory, file).iter().map(|line| line["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds("limits.jsonl"), ["limit_hit", "limit_would_hit"]);
    assert_eq!(kinds("events.jsonl"), ["login_succeeded"]);
}

#[test]
fn w1_what_an_event_holds_is_bounded_before_it_waits() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = start(directory.path(), 16);
    let mut long = event(EventKind::LoginFailed, "192.0.2.1");
    long.user = Some("\u{e9}".repeat(100_000).into());
    log.record(long);
    assert!(log.flush(SOON));
    let lines = lines(directory.path(), "events.jsonl");
    assert_eq!(lines[0]["user"].as_str().unwrap().len(), 256);
}

#[test]
fn w1_a_flood_becomes_two_lines_whose_counts_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let (log, clock) = start(directory.path(), 8_192);
    for _ in 0..5_000 {
        log.record(event(EventKind::Refused, "192.0.2.1"));
    }
    assert!(log.flush(SOON));
    clock.advance(Duration::from_secs(60));
    assert!(log.flush(SOON));
    let lines = lines(directory.path(), "events.jsonl");
    let counts: Vec<u64> = lines.iter().map(|line| line["count"].as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 5_000, "{counts:?}");
    assert!(counts.len() <= 4, "{counts:?}");
}

#[test]
fn w1_what_does_not_fit_is_dropped_counted_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = start(directory.path(), 4);
    let total = 50_000;
    for _ in 0..total {
        log.record(event(EventKind::LoginSucceeded, "192.0.2.1"));
    }
    assert!(log.flush(SOON));
    log.close();
    let stats = log.stats();
    assert_eq!(stats.accepted + stats.dropped, total);
    assert!(stats.dropped > 0);
    let (mut told, mut written) = (0, 0);
    for line in lines(directory.path(), "events.jsonl") {
        let count = line["count"].as_u64().unwrap();
        if line["kind"] == "events_dropped" { told += count } else { written += count }
    }
    assert_eq!((written, told), (stats.accepted, stats.dropped));
}

#[test]
fn closing_writes_what_is_queued_and_what_is_held_back() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = start(directory.path(), 64);
    for _ in 0..10 {
        log.record(event(EventKind::LoginFailed, "192.0.2.1"));
    }
    log.close();
    log.record(event(EventKind::LoginFailed, "192.0.2.1"));
    assert_eq!(log.stats(), EventStats { accepted: 10, dropped: 1, write_errors: 0 });
    let counts: u64 = lines(directory.path(), "events.jsonl").iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, 10);
}

#[test]
fn a_directory_that_goes_away_is_counted_and_never_stops_anybody() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("log");
    let (log, _) = start(&inside, 64);
    std::fs::remove_dir(&inside).unwrap();
    log.record(event(EventKind::LoginSucceeded, "192.0.2.1"));
    assert!(log.flush(SOON));
    log.record(event(EventKind::LoginSucceeded, "192.0.2.2"));
    assert!(log.flush(SOON));
    assert_eq!(log.stats().write_errors, 2);
    std::fs::create_dir(&inside).unwrap();
    log.record(event(EventKind::LoginSucceeded, "192.0.2.3"));
    assert!(log.flush(SOON));
    let lines = lines(&inside, "events.jsonl");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["client"], "192.0.2.3");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_counted_and_never_stops_anybody() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("events.jsonl")).unwrap();
    let (log, _) = start(directory.path(), 64);
    for _ in 0..3 {
        log.record(event(EventKind::LoginSucceeded, "192.0.2.1"));
        assert!(log.flush(SOON));
    }
    assert_eq!(log.stats().write_errors, 3);
    assert_eq!(log.stats().dropped, 0);
}

#[test]
fn recording_never_waits_for_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = start(directory.path(), 8_192);
    let started = Instant::now();
    for _ in 0..200_000 {
        log.record(event(EventKind::LimitHit, "192.0.2.1"));
    }
    // A blocking queue would need at least a nap of the writer for every 8,192 events.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let stats = log.stats();
    assert_eq!(stats.accepted + stats.dropped, 200_000);
}
