//! What is under way on one connection: calls out, answers in, in the same order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::script::{CHARGE, GIVE_BACK, PULSE, Script, TAKE};
use super::super::stream::Stream;
use super::super::wire::{Value, parse};
use super::{Call, DEAD, Request, Shared};
use crate::store::StoreError;

/// How many calls may be under way, those included that nobody waits for any more: about 5 MB if a server hangs.
const UNDER_WAY: usize = 8192;
/// How many calls are taken from the queue at once.
const BATCH: usize = 128;
/// How many written bytes are kept before they are let go.
const WRITTEN: usize = 64 * 1024;

/// A call that was written.
struct Flight {
    call: Call,
    /// Whether the script's whole text was sent.
    in_full: bool,
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

/// Whether what the script did stays charged if nobody hears of it.
fn charges(script: &Script) -> bool {
    script.sha == CHARGE.sha || script.sha == TAKE.sha
}

/// A connection and what is under way on it.
pub(super) struct Connection<'s> {
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
    pub(super) answered: bool,
}

impl<'s> Connection<'s> {
    pub(super) fn new(stream: Stream, shared: &'s Shared) -> Self {
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
        for script in [&*CHARGE, &*GIVE_BACK, &*PULSE] {
            connection.push_quietly(Request::command("SCRIPT", &["LOAD", &script.text]));
        }
        connection
    }

    /// Works until the lane is dropped and everything is answered.
    pub(super) async fn serve(
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
                Some(script) if charges(script) => drop(self.shared.late.fetch_add(1, Ordering::Relaxed)),
                Some(_) if matches!(value, Value::Error(_)) => drop(self.shared.lost.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
            return;
        };
        if answer.send(Ok(value)).is_err() && flight.call.request.script.is_some_and(charges) {
            self.shared.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn protocol(&self, bytes: &[u8]) -> StoreError {
        let answer = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).escape_default().to_string();
        StoreError::Protocol { store: self.shared.store.clone(), answer: answer.into() }
    }

    pub(super) fn fail_all(&mut self, error: &StoreError) {
        self.flights.drain(..).for_each(|mut flight| self.shared.fail(&mut flight.call, error.clone()));
    }
}
