//! The limiters of a running gate: this process's memory, and the store that instances share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_core::{Clock as _, Event, EventKind, EventSink};
use portcullis_limit::{
    LeaseFigures, Limiter, MemcachedStore, MemoryStore, RedisStore, SharedStore, StoreError, StoreEvent, StoreObserver,
};
use portcullis_watch::{Metrics, Sample};
use tokio::runtime::Handle;

use super::attempts;
use crate::clock::ProcessClock;
use crate::config::{GateSettings, LimitStore, StoreOptions, rates};

/// Those who count, each in a memory of its own, all with the same store behind it.
pub(super) struct Limiters {
    /// For the gate's limits.
    pub(super) gate: Arc<Limiter>,
    /// For attempts to log in: nobody can fill the memory that they are counted in by asking for anything else.
    pub(super) attempts: Arc<Limiter>,
    /// The store, where it has to know by what limits count.
    pub(super) introduced: Option<Arc<MemcachedStore>>,
}

/// The store that instances share.
#[derive(Clone)]
enum Store {
    Redis(Arc<RedisStore>),
    Memcached(Arc<MemcachedStore>),
}

impl Store {
    fn new(settings: &LimitStore) -> Result<Self, StoreError> {
        let runtime = &Handle::current();
        Ok(match &settings.options {
            StoreOptions::Redis(options) => Self::Redis(Arc::new(RedisStore::new(options, runtime)?)),
            StoreOptions::Memcached(options) => Self::Memcached(Arc::new(MemcachedStore::new(options, runtime)?)),
        })
    }

    fn shared(&self) -> Arc<dyn SharedStore> {
        match self {
            Self::Redis(store) => Arc::clone(store) as _,
            Self::Memcached(store) => Arc::clone(store) as _,
        }
    }

    fn refused_locally(&self) -> u64 {
        match self {
            Self::Redis(store) => store.figures().refused_locally,
            Self::Memcached(store) => store.figures().refused_locally,
        }
    }

    fn late(&self) -> u64 {
        match self {
            Self::Redis(store) => store.figures().late,
            Self::Memcached(store) => store.figures().late,
        }
    }

    fn lost_give_backs(&self) -> u64 {
        match self {
            Self::Redis(store) => store.figures().lost_give_backs,
            Self::Memcached(store) => store.figures().lost_give_backs,
        }
    }
}

/// Makes the limiters, and shows their figures. It does not wait for the store: until that answers, each limit does what its
/// policy for outages says. `lockout`: whether attempts to log in are counted at all.
///
/// # Errors
/// [`StoreError`] where the certificates that shall vouch for the store cannot be used.
pub(super) fn limiters(
    settings: &GateSettings,
    metrics: &Arc<Metrics>,
    sink: Arc<dyn EventSink>,
    lockout: bool,
) -> Result<Limiters, StoreError> {
    let mut gate = Limiter::new(MemoryStore::with_capacity(settings.max_limit_keys));
    let mut attempts = Limiter::new(MemoryStore::with_capacity(attempts::CELLS));
    let mut shown = None;
    let mut introduced = None;
    if let Some(shared) = &settings.limit_store {
        let store = Store::new(shared)?;
        let failures = Arc::new(AtomicU64::new(0));
        gate = gate.sharing(store.shared(), shared.patience, observer(Arc::clone(&failures), sink));
        match &store {
            Store::Redis(redis) => {
                Handle::current().spawn(warn_of_eviction(Arc::downgrade(redis)));
                // What becomes of the store is told once, by the gate.
                let counted = Arc::clone(&failures);
                let observer: StoreObserver = Arc::new(move |event| {
                    counted.fetch_add(u64::from(matches!(event, StoreEvent::Failed(_))), Ordering::Relaxed);
                });
                attempts = attempts.sharing(store.shared(), shared.patience, observer);
            }
            Store::Memcached(store) => {
                if lockout {
                    tracing::warn!(
                        "wrong passwords for an account are counted by each instance for itself: memcached cannot carry the \
                         log that they are counted by, so that several instances together allow their number times as many"
                    );
                }
                // What it does not carry was refused with the file.
                let _ = introduce(Some(store), settings);
                introduced = Some(Arc::clone(store));
            }
        }
        shown = Some((store, failures));
    }
    let limiters = Limiters { gate: Arc::new(gate), attempts: Arc::new(attempts), introduced };
    show_memory(metrics, &limiters);
    if let Some((store, failures)) = shown {
        show_store(metrics, &limiters.gate, &store, failures);
    }
    Ok(limiters)
}

