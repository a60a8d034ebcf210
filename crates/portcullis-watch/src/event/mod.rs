//! The event log: a bounded queue, one writer thread, two streams of JSON lines.

mod aggregate;
mod file;
mod line;

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use portcullis_core::{Clock, Event, EventSink};

use crate::Counter;
use aggregate::Aggregator;
use file::{Keep, Stream};
use line::Line;

/// How long the writer sleeps between two looks into the queue. It is never woken by an event, because waking a thread
/// is a system call and events come from the hot path. The default queue is good for 320,000 events a second.
const NAP: Duration = Duration::from_millis(25);

/// How an [`EventLog`] is set up.
#[derive(Debug, Clone)]
pub struct EventLogOptions {
    /// Directory of `events.jsonl` and `limits.jsonl`, made if absent (mode 0700); `None` writes no files.
    pub directory: Option<PathBuf>,
    /// Whether readable lines go to standard error.
    pub stderr: bool,
    /// Events that wait for the writer at most (8,192); what comes while as many wait is dropped and counted.
    pub queue: usize,
    /// Bytes after which a file is closed and a new one begun (64 MiB); the end of a day (UTC) closes it too.
    pub part_bytes: u64,
    /// How long closed files are kept (90 days).
    pub retention: Duration,
    /// Bytes of closed files that are kept of each stream (4 GiB); the oldest go first, whatever their age, because a
    /// full disk would stop the accounts too.
    pub total_bytes: u64,
}

impl Default for EventLogOptions {
    fn default() -> Self {
        Self {
            directory: None,
            stderr: false,
            queue: 8_192,
            part_bytes: 64 << 20,
            retention: Duration::from_secs(90 * 86_400),
            total_bytes: 4 << 30,
        }
    }
}

/// What the log has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventStats {
    /// Events that were taken into the queue.
    pub accepted: u64,
    /// Events that found the queue full or the log closed.
    pub dropped: u64,
    /// Batches of lines that could not be written to a file.
    pub write_errors: u64,
}

/// Writes events as JSON lines off the hot path.
///
/// Limit hits go to `limits.jsonl`, everything else to `events.jsonl`. Each line has `ts` (RFC 3339), `kind`, `severity`
/// and `count`, and where they are known `client`, `user`, `route`, `limit`, `reason`, `rule` and `request_id`. Equal events of
/// one minute are summed up: the first is written at once, the others as one line with their number in `count` and the
/// first one's time in `since`. A full queue drops events, never blocks; how many were dropped is a line of its own
/// (`{"kind":"events_dropped","count":…}`) and a number in [`EventLog::stats`].
///
/// Files that cannot be written are reported once on standard error and tried again; no request notices.
pub struct EventLog {
    queue: SyncSender<Event>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    accepted: Counter,
    dropped: Counter,
    write_errors: AtomicU64,
    closing: AtomicBool,
    /// Rounds the writer has finished, and the bell it rings after each.
    rounds: Mutex<u64>,
    round_done: Condvar,
}

impl EventLog {
    /// Makes the directory and starts the writer. The clock decides when a minute and a day are over.
    ///
    /// # Errors
    /// When the directory cannot be made or the thread not be started.
    pub fn start(options: EventLogOptions, clock: Arc<dyn Clock>) -> io::Result<Self> {
        if let Some(directory) = &options.directory {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(directory)?;
        }
        let (queue, events) = sync_channel(options.queue.max(1));
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(events, Arc::clone(&shared), clock, options);
        let writer = std::thread::Builder::new().name("event-log".into()).spawn(move || writer.run())?;
        Ok(Self { queue, shared, writer: Mutex::new(Some(writer)) })
    }

    /// What the log has done so far.
    #[must_use]
    pub fn stats(&self) -> EventStats {
        EventStats {
            accepted: self.shared.accepted.value(),
            dropped: self.shared.dropped.value(),
            write_errors: self.shared.write_errors.load(Ordering::Relaxed),
        }
    }

    /// Waits until everything that was recorded before this call is written (summaries of the running minute excepted),
    /// at most as long as given; says whether it is.
    pub fn flush(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut rounds = self.shared.rounds.lock();
        // The round under way may have looked into the queue already; the one after it has not.
        let target = *rounds + 2;
        while *rounds < target {
            if self.shared.round_done.wait_until(&mut rounds, deadline).timed_out() {
                return *rounds >= target;
            }
        }
        true
    }

