//! What layers share: the cells, the clock, and the task that keeps both.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_core::{Clock, SystemClock, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::key::Key;
use crate::limiter::Limiter;

/// How often idle cells are reclaimed, and how often it is looked whether the task that does it still runs.
const SWEEP: Duration = Duration::from_secs(30);

/// How many requests may be held back at once. One costs what an open request costs; whoever slows clients down must not be
/// drowned by those who do not mind waiting.
const PLACES: usize = 1_024;

/// What the layers of an app count in: a [`Limiter`] and a clock. Clones are the same one.
///
/// It looks after itself. With the first request it starts a task on the runtime that the request runs on, which reclaims the
/// memory of clients that are gone (twice a minute; no more than [`crate::MemoryStore::with_capacity`] are ever kept) and asks a
/// shared store that was lost whether it is back. The task ends with the last clone and the last layer. If its runtime ends
/// before, the next request starts another.
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

struct Shared {
    limiter: Arc<Limiter>,
    clock: Arc<dyn Clock>,
    names: Mutex<HashMap<Arc<str>, u32>>,
    places: Arc<Semaphore>,
    /// In nanoseconds, when the keeper is to be looked for.
    look_at: AtomicU64,
    keeper: Mutex<Option<AbortHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get_mut() {
            keeper.abort();
        }
    }
}

impl Default for Limits {
    /// Limits in this process's memory, for at most about a million clients (70 MB).
    fn default() -> Self {
        Self::new(Limiter::default())
    }
}

impl Limits {
    /// Limits that count in this limiter, by the clock of the operating system.
    #[must_use]
    pub fn new(limiter: impl Into<Arc<Limiter>>) -> Self {
        Self::with_clock(limiter, Arc::new(SystemClock))
    }

    /// The same by another clock. Cells in memory are judged by it; a store over a network goes by its own.
    #[must_use]
    pub fn with_clock(limiter: impl Into<Arc<Limiter>>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            limiter: limiter.into(),
            clock,
            names: Mutex::default(),
            places: Arc::new(Semaphore::new(PLACES)),
            look_at: AtomicU64::new(0),
            keeper: Mutex::new(None),
        }))
    }

    /// The limiter: for its figures, to charge what is no request, and to start a limit anew for somebody (or to block, reward or
    /// penalise them). A key is made of
    /// what the limit counts by, in this order: an address as such, an extension as a text of the kind `e`, a header of the
    /// kind `h`, what a function read of the kind `f`.
    ///
    /// ```
    /// # use portcullis_limit::tower::Limits;
    /// use portcullis_limit::{ClientAddress, Key};
    ///
    /// # async fn forgive(limits: &Limits) -> Result<(), portcullis_limit::StoreError> {
    /// let mut client = Key::named("login");
    /// client.push_address(ClientAddress::new("192.0.2.1".parse().expect("an address")).key(64));
    /// limits.limiter().reset("login", &client).await?;
    ///
    /// let mut user = Key::named("export");
    /// user.push_text('e', "alice");
    /// limits.limiter().reset("export", &user).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.0.limiter
    }

    /// The moment; and somebody looks after the cells.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.0.clock.now();
        if now.as_nanos() >= self.0.look_at.load(Ordering::Relaxed) {
            self.0.look_at.store(now.after(SWEEP).as_nanos(), Ordering::Relaxed);
            self.start_keeper();
        }
        now
    }

    /// A place among those that wait; `None` where too many do.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    /// The number by which keys of the limit of this name are told from others'; `None` where the name is taken.
    pub(super) fn register(&self, name: &Arc<str>) -> Option<u32> {
        let mut names = self.0.names.lock();
        if names.contains_key(name) {
            return None;
        }
        // Two names of one number are as good as impossible; the later one takes the next that is free.
        let mut id = Key::named(name).limit();
        while names.values().any(|taken| *taken == id) {
            id = id.wrapping_add(1);
        }
        names.insert(Arc::clone(name), id);
        Some(id)
    }

    #[cold]
    fn start_keeper(&self) {
        let mut keeper = self.0.keeper.lock();
        if keeper.as_ref().is_some_and(|keeper| !keeper.is_finished()) {
            return;
        }
        // Without a runtime nobody looks after them: the cells stay bounded, and no store over a network works anyway.
        let Ok(runtime) = Handle::try_current() else { return };
        let (limiter, clock) = (Arc::clone(&self.0.limiter), Arc::clone(&self.0.clock));
        *keeper = Some(
            runtime
                .spawn(async move {
                    tokio::join!(limiter.keep(), sweep(&limiter, &*clock));
                })
                .abort_handle(),
        );
    }
}

/// Reclaims idle cells for as long as it is polled.
async fn sweep(limiter: &Arc<Limiter>, clock: &dyn Clock) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (limiter, now) = (Arc::clone(limiter), clock.now());
        // A million cells take some milliseconds, for which no request is kept waiting.
        let swept = tokio::task::spawn_blocking(move || limiter.local().sweep(now));
        // It does not fail unless the runtime ends, and then this ends too.
        let _ = swept.await;
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("limiter", &self.0.limiter).finish_non_exhaustive()
    }
}