/// How long after a question that Redis did not answer it is asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// Tells the log once where a Redis would forget counts when it is full, as soon as it says so. Where it does not let us ask it is
/// not told.
async fn warn_of_eviction(store: Weak<RedisStore>) {
    while let Some(asked) = store.upgrade() {
        match asked.eviction().await {
            Ok(Some(policy)) => {
                return tracing::warn!(
                    "a Redis of the limits has the maxmemory-policy {policy}: when it is full it forgets counts, and limits admit \
                     more; set it to noeviction"
                );
            }
            Err(
                StoreError::Unavailable { .. }
                | StoreError::TimedOut { .. }
                | StoreError::Overloaded { .. }
                | StoreError::NotReady { .. },
            ) => {}
            Ok(None) | Err(_) => return,
        }
        drop(asked);
        tokio::time::sleep(ASKED_AGAIN).await;
    }
}

/// Tells the store by what the limits count, if it has to know.
///
/// # Errors
/// What it says of a limit that it does not carry. A file that names this store is not read with one; but a reload keeps the
/// store that there was at the start.
pub(super) fn introduce(store: Option<&Arc<MemcachedStore>>, settings: &GateSettings) -> Result<(), String> {
    let Some(store) = store else { return Ok(()) };
    let all = || settings.limits.iter().flat_map(|rule| rates(rule).map(move |rate| (rule, rate)));
    for (rule, rate) in all() {
        MemcachedStore::carries(rate).map_err(|why| {
            format!("the limit \"{}\" cannot be counted in the store that this process began with: {why}", rule.name)
        })?;
    }
    all().try_for_each(|(rule, rate)| store.introduce(&rule.name, rate)).map_err(|why| why.to_string())
}

