//! The limiters of a running gate: this process's memory, and the store that instances share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::{Clock as _, Event, EventKind, EventSink};
use portcullis_limit::{LeaseFigures, Limiter, MemoryStore, RedisStore, StoreError, StoreEvent, StoreObserver};
use portcullis_watch::{Metrics, Sample};
use tokio::runtime::Handle;

use super::attempts;
use crate::clock::ProcessClock;
use crate::config::GateSettings;

/// Those who count, each in a memory of its own, all with the same store behind it.
pub(super) struct Limiters {
    /// For the gate's limits.
    pub(super) gate: Arc<Limiter>,
    /// For attempts to log in: nobody can fill the memory that they are counted in by asking for anything else.
    pub(super) attempts: Arc<Limiter>,
}

/// Makes the limiters, and shows their figures. It does not wait for the store: until that answers, each limit does what its
/// policy for outages says.
///
/// # Errors
/// [`StoreError`] where the certificates that shall vouch for the store cannot be used.
pub(super) fn limiters(
    settings: &GateSettings,
    metrics: &Arc<Metrics>,
    sink: Arc<dyn EventSink>,
) -> Result<Limiters, StoreError> {
    let mut gate = Limiter::new(MemoryStore::with_capacity(settings.max_limit_keys));
    let mut attempts = Limiter::new(MemoryStore::with_capacity(attempts::CELLS));
    let mut shown = None;
    if let Some(shared) = &settings.limit_store {
        let store = Arc::new(RedisStore::new(&shared.options, &Handle::current())?);
        let failures = Arc::new(AtomicU64::new(0));
        gate = gate.sharing(Arc::clone(&store) as _, shared.patience, observer(Arc::clone(&failures), sink));
        // What becomes of the store is told once, by the gate.
        let counted = Arc::clone(&failures);
        let observer: StoreObserver = Arc::new(move |event| {
            counted.fetch_add(u64::from(matches!(event, StoreEvent::Failed(_))), Ordering::Relaxed);
        });
        attempts = attempts.sharing(Arc::clone(&store) as _, shared.patience, observer);
        shown = Some((store, failures));
    }
    let limiters = Limiters { gate: Arc::new(gate), attempts: Arc::new(attempts) };
    show_memory(metrics, &limiters);
    if let Some((store, failures)) = shown {
        show_store(metrics, &limiters.gate, &store, failures);
    }
    Ok(limiters)
}

/// Counts, records and tells what happens to the store.
fn observer(failures: Arc<AtomicU64>, sink: Arc<dyn EventSink>) -> StoreObserver {
    let record =
        move |kind, reason| sink.record(Event { reason: Some(reason), ..Event::new(ProcessClock.now(), kind) });
    Arc::new(move |event| match event {
        StoreEvent::Failed(_) => {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        StoreEvent::Lost(error) => {
            tracing::error!(%error, "the store of the limits is away; each limit does what its `outage` says");
            record(EventKind::LimitStoreLost, error.kind());
        }
        StoreEvent::Back => {
            tracing::info!("the store of the limits is back");
            record(EventKind::LimitStoreBack, "answers");
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

fn show_store(metrics: &Metrics, limiter: &Arc<Limiter>, store: &Arc<RedisStore>, failures: Arc<AtomicU64>) {
    let (up, alone) = (Arc::clone(limiter), Arc::clone(limiter));
    add(metrics, "portcullis_limit_store_up", "Whether the store that instances share is asked: 1, or 0.", move || {
        u64::from(up.shared_works() == Some(true))
    });
    let help = "Questions to the shared store that it did not answer.";
    add(metrics, "portcullis_limit_store_failures_total", help, move || failures.load(Ordering::Relaxed));
    let help = "Charges that were decided without the shared store.";
    add(metrics, "portcullis_limit_decided_alone_total", help, move || alone.decided_alone());
    show_leases(metrics, limiter);
    let (refused, late, lost) = (Arc::clone(store), Arc::clone(store), Arc::clone(store));
    let help = "Requests that were refused without a question, because their key was known to be refused.";
    add(metrics, "portcullis_limit_refused_locally_total", help, move || refused.figures().refused_locally);
    let help = "Charges whose answer came after they had been given up; they stay charged.";
    add(metrics, "portcullis_limit_store_late_total", help, move || late.figures().late);
    let help = "Charges that could not be given back to the shared store; they stay charged.";
    add(metrics, "portcullis_limit_store_lost_give_backs_total", help, move || lost.figures().lost_give_backs);
}
