//! What becomes of a decision while the shared store does not answer (L10).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::breaker::{Breaker, Change, Failure, Permit};
use crate::key::Key;
use crate::lease::Leases;
use crate::limiter::{Ask, Charge, Denied, Standing};
use crate::store::{SharedStore, StoreError};

/// How long a decision waits for the shared store in all, unless told otherwise. With what the decision itself takes it
/// stays within 50 ms.
pub const PATIENCE: Duration = Duration::from_millis(40);

/// How often the store is asked whether it is there: at least once in so long, sooner at random, so that instances which
/// lost it together do not come back together.
const PING_WITHIN: Duration = Duration::from_millis(500);

/// What a limit does while its shared store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outage {
    /// It goes on by what this process has counted itself. It counts along all the time, so that nobody gets a fresh
    /// allowance when the store goes away. Several instances together may admit their number times the quota.
    #[default]
    Local,
    /// It does not limit.
    Open,
    /// It admits nobody.
    Closed,
}

impl Outage {
    /// Its name in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// How long one request may still wait for the shared store. Each request begins with `Patience::default()`, which lets it
/// wait as long as the limiter was told ([`crate::Limiter::sharing`]), from its first charge on. The one value goes through all
/// its charges, so that several slow answers do not add up.
#[derive(Debug, Default)]
pub struct Patience(Option<Instant>);

impl Patience {
    /// Until when it lasts; it begins now if it has not.
    pub(crate) fn until(&mut self, patience: Duration) -> Instant {
        *self.0.get_or_insert_with(|| Instant::now() + patience)
    }
}

/// What happened to the shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// One question was not answered.
    Failed(StoreError),
    /// From now on it is left alone, and every limit does what its [`Outage`] says.
    Lost(StoreError),
    /// It is still left alone: what it says when it is asked whether it is back. That may be more than was known when it was
    /// lost, when all that was seen was a connection that broke.
    Still(StoreError),
    /// It is asked again.
    Back,
    /// It may have lost what it had counted: it was restarted or emptied, or another server has taken its place. Leased
    /// limits ([`crate::Ask::lease`]) stay closed for the window of the loss; all others count anew what is gone. It is
    /// found out only while something is leased.
    Forgot,
}

/// Is told what happens to the store. Called on the way of a request: it counts or queues, and never blocks.
pub type StoreObserver = Arc<dyn Fn(&StoreEvent) + Send + Sync>;

/// The shared store and how it is doing.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn SharedStore>,
    breaker: Breaker,
    patience: Duration,
    observer: StoreObserver,
    alone: AtomicU64,
    /// What is held of quotas, where the store lets portions be leased.
    pub(crate) leases: Option<Leases>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

/// A question under way. Dropped before its end, it leaves the trying to another.
struct Asking<'a> {
    breaker: &'a Breaker,
    permit: Permit,
    ended: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.gave_up(self.permit);
        }
    }
}

impl Shared {
    pub(crate) fn new(store: Arc<dyn SharedStore>, patience: Duration, observer: StoreObserver) -> Self {
        let leases = store.lender().map(|_| Leases::new());
        Self { store, breaker: Breaker::default(), patience, observer, alone: AtomicU64::new(0), leases }
    }

    /// Whether the store is asked at the moment.
    pub(crate) fn works(&self) -> bool {
        self.breaker.works()
    }

    /// How many charges were decided without the store.
    pub(crate) fn alone(&self) -> u64 {
        self.alone.load(Ordering::Relaxed)
    }