/// Counts, records and tells what happens to the store.
fn observer(failures: Arc<AtomicU64>, sink: Arc<dyn EventSink>) -> StoreObserver {
    let record =
        move |kind, reason| sink.record(Event { reason: Some(reason), ..Event::new(ProcessClock.now(), kind) });
    // What was told of the present absence, each kind once: a connection that broke is told first, and only the next one is
    // told what is wrong.
    let told: Mutex<Vec<&'static str>> = Mutex::default();
    Arc::new(move |event| match event {
        StoreEvent::Failed(_) => {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        StoreEvent::Still(error) => {
            let mut told = told.lock();
            if !told.is_empty() && !told.contains(&error.kind()) {
                told.push(error.kind());
                tracing::error!(%error, "the store of the limits is still away");
            }
        }
        StoreEvent::Lost(error) => {
            *told.lock() = vec![error.kind()];
            tracing::error!(%error, "the store of the limits is away; each limit does what its `outage` says");
            record(EventKind::LimitStoreLost, error.kind());
        }
        StoreEvent::Back => {
            told.lock().clear();
            tracing::info!("the store of the limits is back");
            record(EventKind::LimitStoreBack, "answers");
        }
        StoreEvent::Forgot => {
            tracing::error!(
                "the store of the limits may have lost what it had counted; limits with `lease` are closed for the window of \
                 the loss (docs/limits.md, Leases)"
            );
            record(EventKind::LimitStoreForgot, "lost");
        }
    })
}

fn add(metrics: &Metrics, name: &'static str, help: &'static str, value: impl Fn() -> u64 + Send + Sync + 'static) {
    metrics.sample(Sample { name, help, value: Box::new(value) });
}

fn show_memory(metrics: &Metrics, limiters: &Limiters) {
    let (keys, evicted) = (Arc::clone(&limiters.gate), Arc::clone(&limiters.gate));
    add(metrics, "portcullis_limit_keys", "Keys that limits hold in memory at the moment.", move || {
        keys.local().len() as u64
    });
    let help = "Live limit cells that were evicted because the memory for them was full.";
    add(metrics, "portcullis_limit_evictions_total", help, move || evicted.local().evictions());
    let (keys, evicted) = (Arc::clone(&limiters.attempts), Arc::clone(&limiters.attempts));
    let help = "Counts of failed logins that are held in memory at the moment: two for each address or device.";
    add(metrics, "portcullis_lockout_keys", help, move || keys.local().len() as u64);
    let help = "Counts of failed logins that were forgotten early because the memory for them was full.";
    add(metrics, "portcullis_lockout_evictions_total", help, move || evicted.local().evictions());
}

/// What is leased. A cluster leases nothing, and shows none of it.
fn show_leases(metrics: &Metrics, limiter: &Arc<Limiter>) {
    if limiter.leases().is_none() {
        return;
    }
    let show = |name, help, figure: fn(LeaseFigures) -> u64| {
        let limiter = Arc::clone(limiter);
        add(metrics, name, help, move || limiter.leases().map_or(0, figure));
    };
    let help = "Requests that leased limits decided without asking the store.";
    show("portcullis_limit_leased_decisions_total", help, |figures| figures.decided);
    let help = "Keys that portions are leased of at the moment.";
    show("portcullis_limit_leased_keys", help, |figures| figures.keys);
    let help = "Units of quotas that are leased and not spent.";
    show("portcullis_limit_leased_units", help, |figures| figures.held);
    let help = "Units of quotas that were leased.";
    show("portcullis_limit_leased_units_taken_total", help, |figures| figures.taken);
    let help = "Units of quotas that were leased and given back unspent.";
    show("portcullis_limit_leased_units_given_back_total", help, |figures| figures.given_back);
    let help = "Requests that leased limits refused because the store may have lost what it had counted.";
    show("portcullis_limit_lease_closed_total", help, |figures| figures.closed);
}

fn show_store(metrics: &Metrics, limiter: &Arc<Limiter>, store: &Store, failures: Arc<AtomicU64>) {
    let (up, alone) = (Arc::clone(limiter), Arc::clone(limiter));
    add(metrics, "portcullis_limit_store_up", "Whether the store that instances share is asked: 1, or 0.", move || {
        u64::from(up.shared_works() == Some(true))
    });
    let help = "Questions to the shared store that it did not answer.";
    add(metrics, "portcullis_limit_store_failures_total", help, move || failures.load(Ordering::Relaxed));
    let help = "Charges that were decided without the shared store.";
    add(metrics, "portcullis_limit_decided_alone_total", help, move || alone.decided_alone());
    show_leases(metrics, limiter);
    let (refused, late, lost) = (store.clone(), store.clone(), store.clone());
    let help = "Requests that were refused without a question, because their key was known to be refused.";
    add(metrics, "portcullis_limit_refused_locally_total", help, move || refused.refused_locally());
    let help = "Charges whose answer came after they had been given up; they stay charged.";
    add(metrics, "portcullis_limit_store_late_total", help, move || late.late());
    let help = "Charges that could not be given back to the shared store; they stay charged.";
    add(metrics, "portcullis_limit_store_lost_give_backs_total", help, move || lost.lost_give_backs());
    if let Store::Memcached(store) = store {
        let (store, help) =
            (Arc::clone(store), "Items that memcached threw away to make room; counts among them began anew.");
        add(metrics, "portcullis_limit_store_evictions_total", help, move || store.figures().evictions);
    }
}
