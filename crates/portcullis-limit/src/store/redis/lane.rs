//! A lane: one connection that many calls share. What comes while a write is under way goes out with the next one, and
//! answers come back in the order of the calls.
//!
//! Nothing is asked twice that may already have been done: a call that was written is only written again where the server
//! says that it did not run it. A call that nobody waits for any more is dropped if it is still queued; if it was written,
//! what it charges stays charged. Memory is bounded by the queue and by what may be under way, and a call fails at its
//! deadline wherever it is.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::script::{CHARGE, EPOCH, GIVE_BACK, Script};
use super::sentinel::Target;
use super::stream::Stream;
use super::wire::{Value, Words, parse};
use crate::store::StoreError;

/// How many calls may be queued, and how many may be under way, those included that nobody waits for any more: about 5 MB
/// if a server hangs. What comes on top fails at once.
const QUEUE: usize = 4096;
const UNDER_WAY: usize = 8192;
/// How many calls are taken from the queue at once.
const BATCH: usize = 128;
/// How many written bytes are kept before they are let go.
const WRITTEN: usize = 64 * 1024;
/// A connection on which the oldest call was not answered for so long is given up.
const DEAD: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// A command, or a script with its words.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) script: Option<&'static Script>,
    pub(super) command: &'static str,
    pub(super) words: Words,
    /// Whether `ASKING` goes before it: a slot of a cluster is on its way to this node.
    pub(super) asking: bool,
}

/// One connection, as those see it who call.
#[derive(Debug)]
pub(super) struct Lane {
    queue: mpsc::Sender<Call>,
    shared: Arc<Shared>,
    host: Box<str>,
}

#[derive(Debug)]
struct Shared {
    store: Box<str>,
    timeout: Duration,
    is_down: AtomicBool,
    /// Why there is no connection.
    down: Mutex<Option<StoreError>>,
    /// Answers that came after their call was given up.
    late: AtomicU64,
    /// Calls whose answer nobody waits for, and that were not made.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Call {
    request: Request,
    /// `None` where nobody waits for the answer.
    answer: Option<oneshot::Sender<Result<Value, StoreError>>>,
    deadline: Instant,
}

/// A call that was written.
struct Flight {
    call: Call,
    /// Whether the script's whole text was sent.
    in_full: bool,
}

impl Request {
    pub(super) const fn script(script: &'static Script, words: Words) -> Self {
        Self { script: Some(script), command: "EVALSHA", words, asking: false }
    }

    pub(super) fn command(command: &'static str, words: &[&str]) -> Self {
        Self { script: None, command, words: Words::of(words), asking: false }
    }

    fn write(&self, in_full: bool, out: &mut Vec<u8>) {
        match self.script {
            None => self.words.write(&[self.command], out),
            Some(script) if in_full => self.words.write(&["EVAL", &script.text], out),
            Some(script) => self.words.write(&["EVALSHA", &script.sha], out),
        }
    }
}

impl Lane {
    /// A lane to a target, worked by a task on this runtime until the lane is dropped and all its calls are answered.
    pub(super) fn new(target: Target, timeout: Duration, runtime: &Handle) -> Self {
        let (queue, calls) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            store: target.name(),
            timeout,
            is_down: AtomicBool::new(false),
            down: Mutex::default(),
            late: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let host = target.host().into();
        let driver = Driver { target, calls, waiting: VecDeque::new(), shared: Arc::clone(&shared) };
        runtime.spawn(driver.run());
        Self { queue, shared, host }
    }

    /// The host by which it is reached.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Answers that came after their call was given up.
    pub(super) fn late(&self) -> u64 {
        self.shared.late.load(Ordering::Relaxed)
    }

