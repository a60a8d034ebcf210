//! What is under way on one connection: calls out, answers in, in the same order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::stream::{Stream, not_understood};
use super::super::{Kind, Question};
use super::{Call, DEAD, Shared};
use crate::store::StoreError;

/// How many calls may be under way, those included that nobody waits for any more: about 5 MB if a server hangs.
const UNDER_WAY: usize = 8192;
/// How many calls are taken from the queue at once.
const BATCH: usize = 128;
/// How many written bytes are kept before they are let go.
const WRITTEN: usize = 64 * 1024;

/// A call that was written.
struct Flight<Q: Question> {
    call: Call<Q>,
    /// Whether it was written in full.
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

/// A connection and what is under way on it.
pub(super) struct Connection<'s, Q: Question> {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    shared: &'s Shared,
    flights: VecDeque<Flight<Q>>,
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

impl<'s, Q: Question> Connection<'s, Q> {
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
        Q::opening().into_iter().for_each(|question| connection.push_quietly(question));
        connection
    }

    /// Works until the lane is dropped and everything is answered.
    pub(super) async fn serve(
        &mut self,
        calls: &mut mpsc::Receiver<Call<Q>>,
        waiting: &mut VecDeque<Call<Q>>,
    ) -> Result<(), StoreError> {
        let mut batch: Vec<Call<Q>> = waiting.drain(..).collect();
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

    fn push(&mut self, mut call: Call<Q>) {
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
        if let Some(before) = call.question.before() {
            self.push_quietly(before);
        }
        call.question.write(false, &mut self.out);
        self.flights.push_back(Flight { call, in_full: false });
    }

    /// A command whose answer does not matter.
    fn push_quietly(&mut self, question: Q) {
        question.write(false, &mut self.out);
        let deadline = Instant::now() + self.shared.timeout;
        self.flights.push_back(Flight { call: Call { question, answer: None, deadline }, in_full: true });
    }

    /// Hands out every answer that is there as a whole.
    fn take_answers(&mut self) -> Result<(), StoreError> {
        let mut taken = 0;
        let mut left = None;
        loop {
            match Q::read(&self.read[taken..]) {
                Ok(None) => break,
                Ok(Some((answer, length))) => {
                    taken += length;
                    self.answered = true;
                    let Some(flight) = self.flights.pop_front() else {
                        return Err(not_understood(&self.shared.store, b"more answers than questions"));
                    };
                    self.expired = self.expired.saturating_sub(1);
                    left = Q::leaves(&answer).or(left);
                    self.answer(flight, answer);
                }
                Err(_) => return Err(not_understood(&self.shared.store, &self.read[taken..])),
            }
        }
        self.read.drain(..taken);
        match left {
            Some(answer) => Err(StoreError::NotReady { store: self.shared.store.clone(), answer: answer.into() }),
            None => Ok(()),
        }
    }

    fn answer(&mut self, mut flight: Flight<Q>, said: Q::Answer) {
        let question = &flight.call.question;
        if !flight.in_full && question.must_be_in_full(&said) {
            // It ran nothing, so that this is no second time.
            if !flight.call.is_abandoned() {
                question.write(true, &mut self.out);
                self.flights.push_back(Flight { in_full: true, ..flight });
            }
            return;
        }
        let kind = question.kind();
        let Some(answer) = flight.call.answer.take() else {
            // Given up at its deadline, or one that nobody waits for.
            match kind {
                Kind::Charge => drop(self.shared.late.fetch_add(1, Ordering::Relaxed)),
                Kind::GiveBack if Q::is_error(&said) => drop(self.shared.lost.fetch_add(1, Ordering::Relaxed)),
                Kind::GiveBack | Kind::Other => {}
            }
            return;
        };
        if answer.send(Ok(said)).is_err() && kind == Kind::Charge {
            self.shared.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn fail_all(&mut self, error: &StoreError) {
        self.flights.drain(..).for_each(|mut flight| self.shared.fail(&mut flight.call, error.clone()));
    }
}