    /// How long a question is waited for.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// A charge was decided without the store.
    pub(crate) fn note_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }

    /// Does to a key what makes worthless what is held of it: dropped before, so that nothing of it is given back to what is
    /// there afterwards, and after, for what was taken meanwhile.
    pub(crate) async fn without_leases<T>(&self, key: &Key, what: impl Future<Output = T>) -> T {
        let drop_leases = || self.leases.iter().for_each(|leases| leases.drop_key(key));
        drop_leases();
        let done = what.await;
        drop_leases();
        done
    }

    /// What the store says to a charge; `None` where it is to be decided without it.
    pub(crate) async fn charge(&self, asks: &[Ask<'_>], patience: &mut Patience) -> Option<Result<Charge, Denied>> {
        let answer = self.ask(asks, patience).await;
        if answer.is_none() {
            self.note_alone();
        }
        answer
    }

    async fn ask(&self, asks: &[Ask<'_>], patience: &mut Patience) -> Option<Result<Charge, Denied>> {
        let until = patience.until(self.patience);
        self.guarded(until, || self.store.charge(asks)).await
    }

    /// What the store says to a question until a moment; `None` if it is left alone, or does not answer.
    pub(crate) async fn guarded<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        until: Instant,
        question: impl FnOnce() -> F,
    ) -> Option<T> {
        let permit = self.breaker.permit();
        if permit == Permit::LeaveAlone {
            return None;
        }
        let mut asking = Asking { breaker: &self.breaker, permit, ended: false };
        let answer = timeout_at(until, question()).await;
        asking.ended = true;
        let error = match answer {
            Ok(Ok(answer)) => {
                self.tell(self.breaker.succeeded(permit), None);
                return Some(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => self.late(),
        };
        let change = match &error {
            // One key that somebody else has written to says nothing about the store, and a limit that it cannot count neither.
            StoreError::Foreign { .. } | StoreError::NotCarried { .. } => self.breaker.succeeded(permit),
            StoreError::TimedOut { .. } => self.breaker.failed(permit, Failure::Late),
            _ => self.breaker.failed(permit, Failure::Told),
        };
        self.tell(change, Some(error));
        None
    }

    /// How a limit stands; `None` where the store does not say in time. It says nothing about the store, which whoever charges
    /// watches.
    pub(crate) async fn peek(&self, ask: &Ask<'_>, patience: &mut Patience) -> Option<Standing> {
        let until = *patience.0.get_or_insert_with(|| Instant::now() + self.patience);
        timeout_at(until, self.store.peek(ask)).await.ok()?.ok()
    }

    /// Asks the store at random intervals whether it is there, and looks after what is leased from it, for as long as the
    /// future is polled.
    pub(crate) async fn keep(&self) {
        match (&self.leases, self.store.lender()) {
            (Some(leases), Some(lender)) => drop(tokio::join!(self.keep_pinging(), leases.keep(self, lender))),
            _ => self.keep_pinging().await,
        }
    }

    async fn keep_pinging(&self) {
        loop {
            sleep(PING_WITHIN.mul_f64(0.5 + 0.5 * random())).await;
            let (well, error) = match timeout(self.patience, self.store.ping()).await {
                Ok(Ok(_)) => (true, None),
                Ok(Err(error)) => (false, Some(error)),
                Err(_) => (false, Some(self.late())),
            };
            let change = self.breaker.pinged(well);
            match error {
                // Of a store that is known to be away it is no failed question.
                Some(error) if change == Change::None && !self.works() => (self.observer)(&StoreEvent::Still(error)),
                error => self.tell(change, error.filter(|_| change == Change::Lost)),
            }
        }
    }

    fn late(&self) -> StoreError {
        StoreError::TimedOut { store: "the store of the limits".into(), after: self.patience }
    }

    /// The store says that it has lost something.
    pub(crate) fn tell_of_loss(&self) {
        (self.observer)(&StoreEvent::Forgot);
    }

    fn tell(&self, change: Change, error: Option<StoreError>) {
        match (change, error) {
            (Change::Lost, Some(error)) => {
                (self.observer)(&StoreEvent::Failed(error.clone()));
                (self.observer)(&StoreEvent::Lost(error));
            }
            (Change::None, Some(error)) => (self.observer)(&StoreEvent::Failed(error)),
            (Change::Back, _) => (self.observer)(&StoreEvent::Back),
            (Change::None | Change::Lost, None) => {}
        }
    }
}

/// A number from 0 up to 1, for spreading instances in time; nothing depends on its being unforeseeable.
pub(crate) fn random() -> f64 {
    let mut byte = [0];
    // Without randomness the instances keep one pace, which does no harm by itself.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    f64::from(byte[0]) / 256.0
}

#[cfg(test)]
mod tests;