    /// Calls whose answer nobody waits for, and that were not made, or not known to have been made.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Asks and waits for the answer until a deadline. An error that the server tells is an answer.
    pub(super) async fn call(&self, request: Request, deadline: Instant) -> Result<Value, StoreError> {
        if let Some(down) = self.shared.down() {
            return Err(down);
        }
        let (answer, answered) = oneshot::channel();
        let call = Call { request, answer: Some(answer), deadline };
        self.queue.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.shared.overloaded(),
            mpsc::error::TrySendError::Closed(_) => self.shared.ended(),
        })?;
        answered.await.unwrap_or_else(|_| Err(self.shared.ended()))
    }

    /// Asks without waiting for anything. What there is no room or no connection for is lost, and counted.
    pub(super) fn tell(&self, request: Request) {
        let deadline = Instant::now() + self.shared.timeout;
        let is_down = self.shared.is_down.load(Ordering::Acquire);
        if is_down || self.queue.try_send(Call { request, answer: None, deadline }).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn down(&self) -> Option<StoreError> {
        if self.is_down.load(Ordering::Acquire) { self.down.lock().clone() } else { None }
    }

    fn set(&self, down: Option<StoreError>) {
        let is_down = down.is_some();
        *self.down.lock() = down;
        self.is_down.store(is_down, Ordering::Release);
    }

    fn ended(&self) -> StoreError {
        self.unavailable("the task that speaks to it has ended")
    }

    fn unavailable(&self, cause: impl ToString) -> StoreError {
        StoreError::Unavailable { store: self.store.clone(), cause: cause.to_string().into() }
    }

    fn overloaded(&self) -> StoreError {
        StoreError::Overloaded { store: self.store.clone() }
    }

    fn fail(&self, call: &mut Call, error: StoreError) {
        match call.answer.take() {
            // Whoever asked may have gone.
            Some(answer) => drop(answer.send(Err(error))),
            None if call.request.script.is_some() => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
            None => {}
        }
    }

    fn timed_out(&self) -> StoreError {
        StoreError::TimedOut { store: self.store.clone(), after: self.timeout }
    }
}