    /// Writes what is queued and held back, and stops the writer. What is recorded later is dropped. Dropping the log
    /// does the same.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(writer) = self.writer.lock().take() {
            writer.thread().unpark();
            // A writer that panicked has nothing more to write.
            let _ = writer.join();
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl EventSink for EventLog {
    fn record(&self, mut event: Event) {
        // The queue bounds the number of events; this bounds what each of them can hold of a stranger's text.
        if let Some(user) = event.user.as_ref().filter(|user| user.len() > line::MAX_TEXT) {
            event.user = Some(line::bounded(user).into());
        }
        let taken = !self.shared.closing.load(Ordering::Relaxed) && self.queue.try_send(event).is_ok();
        let counter = if taken { &self.shared.accepted } else { &self.shared.dropped };
        counter.add(1);
    }
}

/// The thread that writes.
struct Writer {
    events: Receiver<Event>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    stderr: bool,
    batch_limit: usize,
    aggregator: Aggregator,
    event_stream: Option<Stream>,
    limit_stream: Option<Stream>,
    dropped_told: u64,
    failing: bool,
}

/// The lines of one round, by where they go.
#[derive(Default)]
struct Batch {
    events: Vec<u8>,
    limits: Vec<u8>,
    readable: String,
}

impl Writer {
    fn new(events: Receiver<Event>, shared: Arc<Shared>, clock: Arc<dyn Clock>, options: EventLogOptions) -> Self {
        let keep = Keep { part_bytes: options.part_bytes, age: options.retention, total_bytes: options.total_bytes };
        let stream = |name| options.directory.clone().map(|directory| Stream::new(directory, name, keep));
        Self {
            events,
            shared,
            clock,
            stderr: options.stderr,
            batch_limit: options.queue.max(1),
            aggregator: Aggregator::default(),
            event_stream: stream("events"),
            limit_stream: stream("limits"),
            dropped_told: 0,
            failing: false,
        }
    }

    fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            let closing = self.shared.closing.load(Ordering::Acquire);
            self.collect(&mut batch, closing);
            self.write(&mut batch);
            *self.shared.rounds.lock() += 1;
            self.shared.round_done.notify_all();
            if closing {
                return;
            }
            std::thread::park_timeout(NAP);
        }
    }

    /// Turns what is queued into lines; when closing, also what is held back.
    fn collect(&mut self, batch: &mut Batch, closing: bool) {
        for line in self.aggregator.turn(self.clock.now()) {
            self.push(&line, batch);
        }
        // One queue's worth at most, so that a flood cannot keep a round from ending.
        for _ in 0..self.batch_limit {
            let Ok(event) = self.events.try_recv() else { break };
            if let Some(line) = self.aggregator.take(event) {
                self.push(&line, batch);
            }
        }
        if closing {
            for line in self.aggregator.finish() {
                self.push(&line, batch);
            }
        }
        let dropped = self.shared.dropped.value();
        let newly = dropped - self.dropped_told;
        if newly > 0 {
            self.dropped_told = dropped;
            let now = self.clock.now();
            let line = format!(
                "{{\"ts\":\"{now}\",\"kind\":\"events_dropped\",\"severity\":\"warning\",\"count\":{newly}}}\n"
            );
            if self.event_stream.is_some() {
                batch.events.extend_from_slice(line.as_bytes());
            }
            if self.stderr {
                batch.readable.push_str(&format!("{newly} events were dropped because they came too fast\n"));
            }
        }
    }

    fn push(&self, line: &Line, batch: &mut Batch) {
        if line.is_limit_hit() {
            if self.limit_stream.is_some() {
                line.push_json(&mut batch.limits);
            }
        } else if self.event_stream.is_some() {
            line.push_json(&mut batch.events);
        }
        if self.stderr {
            line.push_readable(&mut batch.readable);
        }
    }

    fn write(&mut self, batch: &mut Batch) {
        let now = self.clock.now();
        let mut failure = None;
        let mut wrote = false;
        for (stream, lines) in
            [(&mut self.event_stream, &mut batch.events), (&mut self.limit_stream, &mut batch.limits)]
        {
            let Some(stream) = stream else { continue };
            let result = if lines.is_empty() { stream.rotate_if_due(now) } else { stream.write(lines, now) };
            wrote |= !lines.is_empty();
            if let Err(error) = result {
                self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
                failure = Some(error);
            }
            recycle(lines);
        }
        match failure {
            Some(error) if !self.failing => {
                self.failing = true;
                tell(&format!("the event log cannot be written ({error}); requests go on, events are lost\n"));
            }
            None if self.failing && wrote => {
                self.failing = false;
                tell("the event log can be written again\n");
            }
            _ => {}
        }
        if !batch.readable.is_empty() {
            tell(&batch.readable);
            batch.readable = String::new();
        }
    }
}

/// Empties a buffer and gives back what a flood made it grow to.
fn recycle(lines: &mut Vec<u8>) {
    lines.clear();
    lines.shrink_to(64 * 1_024);
}

/// Writes to standard error if there still is one; unlike `eprintln!` this cannot panic.
fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
