//! A lane: one connection that many calls share. What comes while a write is under way goes out with the next one, and
//! answers come back in the order of the calls.
//!
//! Nothing is asked twice that may already have been done: a call that was written is only written again where the server
//! says that it did not run it. A call that nobody waits for any more is dropped if it is still queued; if it was written,
//! what it charges stays charged. Memory is bounded by the queue and by what may be under way, and a call fails at its
//! deadline wherever it is.

mod connection;

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use self::connection::Connection;
use super::{Kind, Question, Target};
use crate::store::StoreError;

/// How many calls may be queued. What comes on top fails at once.
const QUEUE: usize = 4096;
/// A connection on which the oldest call was not answered for so long is given up.
const DEAD: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// One connection, as those see it who call.
#[derive(Debug)]
pub(in crate::store) struct Lane<Q: Question> {
    queue: mpsc::Sender<Call<Q>>,
    shared: Arc<Shared>,
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
struct Call<Q: Question> {
    question: Q,
    /// `None` where nobody waits for the answer.
    answer: Option<oneshot::Sender<Result<Q::Answer, StoreError>>>,
    deadline: Instant,
}

impl<Q: Question> Lane<Q> {
    /// A lane to a target, worked by a task on this runtime until the lane is dropped and all its calls are answered.
    pub(in crate::store) fn new(target: impl Target, timeout: Duration, runtime: &Handle) -> Self {
        let (queue, calls) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            store: target.name(),
            timeout,
            is_down: AtomicBool::new(false),
            down: Mutex::default(),
            late: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let driver = Driver { target, calls, waiting: VecDeque::new(), shared: Arc::clone(&shared) };
        runtime.spawn(driver.run());
        Self { queue, shared }
    }

    /// Answers that came after their call was given up.
    pub(in crate::store) fn late(&self) -> u64 {
        self.shared.late.load(Ordering::Relaxed)
    }

    /// Calls whose answer nobody waits for, and that were not made, or not known to have been made.
    pub(in crate::store) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Asks and waits for the answer until a deadline. An error that the server tells is an answer.
    pub(in crate::store) async fn call(&self, question: Q, deadline: Instant) -> Result<Q::Answer, StoreError> {
        if let Some(down) = self.shared.down() {
            return Err(down);
        }
        let (answer, answered) = oneshot::channel();
        let call = Call { question, answer: Some(answer), deadline };
        self.queue.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.shared.overloaded(),
            mpsc::error::TrySendError::Closed(_) => self.shared.ended(),
        })?;
        answered.await.unwrap_or_else(|_| Err(self.shared.ended()))
    }

    /// Asks without waiting for anything. What there is no room or no connection for is lost, and counted.
    pub(in crate::store) fn tell(&self, question: Q) {
        let deadline = Instant::now() + self.shared.timeout;
        let is_down = self.shared.is_down.load(Ordering::Acquire);
        if is_down || self.queue.try_send(Call { question, answer: None, deadline }).is_err() {
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

    fn fail<Q: Question>(&self, call: &mut Call<Q>, error: StoreError) {
        match call.answer.take() {
            // Whoever asked may have gone.
            Some(answer) => drop(answer.send(Err(error))),
            None if call.question.kind() == Kind::GiveBack => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
            None => {}
        }
    }

    fn timed_out(&self) -> StoreError {
        StoreError::TimedOut { store: self.store.clone(), after: self.timeout }
    }
}

impl<Q: Question> Call<Q> {
    /// Whether its answer was waited for and is not any more.
    fn is_abandoned(&self) -> bool {
        self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

/// The task behind a lane.
struct Driver<T, Q: Question> {
    target: T,
    calls: mpsc::Receiver<Call<Q>>,
    /// Calls that came while there was no connection yet.
    waiting: VecDeque<Call<Q>>,
    shared: Arc<Shared>,
}

impl<T: Target, Q: Question> Driver<T, Q> {
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
async fn hold<Q: Question>(calls: &mut mpsc::Receiver<Call<Q>>, waiting: &mut VecDeque<Call<Q>>, shared: &Shared) {
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