impl Call {
    /// Whether its answer was waited for and is not any more.
    fn is_abandoned(&self) -> bool {
        self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

/// The task behind a lane.
struct Driver {
    target: Target,
    calls: mpsc::Receiver<Call>,
    /// Calls that came while there was no connection yet.
    waiting: VecDeque<Call>,
    shared: Arc<Shared>,
}

impl Driver {
    async fn run(mut self) {
        let jitter = RandomState::new();
        let mut attempt: u32 = 0;
        loop {
            let made = tokio::select! {
                made = self.target.connect() => made,
                () = hold(&mut self.calls, &mut self.waiting, &self.shared) => return,
            };
            let error = match made {
                Ok(stream) => {
                    self.shared.set(None);
                    let mut connection = Connection::new(stream, &self.shared);
                    let served = connection.serve(&mut self.calls, &mut self.waiting).await;
                    if connection.answered {
                        attempt = 0;
                    }
                    match served {
                        Ok(()) => return,
                        Err(error) => {
                            self.shared.set(Some(error.clone()));
                            connection.fail_all(&error);
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            self.shared.set(Some(error.clone()));
            self.waiting.drain(..).for_each(|mut call| self.shared.fail(&mut call, error.clone()));
            // Many instances that lose one server do not come back all at once.
            let longest = (Duration::from_millis(25) * 2_u32.pow(attempt.min(6))).min(LONGEST_PAUSE);
            let share = jitter.hash_one((attempt, Instant::now())) % 512;
            let pause = longest / 2 + longest / 1024 * u32::try_from(share).unwrap_or_default();
            attempt = attempt.saturating_add(1);
            tokio::select! {
                () = sleep(pause) => {}
                () = hold(&mut self.calls, &mut self.waiting, &self.shared) => return,
            }
        }
    }
}

/// Keeps what is asked while there is no connection, each until its deadline. Ends when nobody can ask any more and nothing
/// is kept.
async fn hold(calls: &mut mpsc::Receiver<Call>, waiting: &mut VecDeque<Call>, shared: &Shared) {
    loop {
        let deadline = waiting.front().map(|call| call.deadline);
        let open = !calls.is_closed() || !calls.is_empty();
        tokio::select! {
            call = calls.recv(), if open => {
                let Some(mut call) = call else { continue };
                match shared.down() {
                    Some(down) => shared.fail(&mut call, down),
                    None if waiting.len() >= QUEUE => shared.fail(&mut call, shared.overloaded()),
                    None => waiting.push_back(call),
                }
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                if let Some(mut call) = waiting.pop_front() {
                    shared.fail(&mut call, shared.timed_out());
                }
            }
            else => return,
        }
    }
}

/// Writes what it can, or flushes where nothing is left to write; TLS keeps some back. One of both, so that what was written
/// is known even if the other takes long.
async fn progress(writer: &mut WriteHalf<Stream>, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(bytes).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// A connection and what is under way on it.
struct Connection<'s> {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    shared: &'s Shared,
    flights: VecDeque<Flight>,
    /// How many at the front are past their deadline.
    expired: usize,
    /// What is to be written, and how much of it was.
    out: Vec<u8>,
    written: usize,
    unflushed: bool,
    read: Vec<u8>,
    /// Whether the server has answered anything.
    answered: bool,
}

impl<'s> Connection<'s> {
    fn new(stream: Stream, shared: &'s Shared) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let mut connection = Self {
            reader,
            writer,
            shared,
            flights: VecDeque::new(),
            expired: 0,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            read: Vec::with_capacity(16 * 1024),
            answered: false,
        };
        // So that the first calls find their scripts. Where that is not allowed, the first call brings its own.
        for script in [&*CHARGE, &*GIVE_BACK, &*EPOCH] {
            connection.push_quietly(Request::command("SCRIPT", &["LOAD", &script.text]));
        }
        connection
    }

    /// Works until the lane is dropped and everything is answered.
    async fn serve(
        &mut self,
        calls: &mut mpsc::Receiver<Call>,
        waiting: &mut VecDeque<Call>,
    ) -> Result<(), StoreError> {
        let mut batch: Vec<Call> = waiting.drain(..).collect();
        let mut open = true;
        let timer = sleep(self.shared.timeout);
        tokio::pin!(timer);
        let mut armed = false;
        loop {
            for call in batch.drain(..) {
                self.push(call);
            }
            // Earlier than it is set to, too: it may be set to when the connection will be given up.
            if let Some(deadline) = self.next_deadline()
                && (!armed || deadline < timer.deadline())
            {
                timer.as_mut().reset(deadline);
                armed = true;
            }
            if !open && self.flights.is_empty() {
                return Ok(());
            }
            let unwritten = self.out.len() - self.written;
            tokio::select! {
                biased;
                got = self.reader.read_buf(&mut self.read) => {
                    match got {
                        Ok(0) => return Err(self.shared.unavailable("it closed the connection")),
                        Ok(_) => self.take_answers()?,
                        Err(error) => return Err(self.shared.unavailable(error)),
                    }
                }
                wrote = progress(&mut self.writer, &self.out[self.written..]), if unwritten > 0 || self.unflushed => {
                    let count = wrote.map_err(|error| self.shared.unavailable(error))?;
                    self.written += count;
                    self.unflushed = unwritten > 0;
                    // Not each time: what remains is moved. But a server that is always a little behind must not make it grow.
                    if self.written == self.out.len() || self.written >= WRITTEN {
                        self.out.drain(..self.written);
                        self.written = 0;
                    }
                }
                count = calls.recv_many(&mut batch, BATCH), if open => open = count > 0,
                () = timer.as_mut(), if armed => {
                    armed = false;
                    self.expire()?;
                }
            }
        }
    }

    /// The next moment at which something must be given up.
    fn next_deadline(&self) -> Option<Instant> {
        let waited_for = self.flights.get(self.expired).map(|flight| flight.call.deadline);
        let dead = self.flights.front().map(|oldest| oldest.call.deadline + DEAD);
        waited_for.into_iter().chain(dead).min()
    }

    fn expire(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        while let Some(flight) = self.flights.get_mut(self.expired)
            && flight.call.deadline <= now
        {
            // The place in the row stays: the answer may still come, and it is this one's.
            if let Some(answer) = flight.call.answer.take() {
                // Whoever asked may have gone.
                let _ = answer.send(Err(self.shared.timed_out()));
            }
            self.expired += 1;
        }
        match self.flights.front() {
            Some(oldest) if oldest.call.deadline + DEAD <= now => {
                Err(self.shared.unavailable(format_args!("it did not answer for {} s", DEAD.as_secs())))
            }
            _ => Ok(()),
        }
    }

    fn push(&mut self, mut call: Call) {
        if call.is_abandoned() {
            return;
        }
        if call.deadline <= Instant::now() {
            self.shared.fail(&mut call, self.shared.timed_out());
            return;
        }
        if self.flights.len() >= UNDER_WAY {
            self.shared.fail(&mut call, self.shared.overloaded());
            return;
        }
        if call.request.asking {
            self.push_quietly(Request::command("ASKING", &[]));
        }
        call.request.write(false, &mut self.out);
        self.flights.push_back(Flight { call, in_full: false });
    }

    /// A command whose answer does not matter.
    fn push_quietly(&mut self, request: Request) {
        request.write(false, &mut self.out);
        let deadline = Instant::now() + self.shared.timeout;
        self.flights.push_back(Flight { call: Call { request, answer: None, deadline }, in_full: true });
    }

    /// Hands out every answer that is there as a whole.
    fn take_answers(&mut self) -> Result<(), StoreError> {
        let mut taken = 0;
        let mut read_only = None;
        loop {
            match parse(&self.read[taken..]) {
                Ok(None) => break,
                Ok(Some((value, length))) => {
                    taken += length;
                    self.answered = true;
                    let Some(flight) = self.flights.pop_front() else {
                        return Err(self.protocol("more answers than questions".as_bytes()));
                    };
                    self.expired = self.expired.saturating_sub(1);
                    if let Value::Error(error) = &value
                        && (error.starts_with("READONLY") || error.contains("READONLY You can't write"))
                    {
                        read_only = Some(error.clone());
                    }
                    self.answer(flight, value);
                }
                Err(_) => return Err(self.protocol(&self.read[taken..])),
            }
        }
        self.read.drain(..taken);
        // The server has become a replica: the master is elsewhere, and behind this name perhaps already.
        match read_only {
            Some(answer) => Err(StoreError::NotReady { store: self.shared.store.clone(), answer: answer.into() }),
            None => Ok(()),
        }
    }

    fn answer(&mut self, mut flight: Flight, value: Value) {
        let unknown = matches!(&value, Value::Error(error) if error.starts_with("NOSCRIPT"));
        if unknown && flight.call.request.script.is_some() && !flight.in_full {
            // The server was restarted or told to forget scripts. It ran nothing, so that this is no second time.
            if !flight.call.is_abandoned() {
                flight.call.request.write(true, &mut self.out);
                self.flights.push_back(Flight { in_full: true, ..flight });
            }
            return;
        }
        let Some(answer) = flight.call.answer.take() else {
            // Given up at its deadline, or a script that nobody waits for.
            match flight.call.request.script {
                Some(script) if script.sha == CHARGE.sha => drop(self.shared.late.fetch_add(1, Ordering::Relaxed)),
                Some(_) if matches!(value, Value::Error(_)) => drop(self.shared.lost.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
            return;
        };
        if answer.send(Ok(value)).is_err() && flight.call.request.script.is_some_and(|script| script.sha == CHARGE.sha)
        {
            self.shared.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn protocol(&self, bytes: &[u8]) -> StoreError {
        let answer = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).escape_default().to_string();
        StoreError::Protocol { store: self.shared.store.clone(), answer: answer.into() }
    }

    fn fail_all(&mut self, error: &StoreError) {
        self.flights.drain(..).for_each(|mut flight| self.shared.fail(&mut flight.call, error.clone()));
    }
}
